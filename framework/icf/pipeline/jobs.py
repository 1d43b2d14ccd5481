"""What an executor is given and gives back: one job per fold."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from icf.pipeline.data.preprocess import Preprocessing
from icf.pipeline.files import read_json
from icf.pipeline.folder import FoldFolder, RunFolder
from icf.pipeline.training.output import Output
from icf.plan import Plan
from icf.sections import Inference

DEFAULT_BATCH = 256


@dataclass(frozen=True)
class Prediction:
    """How a fold's best weights, and those of a finished run, predict; equal for all rows, since it can change the
    last digits. ``fused``: batch normalisation is made part of convolutions."""

    batch_size: int = DEFAULT_BATCH
    fused: bool = False

    @classmethod
    def of_recipe(cls, section: Inference) -> Prediction:
        """Return what a recipe says, and what holds where it leaves the choice open and nothing was measured."""
        size = DEFAULT_BATCH if section.batch_size == "auto" else section.batch_size
        return cls(size, section.fuse == "on")

    def __str__(self) -> str:
        """Return one line for people."""
        return f"in batches of {self.batch_size}{', batch normalisation fused' * self.fused}"


@dataclass(frozen=True)
class FoldJob:
    """Train one fold of a plan in a run folder, with ``threads`` CPU threads; ``key`` names its inputs.

    ``concurrent`` processes like this one share the machine; ``precision`` is one of compute.precision, where "auto"
    leaves the choice to the rule, where the fold is trained; ``prediction`` is None for what the recipe says;
    ``compiled`` tells whether torch.compile makes code for the network, if it can.
    """

    plan: Plan
    run_dir: Path
    fold: int
    threads: int
    key: str
    concurrent: int = 1
    precision: str = "auto"
    prediction: Prediction | None = None
    compiled: bool = False
    device: str = "auto"
    """One of compute.device."""
    memory_format: str = "auto"
    """One of compute.memory_format, where "auto" is channels-last."""

    @property
    def predicts(self) -> Prediction:
        """How the fold predicts."""
        return self.prediction or Prediction.of_recipe(self.plan.recipe.inference)

    @property
    def run_folder(self) -> RunFolder:
        """The run folder."""
        return RunFolder(self.run_dir)

    @property
    def folder(self) -> FoldFolder:
        """The fold's own folder."""
        return self.run_folder.fold(self.fold)

    @property
    def products(self) -> list[Path]:
        """What exists when the fold is finished."""
        own = [self.folder.history, self.folder.metrics, self.folder.oof]
        return [*own, self.folder.test] if self.run_folder.test_rows.exists() else own


@dataclass(frozen=True)
class Placement:
    """Where folds run, and why: ``concurrent`` folds at a time with ``threads`` threads and ``workers`` each.

    ``fold_threads`` are the threads by fold, where the last folds have the machine for themselves; ``precision`` is
    the number format, and ``memory_format`` the order of weights and images in memory, "auto" those of the recipe;
    ``prediction`` is None for what the recipe says.
    """

    executor: str
    reason: str
    concurrent: int
    threads: int
    device: str
    workers: int = 1
    gpus: float = 0.0
    precision: str = "auto"
    fold_threads: tuple[int, ...] = ()
    prediction: Prediction | None = None
    compiled: bool = False
    memory_format: str = "auto"

    @property
    def cpus(self) -> int:
        """How many CPUs are in use at the same time."""
        return self.workers * max(self.concurrent * self.threads, *self.fold_threads, 0)

    def threads_of(self, fold: int) -> int:
        """Return the threads of one fold."""
        return self.fold_threads[fold] if self.fold_threads else self.threads


@dataclass(frozen=True)
class Workload:
    """What is to be trained: ``images`` are the training images of all folds and epochs together, 0 for heads on
    embeddings, which are next to no work.

    ``earlier`` is where the folds of an interrupted run were placed.
    """

    folds: int
    images: int
    num_classes: int
    preprocessing: Preprocessing
    output: Output
    earlier: Placement | None = None

    @property
    def pixels(self) -> int:
        """Pixels of all images, each as often as it is trained on."""
        height, width = self.preprocessing.image_size
        return self.images * height * width


def read_placement(path: Path) -> Placement | None:
    """Return what placement.json says; None without such a file, or with one of another version of icf."""
    try:
        found = read_json(path)
        prediction = Prediction(**found["prediction"]) if found.get("prediction") else None
        return Placement(**{**found, "fold_threads": tuple(found["fold_threads"]), "prediction": prediction})
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


@dataclass(frozen=True)
class Failure:
    """Why a fold did not finish, on one line.

    A ``passing`` one is no fault of the fold, such as a full disk: it is tried again whenever the run continues.
    """

    reason: str
    passing: bool = False


class Executor(Protocol):
    """Runs fold jobs somewhere. One bad fold never takes the others with it."""

    def run(self, jobs: Sequence[FoldJob]) -> Mapping[int, Failure]:
        """Run all jobs; return fold -> failure for those that did not finish."""
        ...


Place = Callable[[Plan, Workload], tuple[Placement, Executor]]
"""Choose where to run a plan."""
