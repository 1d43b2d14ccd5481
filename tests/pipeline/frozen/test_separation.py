from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn import functional

from icf.pipeline.frozen.separation import (
    Embedder,
    InseparableError,
    Separation,
    check_separation,
    digest_frozen,
    fuse_frozen,
    with_dropout,
)
from icf.pipeline.training.network import freeze_backbone, set_training_mode
from training import make_plan

CLASSES = 3


class Network(nn.Module):
    """A convolution and a linear head, with something between or after them that a test chooses."""

    def __init__(
        self,
        before: Callable[[torch.Tensor, bool], torch.Tensor] = lambda features, _: features,
        after: Callable[[torch.Tensor], torch.Tensor] = lambda logits: logits,
        between: nn.Module | None = None,
        calls: int = 1,
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU())
        self.between = between or nn.Identity()
        self.head = nn.Linear(8, CLASSES)
        self.before, self.after, self.calls = before, after, calls

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = self.before(self.between(self.stem(images)).mean(dim=(2, 3)), self.training)
        return self.after(torch.stack([self.head(features) for _ in range(self.calls)]).mean(dim=0))


class BareHead(Network):
    """Uses the head's weights without calling it."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return functional.linear(self.stem(images).mean(dim=(2, 3)), self.head.weight, self.head.bias)


class MapHead(Network):
    """The head is given a second argument."""

    def __init__(self) -> None:
        super().__init__()
        self.head = TwoInputs(8, CLASSES)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = self.stem(images).mean(dim=(2, 3))
        return self.head(features, features)


class TwoInputs(nn.Linear):
    def forward(self, features: torch.Tensor, others: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        return super().forward(features + others)


def draw_images(count: int = 8) -> torch.Tensor:
    return torch.randn((count, 3, 9, 9), generator=torch.Generator().manual_seed(1))


def freeze(model: Network) -> Network:
    freeze_backbone(model, CLASSES, "model 'test'")
    return model


def separate(model: Network) -> Separation:
    return Separation(model, Embedder(model, model.head, of_output=False), model.head)


def check(model: Network) -> float:
    return check_separation(separate(freeze(model)), model.head, draw_images())


def test_the_head_makes_of_embeddings_what_the_network_makes_of_images() -> None:
    model = freeze(Network()).eval()
    embeddings = Embedder(model, model.head, of_output=False)(draw_images())
    assert embeddings.shape == (8, 8)
    assert not embeddings.requires_grad
    torch.testing.assert_close(model.head(embeddings), model(draw_images()))
    assert check_separation(separate(model), model.head, draw_images()) == 0.0


def test_what_follows_the_frozen_part_does_not_run() -> None:
    followed: list[nn.Module] = []
    model = freeze(Network()).eval()
    model.stem[1].running_mean.fill_(0.5)  # so that the activation, which changes its input, has something to change
    model.stem[2].inplace = True
    model.head.register_forward_hook(lambda *_: followed.append(model.head))
    embed = Embedder(model, model.stem[1], of_output=True)
    torch.testing.assert_close(embed(draw_images()), model.stem[:2](draw_images()))
    assert followed == []
    embed.check(draw_images())
    assert followed == [model.head]


def test_others_may_run_the_network() -> None:
    model = freeze(Network()).eval()
    embed = Embedder(model, model.head, of_output=False)
    before = embed(draw_images())
    for _ in range(3):
        assert model(draw_images()).shape == (8, CLASSES)
    torch.testing.assert_close(embed(draw_images()), before)


class Joined(Network):
    """What lies between convolution and normalisation is used twice."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        between = self.stem[0](images)
        features = (between + self.stem[2](self.stem[1](between))).mean(dim=(2, 3))
        return self.after(self.head(features))


def fuse(model: Network, part: str = "backbone") -> tuple[Embedder | None, Embedder]:
    """Let a network see images, and take it apart; return what embeds in fewer layers, and in all."""
    torch.manual_seed(0)
    for _ in range(3):
        model(torch.randn((8, 3, 9, 9)) * 2 + 1)
    parts = separate(freeze(model).eval())
    if part != "backbone":
        parts = Separation(model, Embedder(model, model.get_submodule(part), of_output=True), model.head)
    return fuse_frozen(make_plan(f'model.freeze="{part}"'), parts, CLASSES, draw_images()), parts.embed


