"""A network with frozen layers, taken apart: what the frozen part makes of an image never changes."""

from __future__ import annotations

import contextlib
import hashlib
import threading
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from icf.errors import IcfError
from icf.pipeline.frozen.stem import Reached, make_rest
from icf.pipeline.results.fusion import try_fusion
from icf.pipeline.training.network import find_head, set_training_mode
from icf.plan import Plan

FUSION_TOLERANCE = 1e-4
"""Largest change of an embedding, as a share of the largest number in any; float32 rounds to a tenth of that."""


class InseparableError(IcfError):
    """The frozen layers can't run beforehand; the text is the reason, as the end of a sentence."""


class _Pass(threading.local):
    """What a thread has caught in the pass that it makes, and whether that goes to its end; without a pass, None."""

    seen: list[tuple[Any, ...]] | None = None
    whole = False


class Embedder:
    """Runs a network and catches what a module is given, or returns: the embeddings of images. Threads may share it."""

    def __init__(self, model: nn.Module, module: nn.Module, *, of_output: bool) -> None:
        self._model = model
        self._pass = _Pass()
        if of_output:
            module.register_forward_hook(lambda *call: self._note(call[-1]))
        else:
            # Before a dropout that is a hook itself: that is part of what is trained.
            module.register_forward_pre_hook(
                lambda _, args, kwargs: self._note(*args, *kwargs), prepend=True, with_kwargs=True
            )

    def _note(self, *values: Any) -> None:
        if self._pass.seen is None:
            return  # somebody else runs the network
        self._pass.seen.append(values)
        if not self._pass.whole:
            raise Reached

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Return the embeddings of images float32 [N, C, H, W]: [N, ...], without gradient; what follows does not run.

        Raises:
            InseparableError: the module is not called, or with something else than a tensor with a row for each image.
        """
        return self._run(images, whole=False)

    def check(self, images: torch.Tensor) -> None:
        """Let the whole network see images; raise InseparableError if it calls the module more than once, too."""
        self._run(images, whole=True)

    @torch.no_grad()
    def _run(self, images: torch.Tensor, *, whole: bool) -> torch.Tensor:
        calls: list[tuple[Any, ...]] = []
        self._pass.seen, self._pass.whole = calls, whole
        try:
            with contextlib.suppress(Reached):
                self._model(images)
        finally:
            self._pass.seen = None
        if len(calls) != 1:
            raise InseparableError(f"the network calls the layer where its frozen part ends {len(calls)} times")
        values = calls[0]
        if len(values) != 1 or not isinstance(values[0], torch.Tensor) or len(values[0]) != len(images):
            raise InseparableError("the frozen part gives something else than one tensor with a row for each image")
        return values[0]


@dataclass(frozen=True)
class Separation:
    """A network as two parts: ``embed`` gives the embeddings of images, of which ``rest``, the trained part, logits.

    Parameters and buffers of the rest are the network's own.
    """

    model: nn.Module
    embed: Embedder
    rest: nn.Module


def separate(plan: Plan, model: nn.Module, units: int) -> Separation:
    """Take a network apart where ``model.freeze`` says; whether that changes nothing is to be checked."""
    return Separation(model, make_embedder(plan, model, units), take_rest(plan, model, units))


def make_embedder(plan: Plan, model: nn.Module, units: int) -> Embedder:
    """Return what runs the frozen part of a network."""
    freeze = plan.recipe.model.freeze
    if freeze == "backbone":
        return Embedder(model, find_head(model, units, plan.model.source), of_output=False)
    return Embedder(model, model.get_submodule(freeze), of_output=True)


def fuse_frozen(plan: Plan, parts: Separation, units: int, images: torch.Tensor) -> Embedder | None:
    """Return what embeds in fewer layers, with batch normalisation made part of convolutions; None if nothing does.

    The network is in evaluation mode. Images float32 [N, C, H, W] show that embeddings change by rounding only.
    """
    fused, obstacle = try_fusion(parts.model, images)
    if obstacle:
        return None
    embed, expected = make_embedder(plan, fused, units), parts.embed(images)
    change = (embed(images) - expected).abs().max()
    return embed if change <= FUSION_TOLERANCE * expected.abs().max() else None


def take_rest(plan: Plan, model: nn.Module, units: int) -> nn.Module:
    """Return the trained part of a network; its parameters and buffers are the network's own."""
    if plan.recipe.model.freeze == "backbone":
        return find_head(model, units, plan.model.source)
    return make_rest(model)


