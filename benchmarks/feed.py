"""The batches of an epoch as icf makes them, without a network: prints the seconds of the first or a later epoch."""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from benchmarks.inside import make_job, open_plan, open_trainer, prepare_data
from icf.pipeline.training.trainer import Trainer

PASSES = 5
"""Later epochs that are timed; a single one takes a fraction of a second."""


def feed(trainer: Trainer, epoch: int) -> float:
    """Read every training batch of an epoch, augmented and normalised; return the seconds."""
    started = time.perf_counter()
    rows = trainer.data.train_rows[trainer.order(epoch)]
    for step, batch in enumerate(np.array_split(rows, trainer.steps)):
        trainer.batches.read_augmented(batch, step)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--plugin", type=Path, action="append", required=True)
    parser.add_argument("--epoch", choices=("first", "later"), required=True)
    parser.add_argument("--threads", type=int, required=True)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    plan = open_plan(options.recipe, options.plugin)
    started = time.perf_counter()
    data = prepare_data(plan)
    filling = time.perf_counter() - started
    with tempfile.TemporaryDirectory() as runs:
        trainer = open_trainer(make_job(plan, data, Path(runs), options.threads))
        first = filling + feed(trainer, 0)
        later = [feed(trainer, epoch) for epoch in range(1, PASSES + 1)]
    print(json.dumps({"seconds": first if options.epoch == "first" else statistics.median(later)}))


if __name__ == "__main__":
    main()
