"""What factories must return, and what their products must: a mistake is told with the plugin that made it."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping
from numbers import Real
from typing import Any

import numpy as np
import torch
from torch import nn

from icf.components import (
    BatchMixer,
    BatchTransform,
    Combiner,
    DatasetContent,
    FloatArray,
    IntArray,
    MetricFunction,
    Mixed,
    Sampling,
    Schedule,
)
from icf.errors import IcfError, PluginError, one_line
from icf.plan import Choice


def _has(*names: str) -> Callable[[Any], bool]:
    return lambda product: all(callable(getattr(product, name, None)) for name in names)


def _is_optimizer(product: Any) -> bool:
    return isinstance(product, torch.optim.Optimizer) and all("lr" in group for group in product.param_groups)


EXPECTED: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "dataset": ("an icf.DatasetContent", lambda product: isinstance(product, DatasetContent)),
    "model": ("a torch.nn.Module", lambda product: isinstance(product, nn.Module)),
    "loss": ("a torch.nn.Module", lambda product: isinstance(product, nn.Module)),
    "optimizer": ('a torch.optim.Optimizer whose groups have an "lr"', _is_optimizer),
    "scheduler": (
        "an object with factor, observe, state_dict and load_state_dict",
        _has("factor", "observe", "state_dict", "load_state_dict"),
    ),
    "sampler": ("a function of the epoch's number", callable),
    "transform": ("a function of images and a generator", callable),
    "mixer": ("a function of images, targets and a generator", callable),
    "metric": ("a function of probabilities and targets", callable),
    "ensembler": ("an object with fit and combine", _has("fit", "combine")),
}
"""Kind -> what its factory must return, in words and as a test."""


LARGEST_SCALE = 4
"""Of a transform's ``input_scale``: images of four times the sides take sixteen times the room."""


def build(choice: Choice, ctx: Any) -> Any:
    """Return what a component's factory makes.

    Raises:
        PluginError: the factory raised, or returned something else than its kind asks for.
        IcfError: whatever the factory says of the user's data or choice.
    """
    product = choice.build(ctx)
    words, is_right = EXPECTED[choice.kind]
    if not is_right(product):
        raise PluginError(f"{choice.source}: the factory returned {_describe(product)}, not {words}")
    return product


def _describe(value: Any) -> str:
    if value is None:
        return "None"
    if isinstance(value, torch.Tensor | np.ndarray):
        kind = "a tensor of" if isinstance(value, torch.Tensor) else "an array of"
        return f"{kind} {str(value.dtype).removeprefix('torch.')} {list(value.shape)}"
    return repr(value) if isinstance(value, bool | int | float) else f"an object of type {type(value).__name__}"


@contextlib.contextmanager
def blame(choice: Choice, when: str) -> Iterator[None]:
    """Turn whatever a component raises into a PluginError that names it; a full GPU is not its fault."""
    try:
        yield
    except (IcfError, torch.OutOfMemoryError):
        raise
    except (Exception, SystemExit) as error:
        raise PluginError(f"{choice.source} failed {when}: {one_line(error)}") from error


def _expect(choice: Choice, right: bool, what: str, value: Any, words: str) -> None:
    if not right:
        raise PluginError(f"{choice.source}: {what} {_describe(value)}, but must be {words}")


def check_logits(choice: Choice, logits: Any, rows: int, num_classes: int) -> None:
    """Raise PluginError unless a model's output is float [rows, num_classes]."""
    right = isinstance(logits, torch.Tensor) and logits.is_floating_point()
    right = right and tuple(logits.shape) == (rows, num_classes)
    _expect(choice, right, "logits are", logits, f"a tensor of floats [{rows}, {num_classes}]")


def check_loss(choice: Choice, loss: Any) -> None:
    """Raise PluginError unless a loss is one number, as a tensor; with a gradient wherever torch records it."""
    right = isinstance(loss, torch.Tensor) and loss.ndim == 0 and loss.is_floating_point()
    _expect(choice, right, "the loss of a batch is", loss, "one number: a tensor of floats []")
    if torch.is_grad_enabled() and not loss.requires_grad:
        raise PluginError(f"{choice.source}: the loss has no gradient; compute it from the logits with torch alone")


def build_sampler(choice: Choice, ctx: Any) -> Sampling:
    """Build a sampler whose every answer is checked."""
    sampling: Sampling = build(choice, ctx)
    rows = len(ctx.targets)

    def choose(epoch: int) -> IntArray:
        with blame(choice, f"in epoch {epoch + 1}"):
            chosen = sampling(epoch)
        right = isinstance(chosen, np.ndarray) and chosen.ndim == 1 and np.issubdtype(chosen.dtype, np.integer)
        _expect(choice, right and len(chosen) > 0, "an epoch's rows are", chosen, "an array of int64 [n], n > 0")
        if chosen.min() < 0 or chosen.max() >= rows:
            span = f"from {chosen.min()} to {chosen.max()}"
            raise PluginError(f"{choice.source}: an epoch's rows are {span}, but there are {rows}, counted from 0")
        return chosen

    return choose


