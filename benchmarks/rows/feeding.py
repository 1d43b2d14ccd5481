"""Rows without a network: what it costs to make the batches of an epoch from JPEG files of 384x512."""

from __future__ import annotations

from functools import partial

from benchmarks.data import write_masks
from benchmarks.measure import Aim, Contest, Outcome, Row
from benchmarks.processes import run_module
from benchmarks.task import ONE_FOLD, PLUGIN, Task, use_cache, write_recipe
from benchmarks.workspace import Workspace
from icf.memory import memory_variables


def make_task(workspace: Workspace, size: int) -> Task:
    """Return batches of the photographs of 84 people, about 570 files."""
    return Task(write_masks(workspace, workspace.choose(84, 6), folds=1), size=size, epochs=1)


def compare_later_epoch(workspace: Workspace, *, size: int) -> Contest:
    """Compare the second epoch of icf with any of a loop that decodes each time, both on one thread."""
    task = make_task(workspace, size)
    return Contest(
        icf=lambda: feed_icf(workspace, task, "later", threads=1),
        reference=lambda: feed_reference(task, workers=0),
    )


def compare_first_epoch(workspace: Workspace) -> Contest:
    """Compare decoding, filling the cache and feeding with decoding in as many loader workers as there are cores."""
    task = make_task(workspace, 128)
    return Contest(
        icf=lambda: feed_icf(workspace, task, "first", threads=workspace.threads),
        reference=lambda: feed_reference(task, workers=workspace.threads),
    )


def feed_icf(workspace: Workspace, task: Task, epoch: str, *, threads: int) -> Outcome:
    """Return the seconds that icf's own functions need for the batches of an epoch."""
    with workspace.fresh_folder() as folder:
        recipe = write_recipe(task.recipe(compute=ONE_FOLD), folder)
        arguments = (recipe, f"--plugin={PLUGIN}", f"--epoch={epoch}", f"--threads={threads}")
        environment = {**use_cache(folder), **memory_variables()}  # as in every process of icf run
        finished = run_module("benchmarks.feed", *arguments, threads=threads, environment=environment)
        return Outcome(finished.read_json()["seconds"])


def feed_reference(task: Task, *, workers: int) -> Outcome:
    """Return the seconds that a loader needs for the same batches."""
    finished = run_module("benchmarks.references.feed", *task.arguments(), f"--workers={workers}", threads=1)
    return Outcome(finished.read_json()["seconds"])


def _later_row(size: int) -> Row:
    return Row(
        name=f"feed-{size}",
        summary=f"batches of a second epoch at {size}x{size} on one thread, against decoding with Pillow each epoch",
        aim=Aim("at least", 10),
        prepare=partial(compare_later_epoch, size=size),
    )


ROWS = (
    _later_row(64),
    _later_row(224),
    Row(
        name="first-epoch",
        summary="decoding, filling the cache and the first epoch at 128x128, against decoding with the same cores",
        aim=Aim("at most", 1.0),
        prepare=compare_first_epoch,
    ),
)
