"""Descriptors (what a plugin offers), contexts (what a run knows) and the objects that factories return.

Nothing here imports torch: a descriptor names its factory as a string, which is imported on first use.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, TypeAlias

from icf.params import Params

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch

FloatArray: TypeAlias = "npt.NDArray[np.float64]"
IntArray: TypeAlias = "npt.NDArray[np.int64]"
PixelArray: TypeAlias = "npt.NDArray[np.uint8]"


@dataclass(frozen=True, kw_only=True)
class Component:
    """What every descriptor says about a component.

    ``factory`` is "package.module:function", called as ``factory(params, ctx)`` with an instance of
    ``params`` and the context of the component's kind. ``examples`` are parameters with which ``icf.testing``
    checks the component; without any it is checked with the defaults. A component with ``local_code`` is an
    adapter: its factory takes modules from the folders that were named with --plugin (``icf.local_module``).
    """

    kind: ClassVar[str] = "component"

    name: str
    factory: str
    summary: str
    params: type[Params] = Params
    deprecated: str | None = None
    local_code: bool = False
    examples: tuple[Mapping[str, Any], ...] = field(default=(), hash=False)


# -- data sets --------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Samples:
    """Rows of a data set, in a fixed order that does not depend on the file system.

    ``images`` is a list of file paths, or pixels as uint8 [N, H, W] or [N, H, W, C]. ``ids`` are unique
    strings. ``targets`` are class indices, int64 [N]; None where labels are unknown (test rows).
    ``groups`` name what must not be split between folds (a person); ``folds`` is a fold column.
    """

    ids: Sequence[str]
    images: Sequence[Path] | PixelArray
    targets: IntArray | None = None
    groups: Sequence[str] | None = None
    folds: IntArray | None = None

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, kw_only=True)
class SubmissionFormat:
    """The file a competition asks for: its columns and rows, in order.

    ``values`` holds one entry per class, written as the label; where it is None, ``columns`` has one
    column per class after the id and probabilities are written.
    """

    id_column: str = "id"
    columns: tuple[str, ...] = ("label",)
    ids: Sequence[str] = ()
    values: tuple[str | int, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class DatasetContent:
    """What a dataset factory returns. ``notes`` are shown in every output (for example "rendered demo data")."""

    classes: tuple[str, ...]
    train: Samples
    test: Samples | None = None
    submission: SubmissionFormat | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class DatasetContext:
    """What a dataset factory may know: the run's seed and a folder for what it downloads or renders."""

    seed: int = 0
    cache_dir: Path = field(default_factory=lambda: Path.home() / ".cache" / "icf")


@dataclass(frozen=True, kw_only=True)
class Dataset(Component):
    """A data set. Factory: ``(params, DatasetContext) -> DatasetContent``; raises DataError."""

    kind: ClassVar[str] = "dataset"


# -- models -----------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class ModelContext:
    """What a model must fit: logits for ``num_classes``, images of ``channels`` x ``image_size`` (H, W)."""

    num_classes: int
    channels: int = 3
    image_size: tuple[int, int] = (224, 224)
    seed: int = 0
    pretrained: bool = True
    """False when weights will be loaded from a checkpoint, so none need be fetched."""


@dataclass(frozen=True, kw_only=True)
class ModelInfo:
    """What is known of a model before it is built. Mean and standard deviation are on the 0-1 scale."""

    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    image_size: tuple[int, int] | None = None
    weights: str = "random initialisation"


@dataclass(frozen=True, kw_only=True)
class Model(Component):
    """A model. Factory: ``(params, ModelContext) -> torch.nn.Module``, images float32 [N, C, H, W] -> logits [N, K].

    ``inspect`` is an optional "package.module:function", ``(params, ModelContext) -> ModelInfo``, called
    before training; it raises PluginError with advice when pretrained weights can't be had.
    """

    kind: ClassVar[str] = "model"
    inspect: str | None = None


