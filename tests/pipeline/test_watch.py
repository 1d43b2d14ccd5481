from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from icf.events import EpochEnd
from icf.pipeline.files import write_json
from icf.pipeline.jobs import FoldJob
from icf.pipeline.listener import FoldStatus, Listener
from icf.pipeline.training.observers import Observers
from icf.pipeline.watch import FoldWatch
from training import make_plan


class Memory(Listener):
    def __init__(self) -> None:
        self.folds: Sequence[FoldStatus] = ()
        self.epochs: list[tuple[int, int]] = []

    def folds_changed(self, folds: Sequence[FoldStatus]) -> None:
        self.folds = folds

    def epoch_ended(self, event: EpochEnd, epochs: int) -> None:
        self.epochs.append((event.fold, event.epoch))


def write_fold(job: FoldJob, epochs: int, *, finished: bool = False) -> None:
    """Write what a fold has written when so many epochs are done."""
    score = job.plan.metrics[0].key
    job.folder.path.mkdir(parents=True, exist_ok=True)
    rows = [f"{epoch},1.0,0.9,0.01,1000.0,{0.5 + epoch / 10}" for epoch in range(epochs)]
    job.folder.history.write_text(
        "\n".join([f"epoch,train_loss,val_loss,learning_rate,images_per_second,{score}", *rows])
    )
    now = {"epoch": epochs, "step": 0, "steps": 7, "images_per_second": 1000.0}
    write_json(job.folder.progress, {"key": job.key, "prefetch": "", "warnings": [], **now})
    if finished:
        write_json(job.folder.metrics, {"best_epoch": epochs - 1, "metrics": {score: 0.7}})
        job.folder.oof.touch()
        job.run_folder.mark_done(f"fold-{job.fold}", job.key)


def make_jobs(folder: Path) -> list[FoldJob]:
    plan = make_plan("train.epochs=3")
    return [FoldJob(plan, folder, fold, 1, f"key {fold}") for fold in range(3)]


def test_folds_are_followed_by_what_they_write(tmp_path: Path) -> None:
    jobs, memory = make_jobs(tmp_path), Memory()
    watch = FoldWatch(jobs, Observers([], print), memory)
    write_fold(jobs[0], 3, finished=True)
    write_fold(jobs[1], 1)
    watch.poll()
    assert [(fold.status, fold.epoch) for fold in memory.folds] == [("finished", 3), ("training", 1), ("waiting", 0)]
    assert memory.epochs == [(0, 0), (0, 1), (0, 2), (1, 0)]
    write_fold(jobs[1], 3)
    watch.poll()
    assert [fold.status for fold in memory.folds] == ["finished", "predicting", "waiting"]
    assert memory.epochs[4:] == [(1, 1), (1, 2)]


def test_a_finished_fold_is_not_read_again_and_again(tmp_path: Path) -> None:
    jobs, memory = make_jobs(tmp_path), Memory()
    write_fold(jobs[2], 2, finished=True)  # in an earlier start
    watch = FoldWatch(jobs, Observers([], print), memory)
    write_fold(jobs[0], 3, finished=True)
    for _ in range(2):  # what it wrote last may have come while it was read
        watch.poll()
    seen = memory.folds
    shutil.rmtree(tmp_path / "folds")
    write_fold(jobs[1], 1)
    watch.poll()
    assert [fold.status for fold in memory.folds] == ["finished", "training", "finished"]
    assert (memory.folds[0], memory.folds[2]) == (seen[0], seen[2])
    assert memory.epochs == [(0, 0), (0, 1), (0, 2), (1, 0)]
