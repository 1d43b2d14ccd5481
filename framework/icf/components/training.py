"""What happens in training: losses, optimizers, schedulers, samplers, transforms and mixers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeAlias

from icf.components.base import Component, IntArray, TargetKind

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class LossContext:
    """What a loss may know."""

    num_classes: int
    """Number of classes, K."""

    class_counts: IntArray
    """Training rows of each class in this fold, int64 [K]."""

    seed: int = 0
    """Differs from fold to fold."""

    epochs: int = 1
    """Epochs in the whole training."""


@dataclass(frozen=True, kw_only=True)
class Loss(Component):
    """A loss. Factory: ``(params, LossContext) -> nn.Module``: logits float [N, K], targets int64 [N] -> mean loss.

    A module that changes in the course of training, the loss or a part of it, has a method ``start_epoch(epoch)``: it
    is called before each epoch, counted from 0, also in a training that is resumed.
    """

    kind: ClassVar[str] = "loss"


@dataclass(frozen=True, kw_only=True)
class OptimizerContext:
    """What an optimizer may know."""

    parameter_groups: Iterable[dict[str, Any]]
    """What is to be optimised, as torch.optim takes it; biases and norms are a group with a weight decay of 0.

    A group may have ``lr_scale``, by which the trainer multiplies its learning rate: the optimizer keeps it.
    """

    seed: int = 0
    """Differs from fold to fold."""


@dataclass(frozen=True, kw_only=True)
class Optimizer(Component):
    """An optimizer. Factory: ``(params, OptimizerContext) -> torch.optim.Optimizer``.

    One whose step computes gradients again, as SAM does, has an attribute ``needs_closure = True``. Its step is called
    with a function, when the gradients of the batch are there; called, that computes those of the weights as they are
    then, and returns the loss. Statistics of batch normalisation stay as they are.

    One that treats every weight by itself, as Adam does and LAMB does not, and finds its parameters in its groups in
    every step, may have ``elementwise = True``: then weights that can have no gradients, since they meet only padding,
    are left out of a training on CPUs, so that steps cost less time and memory.
    """

    kind: ClassVar[str] = "optimizer"


@dataclass(frozen=True, kw_only=True)
class SchedulerContext:
    """The length of training."""

    steps_per_epoch: int
    """Optimizer steps in an epoch."""

    epochs: int
    """Epochs in the whole training."""

    maximize: bool = True
    """Whether a higher score, as ``observe`` gets it, is better."""


class Schedule(Protocol):
    """A learning-rate schedule: a factor for each optimizer step, by which every group's rate is multiplied."""

    def factor(self, step: int) -> float:
        """Return the factor of optimizer step ``step``, counted from 0 over the whole training."""
        ...

    def observe(self, score: float) -> None:
        """Take the validation score of the epoch that just ended."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Return what must survive a restart, as plain numbers, strings and lists."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what state_dict returned."""
        ...


@dataclass(frozen=True, kw_only=True)
class Scheduler(Component):
    """A scheduler. Factory: ``(params, SchedulerContext) -> Schedule``."""

    kind: ClassVar[str] = "scheduler"


@dataclass(frozen=True, kw_only=True)
class SamplerContext:
    """What a sampler may know."""

    targets: IntArray
    """Targets of the fold's training rows, int64 [N], or [N, K] of labels, in their order."""

    num_classes: int
    """Number of classes, K."""

    seed: int = 0
    """Differs from fold to fold."""


Sampling: TypeAlias = "Callable[[int], IntArray]"
"""Epoch number -> positions into the training rows, in order. The same epoch gives the same answer."""


@dataclass(frozen=True, kw_only=True)
class Sampler(Component):
    """A sampler of training rows. Factory: ``(params, SamplerContext) -> Sampling``. Never used on validation."""

    kind: ClassVar[str] = "sampler"


@dataclass(frozen=True, kw_only=True)
class TransformContext:
    """What a transform may know."""

    image_size: tuple[int, int]
    """Height and width in pixels that the network gets."""

    channels: int = 3
    """Channels of an image: 1 or 3."""


class BatchTransform(Protocol):
    """Changes a batch of images: uint8 [N, C, H, W] -> uint8 [N, C, H', W'], one size for the whole batch.

    It may keep state: threads that prepare batches side by side have a product each. One that draws from the global
    generator of torch, numpy or Python, even if it puts that back afterwards, has an attribute ``thread_safe = False``;
    then no thread calls it beside the training step, which draws from them, too. One that moves, crops or resizes and
    leaves colours alone has ``geometric = True``: ``icf check`` measures whether it should come first.

    One that computes wherever the images are has ``any_device = True``, and does it on the GPU if there is one and all
    transforms after it in the list are such, too. It still draws from ``generator``, which stays on the CPU, and moves
    what it has drawn to ``images.device``; a CPU and a GPU may differ by rounding. Without the attribute, images come
    on the CPU.

    One that makes the same of an image whatever ``generator`` is, and whichever images come with it, has
    ``deterministic = True``. Among the views of ``inference.tta`` it is then called for whole batches, and any other
    transform for one image at a time, so that no view depends on how images are put into batches.

    One that takes random crops and resizes them to ``image_size`` may have ``input_scale``, a number from 1 to 4 such
    as 1.15: training images then come with sides so many times as long as those of ``image_size``, so that a crop has
    pixels to show. The largest number of the transforms in the list counts.
    """

    def __call__(self, images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Return the changed batch. All randomness comes from ``generator`` (on the CPU)."""
        ...


@dataclass(frozen=True, kw_only=True)
class Transform(Component):
    """A transform. Factory: ``(params, TransformContext) -> BatchTransform``."""

    kind: ClassVar[str] = "transform"


@dataclass(frozen=True, kw_only=True)
class MixerContext:
    """What a mixer may know."""

    num_classes: int
    """Number of classes, K."""

    image_size: tuple[int, int]
    """Height and width in pixels that the network gets."""

    channels: int = 3
    """Channels of an image: 1 or 3."""

    classes: tuple[str, ...] = ()
    """Class names, in the order of the targets; empty where they are not known."""

    targets: TargetKind = "classes"
    """Whether a row has one class, or any number of labels: its batches then have targets [N, K]."""


@dataclass(frozen=True, kw_only=True)
class Mixed:
    """A batch in which images are mixed with each other.

    Its loss is ``weight * loss(logits, targets) + (1 - weight) * loss(logits, targets[partners])`` (Zhang et al. 2018,
    arXiv:1710.09412; Yun et al. 2019, arXiv:1905.04899), so that any loss can be used.
    """

    images: torch.Tensor
    """The mixed images: uint8 [N, C, H, W], of the shape that they had."""

    partners: torch.Tensor
    """Position in the batch of the image that each one is mixed with: int64 [N], from 0 to N - 1. Where nothing is
    mixed in, its own, so that both terms of the loss agree."""

    weight: float
    """Share of an image that is still its own, from 0 to 1; the partner has the rest. One for the whole batch."""


class BatchMixer(Protocol):
    """Mixes the images of a training batch with each other, after the transforms and before the normalisation."""

    def __call__(self, images: torch.Tensor, targets: torch.Tensor, generator: torch.Generator) -> Mixed:
        """Return what becomes of uint8 [N, C, H, W] with targets int64 [N]. ``images`` itself stays as it is.

        ``images`` are where the network is, perhaps on a GPU, ``targets`` on the CPU. All randomness comes from
        ``generator`` (on the CPU).
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Mixer(Component):
    """A mixer. Factory: ``(params, MixerContext) -> BatchMixer``. Never used on validation."""

    kind: ClassVar[str] = "mixer"
