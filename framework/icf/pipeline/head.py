"""The head of a frozen network, taken off its backbone: what the backbone makes of an image never changes."""

from __future__ import annotations

import hashlib
import threading
from typing import Any

import torch
from torch import nn

from icf.pipeline.network import set_training_mode


class InseparableError(Exception):
    """The head can't be trained apart from its backbone; the text is the reason, as the end of a sentence."""


class HeadInput:
    """Catches what the head of a network is given: the embeddings of the images. Threads may share one."""

    def __init__(self, model: nn.Module, head: nn.Module) -> None:
        self._model = model
        self._calls = threading.local()
        head.register_forward_pre_hook(self._note, with_kwargs=True)

    def _note(self, _head: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._calls.seen = [*getattr(self._calls, "seen", []), (args, kwargs)]

    @torch.no_grad()
    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Return the embeddings of images float32 [N, C, H, W]: [N, ...], without gradient.

        Raises:
            InseparableError: the head is not called once, with one tensor that has a row for each image.
        """
        self._calls.seen = []
        self._model(images)
        if len(self._calls.seen) != 1:
            raise InseparableError(f"the network calls its head {len(self._calls.seen)} times for a batch")
        ((args, kwargs),) = self._calls.seen
        self._calls.seen = []
        if kwargs or len(args) != 1 or not isinstance(args[0], torch.Tensor) or len(args[0]) != len(images):
            raise InseparableError("the head is given something else than one tensor with a row for each image")
        return args[0]


@torch.no_grad()
def check_head(model: nn.Module, head: nn.Module, images: torch.Tensor) -> float:
    """Check on images float32 [N, C, H, W] that the head alone makes of embeddings what the whole network does.

    Returns the probability of the dropout that the network applies just before its head, 0.0 if there is none. The
    head is left with random weights, since one of zeros would pass for any other.

    Raises:
        InseparableError: something follows the head, or the backbone is random or changes in training.
    """
    torch.manual_seed(0)
    for parameter in head.parameters():
        parameter.normal_(std=0.1)
    embed = HeadInput(model, head)
    model.eval()
    embeddings = embed(images)
    if not _agree(model(images), head(embeddings)):
        raise InseparableError("the network changes the output of its head")
    set_training_mode(model)
    torch.manual_seed(0)
    trained = embed(images)
    return 0.0 if _agree(trained, embeddings) else _find_dropout(trained, embeddings)


def _find_dropout(trained: torch.Tensor, embeddings: torch.Tensor) -> float:
    """Return the probability of the dropout that made ``trained`` of ``embeddings``: what is kept is 1 / (1 - p)."""
    random = InseparableError("layers before the head are random, or change, while it is trained")
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


def with_dropout(head: nn.Module, p: float) -> nn.Module:
    """Return the head behind a dropout of probability ``p``; for 0, the head itself."""
    return nn.Sequential(nn.Dropout(p), head) if p else head


def digest_backbone(model: nn.Module, head: nn.Module) -> str:
    """Return a hash of all parameters and buffers but the head's."""
    state = hashlib.sha256()
    own = {id(tensor) for tensor in head.state_dict(keep_vars=True).values()}
    for name, tensor in model.state_dict(keep_vars=True).items():
        if id(tensor) not in own:
            state.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
            state.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return state.hexdigest()[:16]
