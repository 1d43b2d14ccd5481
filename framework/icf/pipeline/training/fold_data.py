"""What one fold trains on, validates on and predicts, read from the run folder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from icf.components import IntArray
from icf.pipeline.data.preprocess import Preprocessing
from icf.pipeline.data.stored_images import open_sources
from icf.pipeline.files import read_json, read_table
from icf.pipeline.jobs import FoldJob
from icf.pipeline.pixels.sources import PixelSource
from icf.pipeline.training.output import Output, read_output


@dataclass(frozen=True, kw_only=True)
class FoldData:
    """Rows are positions in the pixels; ``targets`` is indexed by them, -1 where a row is unused."""

    classes: tuple[str, ...]
    output: Output
    preprocessing: Preprocessing
    train_pixels: PixelSource
    targets: IntArray
    train_rows: IntArray
    val_rows: IntArray
    val_ids: tuple[str, ...]
    test_pixels: PixelSource | None
    test_rows: IntArray
    test_ids: tuple[str, ...]

    @property
    def train_targets(self) -> IntArray:
        """Targets of the training rows, int64 [N]."""
        return self.targets[self.train_rows]

    @classmethod
    def open(cls, job: FoldJob) -> FoldData:
        """Read the data of a job's fold."""
        folder = job.run_folder
        facts = read_json(folder.data)
        split = read_table(folder.split)
        rows, folds = split["row"], split["fold"]
        targets = np.full(int(rows.max()) + 1, -1, dtype=np.int64)
        targets[rows] = split["target"]
        validates = folds == job.fold
        test: dict[str, Any] = {"id": [], "row": np.zeros(0, np.int64)}
        spec = Preprocessing.model_validate(facts["preprocessing"])
        sources = open_sources(job.plan, spec, facts["pixels"])
        if "test" in sources:
            test = read_table(folder.test_rows)
        return cls(
            classes=tuple(facts["classes"]),
            output=read_output(facts["output"]),
            preprocessing=spec,
            train_pixels=sources["train"],
            targets=targets,
            train_rows=rows[~validates],
            val_rows=rows[validates],
            val_ids=tuple(name for name, chosen in zip(split["id"], validates, strict=True) if chosen),
            test_pixels=sources.get("test"),
            test_rows=test["row"],
            test_ids=tuple(test["id"]),
        )
