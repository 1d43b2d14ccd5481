"""Small trainings on scikit-learn's digits, for the tests of training and of what follows on it."""

from __future__ import annotations

import contextlib
import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from icf.executors.inline import InlineExecutor
from icf.pipeline.data.prepare import prepare, save_prepared
from icf.pipeline.data.split import make_split, save_split
from icf.pipeline.files import read_probabilities
from icf.pipeline.folder import FoldFolder, open_run_folder
from icf.pipeline.jobs import Executor, FoldJob, Placement, Workload
from icf.pipeline.seeds import Purpose, derive_seed
from icf.pipeline.training import kernels
from icf.pipeline.training.fit import fit_fold, save_epoch
from icf.plan import Plan, load_plan

DIGITS = Path(__file__).parents[1] / "recipes" / "digits.toml"
CLASSES = tuple("0123456789")

Found = TypeVar("Found")

SMALL = (
    "dataset.test_share=0.7",
    "split.folds=3",
    "train.batch_size=32",
    "train.epochs=3",
    "compute.threads=1",
    'compute.precision="fp32"',
)
"""539 training rows in three folds; one fold takes about a second."""

TOY = """
    import icf

    class HiddenParams(icf.Params):
        normalise: bool = False
        outputs: int = 0
        side: int = 0

    class SpitefulParams(icf.Params):
        grudge: str = ""
        seed: int = 0

    @icf.hookimpl
    def icf_models():
        yield icf.Model(name="hidden", factory="{module}_parts:hidden", params=HiddenParams, summary="Two layers")

    @icf.hookimpl
    def icf_losses():
        yield icf.Loss(name="spiteful", factory="{module}_parts:spiteful", params=SpitefulParams, summary="Fails")
        yield icf.Loss(name="deadly", factory="{module}_parts:deadly", summary="Ends its process")

"""
"""Plugin ``toy``, to install with TOY_PARTS as the modules ``toy`` and ``toy_parts``."""

TOY_PARTS = """
    import os
    from collections import OrderedDict

    import torch
    from torch import nn

    def hidden(params, ctx):
        torch.manual_seed(ctx.seed % 2**32)
        height, width = (params.side, params.side) if params.side else ctx.image_size
        layers = OrderedDict(flat=nn.Flatten(), first=nn.Linear(ctx.channels * height * width, 32))
        if params.normalise:
            layers["norm"] = nn.BatchNorm1d(32)
        layers |= OrderedDict(act=nn.ReLU(), head=nn.Linear(32, params.outputs or ctx.num_classes))
        return nn.Sequential(layers)

    class Spiteful(nn.CrossEntropyLoss):
        def __init__(self, fails):
            super().__init__()
            self.fails = fails

        def forward(self, logits, targets):
            if self.fails:
                raise ValueError("this fold is not to my taste")
            return super().forward(logits, targets)

    def deadly(params, ctx):
        print("last words", flush=True)
        os._exit(7)

    def spiteful(params, ctx):
        return Spiteful(os.path.exists(params.grudge) and ctx.seed == params.seed)
"""


def choose_spite(fold: int, grudge: Path) -> str:
    """Return the setting of a loss that fails for one fold as long as the file ``grudge`` is there."""
    return f'loss={{use="toy/spiteful", grudge="{grudge}", seed={derive_seed(0, Purpose.LOSS, fold)}}}'


def make_plan(*overrides: str, small: Sequence[str] = SMALL) -> Plan:
    """Return the plan of recipes/digits.toml, made small, with ``overrides`` on top."""
    return load_plan(DIGITS, [*small, *overrides])


def make_jobs(plan: Plan, runs: Path) -> list[FoldJob]:
    """Do what comes before training; return one job per fold."""
    folder = open_run_folder(plan, runs)
    data = prepare(plan, lambda _what, _done, _total: None)
    save_prepared(data, folder)
    split = make_split(plan.recipe.split, data.train, data.classes, plan.recipe.train.seed)
    save_split(split, data.train, folder)
    compute = plan.recipe.compute
    chosen = {"precision": compute.precision, "memory_format": compute.memory_format}
    chosen |= {"compiled": compute.compile == "on"}
    return [FoldJob(plan, folder.path, fold, 1, f"key-{fold}", **chosen) for fold in range(split.count)]


def fit(runs: Path, *overrides: str, fold: int = 0) -> FoldJob:
    """Train one fold of the small digits plan."""
    job = make_jobs(make_plan(*overrides), runs)[fold]
    torch.set_num_threads(1)
    fit_fold(job)
    return job


def fit_until_killed(job: FoldJob, epochs: int, look: Callable[[Any], Found] = lambda _: None) -> list[Found]:
    """Train a fold until so many of its epochs are saved, and no further; return what ``look`` saw of its trainer
    after each."""
    found = []

    def save_and_die(trainer: Any) -> None:
        found.append(look(trainer))
        save_epoch(trainer)
        if trainer.state.epoch == epochs:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("icf.pipeline.training.fit.save_epoch", save_and_die)
        with pytest.raises(KeyboardInterrupt):
            fit_fold(job)
    return found


@contextlib.contextmanager
def multiply_from(weights: int) -> Iterator[None]:
    """Let convolutions be products from so many weights on for each place of their output."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernels, "WEIGHTS_PER_PLACE", weights)
        kernels.find_products.cache_clear()
        yield
    kernels.find_products.cache_clear()


def place_inline(plan: Plan, work: Workload) -> tuple[Placement, Executor]:
    """Run folds in this process, one thread each."""
    return Placement("inline", "a test", concurrent=1, threads=1, device="cpu"), InlineExecutor()


def read_history(folder: FoldFolder) -> list[dict[str, float]]:
    """Return the rows of history.csv as numbers."""
    with folder.history.open(newline="") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def without_speed(history: Sequence[Mapping[str, float]]) -> list[dict[str, float]]:
    """Leave out the only column that differs between equal trainings."""
    return [{name: value for name, value in row.items() if name != "images_per_second"} for row in history]


def read_oof(folder: FoldFolder) -> np.ndarray[Any, Any]:
    """Return a fold's out-of-fold probabilities, float64 [N, 10]."""
    return read_probabilities(folder.oof, CLASSES)[1]


def save_digits(folder: Path, rows: range, *, by_class: bool = True, scale: int = 1) -> list[Path]:
    """Write scikit-learn's digits as PNG files, each pixel ``scale`` pixels wide; return their paths."""
    digits = load_digits()
    paths = []
    for row in rows:
        path = folder / (str(digits.target[row]) if by_class else "") / f"{row:04}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.rint(digits.images[row] * 255 / 16).astype(np.uint8)
        Image.fromarray(pixels.repeat(scale, axis=0).repeat(scale, axis=1)).save(path)
        paths.append(path)
    return paths