@torch.no_grad()
def check_separation(parts: Separation, head: nn.Module | None, images: torch.Tensor) -> float:
    """Check on images float32 [N, C, H, W] that the parts together do what the whole network does.

    Returns the probability of the dropout that the network applies just before its rest, 0.0 if there is none. The
    ``head``, the last layer, is left with random weights, since one of zeros would make all images equal.

    Raises:
        InseparableError: they do something else, or the frozen part is random or changes in training.
    """
    torch.manual_seed(0)
    for parameter in head.parameters() if head else ():
        parameter.normal_(std=0.1)
    parts.model.eval()
    parts.rest.eval()
    parts.embed.check(images)
    embeddings = parts.embed(images)
    if not _agree(parts.model(images), _run_rest(parts.rest, embeddings)):
        raise InseparableError("the network does more than to run its parts one after the other")
    set_training_mode(parts.model)
    parts.embed.check(images)
    torch.manual_seed(0)
    trained = parts.embed(images)
    p = 0.0 if _agree(trained, embeddings) else _find_dropout(trained, embeddings)
    rest = with_dropout(parts.rest, p)
    set_training_mode(rest)
    outputs = []
    for network, inputs in ((parts.model, images), (rest, embeddings)):
        torch.manual_seed(0)
        outputs.append(network(inputs))
    if not _agree(*outputs):
        raise InseparableError("the network does something else in training than its parts")
    return p


def _run_rest(rest: nn.Module, embeddings: torch.Tensor) -> torch.Tensor:
    try:
        logits: torch.Tensor = rest(embeddings)
    except Exception as error:  # a network that is no chain fails in many ways
        raise InseparableError("the network can't be run from where its frozen part ends") from error
    return logits


def _find_dropout(trained: torch.Tensor, embeddings: torch.Tensor) -> float:
    """Return the probability of the dropout that made ``trained`` of ``embeddings``: what is kept is 1 / (1 - p)."""
    random = InseparableError("frozen layers are random, or change, while the others are trained")
    if trained.shape != embeddings.shape or not (trained != 0).any():
        raise random
    kept = (trained != 0) & (embeddings != 0)
    scale = (trained[kept].double() / embeddings[kept].double()).median().item()
    p = round(1 - 1 / scale, 4) if scale > 1 else 0.0
    torch.manual_seed(0)
    if not _agree(trained, nn.functional.dropout(embeddings, p)):
        raise random
    return p


def _agree(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.shape == other.shape and torch.allclose(one.float(), other.float(), rtol=1e-4, atol=1e-5)


def with_dropout(rest: nn.Module, p: float) -> nn.Module:
    """Return the trained part behind a dropout of probability ``p``; for 0, the part itself."""
    return nn.Sequential(nn.Dropout(p), rest) if p else rest


def digest_frozen(parts: Separation) -> str:
    """Return a hash of all parameters that are not trained, and of the buffers of their layers."""
    state = hashlib.sha256()
    trained = parts.rest.state_dict(keep_vars=True).values()
    own = {id(tensor) for tensor in trained if tensor.requires_grad or not isinstance(tensor, nn.Parameter)}
    for name, tensor in parts.model.state_dict(keep_vars=True).items():
        if id(tensor) not in own:
            state.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
            state.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return state.hexdigest()[:16]
