from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from torch import nn

from icf.choice import View
from icf.components import IntArray
from icf.pipeline.data.preprocess import Preprocessing
from icf.pipeline.pixels.sources import MappedPixels
from icf.pipeline.results.inference import predict_logits, predict_probabilities
from icf.pipeline.training.batches import Batches
from icf.pipeline.training.output import Softmax
from icf.pipeline.training.tta import Views, ViewTransform

SPEC = Preprocessing(image_size=(6, 5), channels=3, resize="stretch", mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))
OUTPUT = Softmax(classes=4)
CPU = torch.device("cpu")
ROWS = np.array([4, 0, 9, 9, 3, 7, 1], dtype=np.int64)


class CountingPixels(MappedPixels):
    """Pixels that remember which rows were read."""

    seen: tuple[int, ...] = ()

    def gather(self, rows: IntArray) -> torch.Tensor:
        self.seen = (*self.seen, *rows.tolist())
        return super().gather(rows)


@pytest.fixture
def pixels(tmp_path: Path) -> np.ndarray:
    values = np.random.default_rng(0).integers(0, 256, (10, 6, 5, 3), dtype=np.uint8)
    np.save(tmp_path / "cache.npy", values)
    return values


@pytest.fixture
def source(pixels: np.ndarray, tmp_path: Path) -> CountingPixels:
    return CountingPixels(tmp_path / "cache.npy")


@pytest.fixture
def batches(source: CountingPixels) -> Batches:
    return Batches(source, SPEC, CPU)


def make_views(*flips: str, average: Literal["probabilities", "logits"] = "probabilities") -> Views:
    views = [View(number, (flip,)) for number, flip in enumerate(flips, 1)]
    return Views([ViewTransform(view, SPEC, 0) for view in views], average)


def make_models(count: int) -> list[nn.Module]:
    torch.manual_seed(1)
    return [nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(90, 4)) for _ in range(count)]


def predict_plainly(model: nn.Module, pixels: np.ndarray, flips: list[tuple[int, ...]], average: str) -> np.ndarray:
    """One image at a time, in numpy where possible."""
    linear = model[2]  # type: ignore[index]
    weight, bias = linear.weight.detach().double().numpy(), linear.bias.detach().double().numpy()
    rows = []
    for image in pixels[ROWS]:
        scaled = (image / 255 - np.array(SPEC.mean)) / np.array(SPEC.std)
        views = [np.flip(scaled, flip).transpose(2, 0, 1).ravel() for flip in flips]
        logits = np.array([view @ weight.T + bias for view in views])
        exponents = np.exp(logits if average == "probabilities" else logits.mean(axis=0, keepdims=True))
        rows.append(np.mean([values / values.sum() for values in exponents], axis=0))
    return np.stack(rows)


@pytest.mark.parametrize("average", ["probabilities", "logits"])
@pytest.mark.parametrize("batch_size", [1, 3, 7, 100])
def test_every_model_and_view_sees_every_image_which_is_read_once(
    pixels: np.ndarray,
    source: CountingPixels,
    batches: Batches,
    batch_size: int,
    average: Literal["probabilities", "logits"],
) -> None:
    models = make_models(3)
    views = make_views("horizontal-flip", "vertical-flip", average=average)
    found = predict_probabilities(models, [OUTPUT] * 3, batches, ROWS, batch_size, views, CPU, None)
    expected = np.stack([predict_plainly(model, pixels, [(), (1,), (0,)], average) for model in models])
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert found.dtype == np.float64
    assert source.seen == tuple(ROWS)


def test_probabilities_are_those_of_the_logits(batches: Batches) -> None:
    [model] = make_models(1)
    logits = predict_logits(model, batches, ROWS, 2, CPU, None)
    expected = torch.softmax(logits.double(), 1).numpy()
    found = predict_probabilities([model], [OUTPUT], batches, ROWS, 2, Views(), CPU, None)[0]
    np.testing.assert_array_equal(found, expected)


def test_no_rows_have_no_probabilities(batches: Batches) -> None:
    views = make_views("vertical-flip")
    found = predict_probabilities(make_models(2), [OUTPUT] * 2, batches, ROWS[:0], 2, views, CPU, None)
    assert found.shape == (2, 0, 4)