@pytest.mark.parametrize("part", ["backbone", "stem", "stem.1"])
def test_fewer_layers_give_the_same_embeddings(part: str) -> None:
    norms: list[nn.Module] = []
    model = Network()
    model.stem[1].register_forward_hook(lambda norm, *_: norms.append(norm))
    fused, plain = fuse(model, part)
    assert fused is not None
    norms.clear()
    found = fused(draw_images(32))
    assert norms == []
    expected = plain(draw_images(32))
    assert norms == [model.stem[1]]
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert not torch.equal(found, expected)


@pytest.mark.parametrize(
    ("model", "part"),
    [
        (Network(), "stem.0"),  # its own output would change
        (Joined(), "backbone"),
        (Joined(after=lambda logits: logits * 0), "backbone"),  # whose probabilities would not show it
    ],
)
def test_layers_stay_where_embeddings_would_change(model: Network, part: str) -> None:
    assert fuse(model, part)[0] is None


def test_without_norms_there_is_nothing_to_fuse() -> None:
    model = Network()
    model.stem[1] = nn.Identity()
    assert fuse(model)[0] is None


def test_a_head_of_zeros_hides_nothing() -> None:
    model = Network(after=lambda logits: logits.relu())
    nn.init.zeros_(model.head.weight)
    nn.init.zeros_(model.head.bias)
    with pytest.raises(InseparableError, match="more than to run its parts"):
        check(model)


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (Network(calls=2), "ends 2 times"),
        (BareHead(), "ends 0 times"),
        (MapHead(), "something else than one tensor"),
        (Network(between=nn.Dropout(0.5)), "random, or change"),
        (Network(between=nn.BatchNorm2d(8, affine=False)), "random, or change"),
        (Network(before=lambda features, training: features + training), "random, or change"),
        (Network(before=lambda features, training: features * (not training)), "random, or change"),
    ],
)
def test_what_can_not_be_separated_is_told(model: Network, reason: str) -> None:
    with pytest.raises(InseparableError, match=reason):
        check(model)


@pytest.mark.parametrize("p", [0.1, 0.25, 0.5, 0.125])
def test_a_dropout_before_the_head_goes_with_it(p: float) -> None:
    model = Network(before=lambda features, training: functional.dropout(features, p, training))
    assert check(model) == p
    model.eval()
    embeddings = Embedder(model, model.head, of_output=False)(draw_images())
    set_training_mode(model)
    head = with_dropout(model.head, p).train()
    torch.manual_seed(3)
    expected = model(draw_images())
    torch.manual_seed(3)
    torch.testing.assert_close(head(embeddings), expected)


def test_without_dropout_the_head_is_left_alone() -> None:
    head = nn.Linear(2, 2)
    assert with_dropout(head, 0.0) is head


def test_threads_catch_their_own_embeddings() -> None:
    model = freeze(Network()).eval()
    catch = Embedder(model, model.head, of_output=False)
    batches = [torch.randn(4, 3, 9, 9) for _ in range(32)]
    expected = [catch(batch) for batch in batches]
    found: dict[int, torch.Tensor] = {}
    barrier = threading.Barrier(4)

    def work(first: int) -> None:
        barrier.wait()
        for index in range(first, 32, 4):
            found[index] = catch(batches[index])

    threads = [threading.Thread(target=work, args=(first,)) for first in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for index, embeddings in enumerate(expected):
        torch.testing.assert_close(found[index], embeddings)


def test_the_hash_is_that_of_everything_but_the_head() -> None:
    torch.manual_seed(0)
    model = freeze(Network())
    before = digest_frozen(separate(model))
    nn.init.zeros_(model.head.weight)
    assert digest_frozen(separate(model)) == before
    model.stem[1].running_mean[0] += 1
    assert digest_frozen(separate(model)) != before