class CheckedSchedule:
    """A schedule whose factors are checked, and whose mistakes are told with its name."""

    def __init__(self, choice: Choice, ctx: Any) -> None:
        self._choice = choice
        self._schedule: Schedule = build(choice, ctx)

    def factor(self, step: int) -> float:
        """Return the factor of a step; PluginError unless it is a finite number from 0 up."""
        with blame(self._choice, f"in step {step}"):
            value = self._schedule.factor(step)
        if not (isinstance(value, Real) and 0 <= value < math.inf):
            _expect(self._choice, False, f"the factor of step {step} is", value, "a finite number from 0 up")
        return float(value)

    def observe(self, score: float) -> None:
        """Pass an epoch's score on."""
        with blame(self._choice, "at the end of an epoch"):
            self._schedule.observe(score)

    def state_dict(self) -> dict[str, Any]:
        """Return the schedule's state."""
        with blame(self._choice, "at a checkpoint"):
            return dict(self._schedule.state_dict())

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the schedule's state."""
        with blame(self._choice, "at a checkpoint"):
            self._schedule.load_state_dict(state)


class CheckedTransform:
    """A transform whose every answer is checked, with the attributes that it may have."""

    def __init__(self, choice: Choice, ctx: Any) -> None:
        self._choice = choice
        self._transform: BatchTransform = build(choice, ctx)
        self.thread_safe = bool(getattr(self._transform, "thread_safe", True))
        self.any_device = bool(getattr(self._transform, "any_device", False))
        self.geometric = bool(getattr(self._transform, "geometric", False))
        self.deterministic = bool(getattr(self._transform, "deterministic", False))
        self.input_scale = getattr(self._transform, "input_scale", 1.0)
        right = isinstance(self.input_scale, int | float) and 1 <= self.input_scale <= LARGEST_SCALE
        words = f"a number from 1 to {LARGEST_SCALE}"
        _expect(choice, right, "input_scale is", self.input_scale, words)

    def __call__(self, images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Return the changed batch; PluginError unless it is uint8, of as many images and channels."""
        count, channels = images.shape[:2]
        with blame(self._choice, f"on {list(images.shape)}"):
            changed = self._transform(images, generator)
        right = isinstance(changed, torch.Tensor) and changed.dtype == torch.uint8 and changed.ndim == 4
        right = right and tuple(changed.shape[:2]) == (count, channels) and changed.numel() > 0
        expected = f"a tensor of uint8 [{count}, {channels}, H, W]"
        _expect(self._choice, right, "the changed images are", changed, expected)
        return changed


def build_transform(choice: Choice, ctx: Any) -> CheckedTransform:
    """Build a transform whose every answer is checked."""
    return CheckedTransform(choice, ctx)


def build_mixer(choice: Choice, ctx: Any) -> BatchMixer:
    """Build a mixer whose every answer is checked."""
    mixer: BatchMixer = build(choice, ctx)

    def mix(images: torch.Tensor, targets: torch.Tensor, generator: torch.Generator) -> Mixed:
        with blame(choice, f"on {list(images.shape)}"):
            mixed = mixer(images, targets, generator)
        _expect(choice, isinstance(mixed, Mixed), "a mixed batch is", mixed, "an icf.Mixed")
        _check_mixed(choice, mixed, images)
        return mixed

    return mix


def _check_mixed(choice: Choice, mixed: Mixed, images: torch.Tensor) -> None:
    shape, count = tuple(images.shape), len(images)
    changed, partners, weight = mixed.images, mixed.partners, mixed.weight
    right = isinstance(changed, torch.Tensor) and changed.dtype == torch.uint8 and tuple(changed.shape) == shape
    _expect(choice, right, "the mixed images are", changed, f"a tensor of uint8 {list(shape)}")
    right = isinstance(partners, torch.Tensor) and partners.dtype == torch.int64 and tuple(partners.shape) == (count,)
    _expect(choice, right, "the partners are", partners, f"a tensor of int64 [{count}]")
    if partners.min() < 0 or partners.max() >= count:
        span = f"from {partners.min()} to {partners.max()}"
        raise PluginError(f"{choice.source}: the partners are {span}, but there are {count} images, counted from 0")
    right = isinstance(weight, Real) and 0 <= weight <= 1
    _expect(choice, right, "the weight of a mixed batch is", weight, "a number from 0 to 1")


def build_metric(choice: Choice, ctx: Any) -> MetricFunction:
    """Build a metric whose every score is checked."""
    function: MetricFunction = build(choice, ctx)

    def score(probabilities: FloatArray, targets: IntArray) -> float:
        with blame(choice, f"on {len(targets)} rows"):
            value = function(probabilities, targets)
        if not (isinstance(value, Real) and math.isfinite(value)):
            words = "a finite number for any rows, also where a class is absent"
            _expect(choice, False, f"the score of {len(targets)} rows is", value, words)
        return float(value)

    return score


def combine_members(choice: Choice, ctx: Any, members: FloatArray) -> FloatArray:
    """Return an ensembler's probabilities, float64 [N, K], of members [M, N, K]."""
    combiner: Combiner = build(choice, ctx)
    with blame(choice, f"on {len(members)} members"):
        joined = combiner.combine(members)
    expected = members.shape[1:]
    right = isinstance(joined, np.ndarray) and joined.shape == expected and np.issubdtype(joined.dtype, np.floating)
    _expect(choice, right, "the joined probabilities are", joined, f"an array of float64 {list(expected)}")
    sums = joined.sum(axis=1) if ctx.targets == "classes" else np.ones(1)
    # Written so that NaN is refused, too.
    if not joined.min() >= 0:
        raise PluginError(f"{choice.source}: a joined probability is {joined.min():g}, but must be 0 or more")
    if not (abs(sums - 1) < 1e-6).all():
        raise PluginError(f"{choice.source}: joined rows sum to {sums.min():g} to {sums.max():g}, but must sum to 1")
    return joined.astype(np.float64, copy=False)
