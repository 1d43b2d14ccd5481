"""The row of inference: five folds and two views of every image."""

from __future__ import annotations

import csv
from pathlib import Path

from benchmarks.data import FOLDS, write_masks
from benchmarks.measure import Aim, Contest, Outcome, Row
from benchmarks.processes import ICF, run_process
from benchmarks.task import PLUGIN, Task, read_outcome, run_reference, start_icf, use_cache
from benchmarks.workspace import Workspace


def compare(workspace: Workspace) -> Contest:
    """Train five folds once; then predict the photographs of 42 people, about 285 files, at 224x224."""
    listing = write_masks(workspace, workspace.choose(42, 6), folds=FOLDS)
    size = workspace.choose(224, 64)
    task = Task(listing, size=size, epochs=1)

    def train(folder: Path) -> None:
        start_icf(workspace, task.recipe(inference={"tta": ["horizontal-flip"]}), folder)

    trained = workspace.ensure(f"five-models-{listing.parent.name}-{size}", train)
    (plan,) = trained.glob("runs/*/*/plan.json")
    return Contest(
        icf=lambda: predict(workspace, plan.parent, listing),
        reference=lambda: run_reference(workspace, "predict", *task.arguments(), f"--run={plan.parent}"),
    )


def predict(workspace: Workspace, run: Path, listing: Path) -> Outcome:
    """Predict with ``icf predict`` and an empty cache."""
    with workspace.fresh_folder() as folder:
        command = [*ICF, "predict", str(run), str(listing.parent), "--json", "--plugin", str(PLUGIN)]
        finished = run_process(command, workspace.threads, use_cache(folder))
        found = {Path(item["image"]).name: item["prediction"] for item in finished.read_json()["predictions"]}
    with listing.open(newline="") as file:
        right = [found[row["image"]] == row["label"] for row in csv.DictReader(file)]
    return read_outcome(finished, sum(right) / len(right))


ROWS = (
    Row(
        name="inference",
        summary="predicting with five folds of resnet18 and a flipped view at 224x224, whole process, "
        "against ten plain passes",
        aim=Aim("at most", 0.6),
        prepare=compare,
    ),
)
