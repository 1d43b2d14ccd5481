"""Search for a learning rate: a range test on one fold of a recipe, in a folder of its own."""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from icf.errors import IcfError
from icf.local import restore_local_plugins
from icf.pipeline.cache import count_cores
from icf.pipeline.data.prepare import prepare, save_prepared
from icf.pipeline.data.split import make_split, save_split
from icf.pipeline.files import write_rows, write_text
from icf.pipeline.folder import RunFolder, open_run_folder
from icf.pipeline.frozen.embed import save_embeddings, wants_embeddings
from icf.pipeline.jobs import FoldJob
from icf.pipeline.listener import Listener
from icf.pipeline.results.charts import Line, draw_lines, make_file
from icf.pipeline.training.range_test import Suggestion, list_rates, run_range_test, smooth, suggest_rates
from icf.pipeline.training.team import Team
from icf.pipeline.training.trainer import build_trainer
from icf.plan import Plan

FOLDER = "lr-finder"
"""Folder below that of all runs, so that no search is taken for a run."""


@dataclass(frozen=True)
class RateSearch:
    """What a search has found: the suggestion, the table and the picture, and how many steps were done."""

    steepest: float
    tenth: float
    csv: Path
    svg: Path
    steps: int


@dataclass(frozen=True)
class RateRange:
    """Which rates are tried: ``steps`` of them, from ``start`` to ``end``, on one fold."""

    fold: int
    steps: int
    start: float
    end: float


def find_rate(plan: Plan, runs: Path, wanted: RateRange, listener: Listener) -> RateSearch:
    """Do a range test on one fold of a plan; write its table and its picture below ``runs``, and suggest a rate.

    Raises:
        IcfError: whatever would stop a run, or a fold that the plan does not have.
        FoldError: the loss did not fall at any rate.
    """
    restore_local_plugins(plan.local_plugins)
    folder = open_run_folder(plan, runs / FOLDER)
    rates = list_rates(wanted.start, wanted.end, wanted.steps)
    with contextlib.ExitStack() as leases:
        trainer = build_trainer(_prepare_fold(plan, folder, wanted.fold, leases, listener), Team())
    losses = run_range_test(trainer, rates, lambda done: listener.stage_progress("find-lr", "steps", done, len(rates)))
    smoothed = smooth(losses)
    csv, svg = folder.path / "lr-finder.csv", folder.path / "lr-finder.svg"
    rows = zip(rates, losses, smoothed, strict=False)
    write_rows(csv, [{"learning_rate": rate, "loss": loss, "smoothed": mean} for rate, loss, mean in rows])
    found = suggest_rates(rates, smoothed)
    write_text(svg, draw_search(rates, smoothed, found, plan.name))
    return RateSearch(found.steepest, found.tenth, csv, svg, len(losses))


def _prepare_fold(
    plan: Plan, folder: RunFolder, fold: int, leases: contextlib.ExitStack, listener: Listener
) -> FoldJob:
    """Do what comes before the training of a fold; its embeddings are there until ``leases`` ends."""
    data = prepare(plan, partial(listener.stage_progress, "prepare"))
    save_prepared(data, folder)
    split = make_split(plan.recipe.split, data.train, data.classes, plan.recipe.train.seed)
    save_split(split, data.train, folder)
    if not 0 <= fold < split.count:
        raise IcfError(f"--fold {fold}: the recipe has folds 0 to {split.count - 1}")
    folder.embeddings.unlink(missing_ok=True)
    if wants_embeddings(plan):
        save_embeddings(plan, data, split.count, folder, leases, partial(listener.stage_progress, "embed"))
    compute = plan.recipe.compute
    threads, memory_format = compute.threads or count_cores(), compute.memory_format
    return FoldJob(plan, folder.path, fold, threads, "", precision=compute.precision, memory_format=memory_format)


def draw_search(rates: list[float], smoothed: list[float], found: Suggestion, name: str) -> str:
    """Return a picture of the smoothed loss over the rate, with what is suggested, as the text of an SVG file."""

    def mark(rate: float, label: str, colour: int) -> Line:
        position = min(range(len(smoothed)), key=lambda index: abs(math.log(rates[index] / rate)))
        return Line([math.log10(rate)], [smoothed[position]], f"{label}: {rate:.2g}", colour, mark=0)

    lines = [
        Line([math.log10(rate) for rate in rates[: len(smoothed)]], smoothed, "smoothed loss"),
        mark(found.steepest, "steepest", 1),
        mark(found.tenth, "a tenth of the lowest loss's", 2),
    ]
    title = f"learning-rate range test of {name}"
    return make_file(draw_lines(lines, title=title, x_label="learning rate, power of ten", y_label="training loss"))
