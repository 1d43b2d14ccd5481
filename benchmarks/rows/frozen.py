"""The row of feature extraction: only heads are trained."""

from __future__ import annotations

from benchmarks.data import FOLDS, write_masks
from benchmarks.measure import Aim, Contest, Row
from benchmarks.task import Task, run_icf, run_reference
from benchmarks.workspace import Workspace

MODEL = {"use": "timm/model", "arch": "tf_efficientnet_lite0", "pretrained": True, "freeze": "backbone"}


def compare(workspace: Workspace) -> Contest:
    """Compare five folds of ten epochs on 2,000 JPEG files at 96x96, as they are; the loop takes several minutes."""
    people, most = workspace.choose(300, 6), workspace.choose(2000, 40)
    listing = write_masks(workspace, people, folds=FOLDS, most=most)
    task = Task(listing, size=96, epochs=workspace.choose(10, 1), flips=False)
    return Contest(
        icf=lambda: run_icf(workspace, task.recipe(model=MODEL)),
        reference=lambda: run_reference(workspace, "frozen", *task.arguments()),
    )


ROWS = (
    Row(
        name="features-lite0",
        summary="five folds of feature extraction, ten epochs, lite0 at 96x96, 2,000 images, whole process, "
        "against a plain loop with a frozen backbone",
        aim=Aim("at least", 40),
        prepare=compare,
    ),
)
