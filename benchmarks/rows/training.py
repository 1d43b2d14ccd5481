"""Rows that train: one fold against loops by hand, five folds against one, and their memory."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Literal

from benchmarks.data import FOLDS, write_fashion, write_masks
from benchmarks.machine import describe_machine
from benchmarks.measure import Aim, Contest, Row
from benchmarks.task import ONE_FOLD, Task, run_icf, run_reference
from benchmarks.workspace import Workspace


def make_small_task(workspace: Workspace, *, folds: int = 1, epochs: int = 3) -> Task:
    """Return resnet18 on 4,000 PNG at 32x32, of which 3,200 train."""
    listing = write_fashion(workspace, workspace.choose(4000, 160), folds=folds)
    return Task(listing, size=32, epochs=workspace.choose(epochs, 1))


def make_large_task(workspace: Workspace, *, folds: int = 1) -> Task:
    """Return resnet18 at 128x128 on the JPEG files of 84 people, about 570 of which four fifths train."""
    listing = write_masks(workspace, workspace.choose(84, 6), folds=folds)
    return Task(listing, size=128, epochs=workspace.choose(5, 1))


def compare_fold(workspace: Workspace, *, size: Literal[32, 128], reference: str) -> Contest:
    """Compare whole processes that train one fold."""
    task = make_small_task(workspace) if size == 32 else make_large_task(workspace)
    options = [f"--precision={choose_precision(workspace, task)}"] if reference == "tuned" else []
    return Contest(
        icf=lambda: run_icf(workspace, task.recipe(compute=ONE_FOLD)),
        reference=lambda: run_reference(workspace, reference, *task.arguments(), *options),
    )


def choose_precision(workspace: Workspace, task: Task) -> str:
    """Return what a person who tunes the loop on this machine finds out beforehand: its faster number format."""
    if not describe_machine()["bf16"]:
        return "fp32"
    arguments = replace(task, epochs=1).arguments()
    seconds = {
        name: run_reference(workspace, "tuned", *arguments, f"--precision={name}").seconds for name in ("fp32", "bf16")
    }
    return min(seconds, key=lambda name: seconds[name])


def compare_five_folds(workspace: Workspace) -> Contest:
    """Compare five folds with the first of them alone; icf chooses how the five share the cores."""
    five, one = make_small_task(workspace, folds=FOLDS), make_small_task(workspace)
    return Contest(
        icf=lambda: run_icf(workspace, five.recipe()),
        reference=lambda: run_icf(workspace, one.recipe(compute=ONE_FOLD)),
    )


def compare_memory(workspace: Workspace) -> Contest:
    """Compare the peak memory of all processes of a run of five folds with that of the plain loop over them.

    Two epochs, since later ones take no more than the second.
    """
    task = make_small_task(workspace, folds=FOLDS, epochs=2)
    return Contest(
        icf=lambda: run_icf(workspace, task.recipe(), watch_memory=True),
        reference=lambda: run_reference(workspace, "plain", *task.arguments(), watch_memory=True),
    )


def _fold_row(size: Literal[32, 128], reference: str, aim: Aim, against: str) -> Row:
    return Row(
        name=f"fold-{size}-{reference}",
        summary=f"one fold, resnet18 at {size}x{size}, whole process, against {against}",
        aim=aim,
        prepare=partial(compare_fold, size=size, reference=reference),
    )


ROWS = (
    _fold_row(32, "plain", Aim("at least", 2), "a plain loop"),
    _fold_row(128, "plain", Aim("at least", 2), "a plain loop"),
    _fold_row(32, "tuned", Aim("at least", 0.97), "a loop tuned by hand"),
    _fold_row(128, "tuned", Aim("at least", 0.97), "a loop tuned by hand"),
    Row(
        name="five-folds",
        summary="five folds of resnet18 at 32x32 against one of them, whole processes of icf",
        aim=Aim("at most", 4.2),
        prepare=compare_five_folds,
    ),
    Row(
        name="memory",
        summary="peak memory of five folds of resnet18 at 32x32, all processes, against a plain loop over them",
        aim=Aim("at most", 1.2),
        prepare=compare_memory,
        compares="megabytes",
    ),
)