# -- what happens in training -----------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class LossContext:
    """What a loss may know; ``class_counts`` are training rows per class of this fold, int64 [K]."""

    num_classes: int
    class_counts: IntArray
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Loss(Component):
    """A loss. Factory: ``(params, LossContext) -> nn.Module``: logits float [N, K], targets int64 [N] -> mean loss."""

    kind: ClassVar[str] = "loss"


@dataclass(frozen=True, kw_only=True)
class OptimizerContext:
    """Parameter groups, as torch.optim takes them: dicts with "params" and perhaps "weight_decay"."""

    parameter_groups: Iterable[dict[str, Any]]
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Optimizer(Component):
    """An optimizer. Factory: ``(params, OptimizerContext) -> torch.optim.Optimizer``."""

    kind: ClassVar[str] = "optimizer"


@dataclass(frozen=True, kw_only=True)
class SchedulerContext:
    """The length of training: optimizer steps per epoch, and epochs; ``maximize``: a higher score is better."""

    steps_per_epoch: int
    epochs: int
    maximize: bool = True


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
    """Targets of the fold's training rows, int64 [N]; ``seed`` differs from fold to fold."""

    targets: IntArray
    num_classes: int
    seed: int = 0


Sampling: TypeAlias = "Callable[[int], IntArray]"
"""Epoch number -> positions into the training rows, in order. The same epoch gives the same answer."""


@dataclass(frozen=True, kw_only=True)
class Sampler(Component):
    """A sampler of training rows. Factory: ``(params, SamplerContext) -> Sampling``. Never used on validation."""

    kind: ClassVar[str] = "sampler"


@dataclass(frozen=True, kw_only=True)
class TransformContext:
    """What a transform may know: the size (H, W) that the network gets, and the channels."""

    image_size: tuple[int, int]
    channels: int = 3


class BatchTransform(Protocol):
    """Changes a batch of images: uint8 [N, C, H, W] -> uint8 [N, C, H', W'], one size for the whole batch."""

    def __call__(self, images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Return the changed batch. All randomness comes from ``generator`` (on the CPU)."""
        ...


@dataclass(frozen=True, kw_only=True)
class Transform(Component):
    """A transform. Factory: ``(params, TransformContext) -> BatchTransform``."""

    kind: ClassVar[str] = "transform"


# -- what happens after it --------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class MetricContext:
    """The number of classes; a class that no row has still counts."""

    num_classes: int


MetricFunction: TypeAlias = "Callable[[FloatArray, IntArray], float]"
"""Probabilities float64 [N, K] and targets int64 [N] of all rows at once -> score."""


@dataclass(frozen=True, kw_only=True)
class Metric(Component):
    """A metric. Factory: ``(params, MetricContext) -> MetricFunction``. Computed on all rows at once."""

    kind: ClassVar[str] = "metric"
    maximize: bool = True
    bounds: tuple[float, float] = (0.0, 1.0)
    reference: str | None = None


@dataclass(frozen=True, kw_only=True)
class EnsemblerContext:
    """The number of classes and the run's seed."""

    num_classes: int
    seed: int = 0


class Combiner(Protocol):
    """Joins the probabilities of several members."""

    def fit(self, members: FloatArray, targets: IntArray) -> None:
        """Learn from out-of-fold probabilities [M, N, K] and targets [N]; voting has nothing to learn."""
        ...

    def combine(self, members: FloatArray) -> FloatArray:
        """Return probabilities [N, K] whose rows sum to one, from members [M, N, K]."""
        ...


@dataclass(frozen=True, kw_only=True)
class Ensembler(Component):
    """An ensembler. Factory: ``(params, EnsemblerContext) -> Combiner``."""

    kind: ClassVar[str] = "ensembler"


Kind = Literal["dataset", "model", "loss", "scheduler", "metric", "ensembler", "transform", "optimizer", "sampler"]

KINDS: dict[str, type[Component]] = {
    cls.kind: cls for cls in (Dataset, Model, Loss, Scheduler, Metric, Ensembler, Transform, Optimizer, Sampler)
}
"""Kind -> descriptor class; the hook of a kind is ``icf_<kind>s``."""
