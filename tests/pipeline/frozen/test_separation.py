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
    with_dropout,
)
from icf.pipeline.training.network import freeze_backbone, set_training_mode

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
