"""The row of the start: how long until the first optimizer step is done."""

from __future__ import annotations

from benchmarks.data import write_fashion
from benchmarks.measure import Aim, Contest, Outcome, Row
from benchmarks.processes import run_module
from benchmarks.task import ONE_FOLD, Task, start_icf
from benchmarks.workspace import Workspace

IMAGES = 80
"""Of which 64, one batch, train."""


def compare(workspace: Workspace) -> Contest:
    """Compare ``icf run`` on a few small PNG files with importing torch and timm and one step on made-up images."""
    task = Task(write_fashion(workspace, IMAGES, folds=1), size=32, epochs=1)
    return Contest(icf=lambda: start(workspace, task), reference=lambda: start_reference(workspace, task))


def start(workspace: Workspace, task: Task) -> Outcome:
    """Return the seconds from the start of the process to the end of the first step."""
    with workspace.fresh_folder() as folder:
        model = {"use": "timm/model", "arch": "resnet18"}
        clock = {"use": "bench/clock", "file": str(folder / "first-step")}
        finished = start_icf(workspace, task.recipe(compute=ONE_FOLD, model=model, optimizer=clock), folder)
        return Outcome(float((folder / "first-step").read_text()) - finished.started)


def start_reference(workspace: Workspace, task: Task) -> Outcome:
    """Return the same of a short script."""
    finished = run_module(
        "benchmarks.references.start", task.size, task.batch_size, workspace.threads, threads=workspace.threads
    )
    return Outcome(finished.read_json()["first_step"] - finished.started)


ROWS = (
    Row(
        name="start",
        summary="start of icf run to its first step, against importing torch and timm and doing one step",
        aim=Aim("at most", 1.3),
        prepare=compare,
    ),
)
