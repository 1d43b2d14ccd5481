"""What one fold trains on, validates on and predicts, read from the run folder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from icf.components import BoolArray, FloatArray, IntArray
from icf.pipeline.data.attributes import ClassAttribute, read_attributes
from icf.pipeline.data.labels import count_rows, read_columns
from icf.pipeline.data.preprocess import Preprocessing
from icf.pipeline.data.stored_images import open_sources
from icf.pipeline.files import read_json, read_table
from icf.pipeline.jobs import FoldJob
from icf.pipeline.pixels.sources import PixelSource
from icf.pipeline.training.output import Output
from icf.pipeline.training.output_choice import read_output


@dataclass(frozen=True, kw_only=True)
class FoldData:
    """Rows are positions in the pixels, which index ``targets``, ``trained`` and ``numbers``.

    ``targets`` is what rows are scored by, and ``trained`` what they are trained on; -1 where there is none.
    """

    classes: tuple[str, ...]
    attributes: tuple[ClassAttribute, ...]
    output: Output
    preprocessing: Preprocessing
    train_pixels: PixelSource
    targets: IntArray
    trained: IntArray
    numbers: dict[str, FloatArray]
    train_rows: IntArray
    val_rows: IntArray
    val_ids: tuple[str, ...]
    test_pixels: PixelSource | None
    test_rows: IntArray
    test_ids: tuple[str, ...]

    @property
    def train_targets(self) -> IntArray:
        """Classes or labels that the training rows are trained on, int64 [N] or [N, K]."""
        return self.trained[self.train_rows]

    def expect(self, rows: IntArray) -> torch.Tensor:
        """Return what outputs for these rows are compared with in validation (``Output.expect``)."""
        return self.output.expect(self.targets[rows], {name: values[rows] for name, values in self.numbers.items()})

    def expect_trained(self, rows: IntArray) -> torch.Tensor:
        """Return the same for training; of a row that is trained on as something else, no number is known."""
        classes = self.trained[rows]
        if not self.numbers:
            return self.output.expect(classes, {})
        as_scored = classes == self.targets[rows]
        numbers = {name: np.where(as_scored, values[rows], np.nan) for name, values in self.numbers.items()}
        return self.output.expect(classes, numbers)

    @classmethod
    def open(cls, job: FoldJob) -> FoldData:
        """Read the data of a job's fold."""
        folder = job.run_folder
        facts = read_json(folder.data)
        split = read_table(folder.split)
        rows, folds = split["row"], split["fold"]
        classes = tuple(facts["classes"])
        scored = read_columns(split, classes)
        targets = _spread(scored, rows, -1)
        trained = _spread(split.get("trained", scored), rows, -1)
        output = read_output(facts["output"])
        numbers = {name: _spread(split[f"number_{name}"], rows, np.nan) for name in output.numbers}
        validates = folds == job.fold
        train_rows = rows[find_trained(split, validates)]
        counts = count_rows(trained[train_rows], len(classes))
        test: dict[str, Any] = {"id": [], "row": np.zeros(0, np.int64)}
        spec = Preprocessing.model_validate(facts["preprocessing"])
        sources = open_sources(job.plan, spec, facts["pixels"])
        if "test" in sources:
            test = read_table(folder.test_rows)
        return cls(
            classes=classes,
            attributes=read_attributes(facts["attributes"]),
            output=output.learn(counts),
            preprocessing=spec,
            train_pixels=sources["train"],
            targets=targets,
            trained=trained,
            numbers=numbers,
            train_rows=train_rows,
            val_rows=rows[validates],
            val_ids=tuple(name for name, chosen in zip(split["id"], validates, strict=True) if chosen),
            test_pixels=sources.get("test"),
            test_rows=test["row"],
            test_ids=tuple(test["id"]),
        )


def find_trained(split: dict[str, Any], validates: BoolArray) -> BoolArray:
    """Return which rows of split.parquet a fold trains on, bool [N].

    Rows that no fold validates are left out where a row of their group is validated.
    """
    trains: BoolArray = ~validates & (split.get("trained", np.zeros(1)) >= 0)
    loose = np.flatnonzero(trains & (split["fold"] < 0))
    if len(loose):
        groups = split["group"]
        validated = {groups[row] for row in np.flatnonzero(validates)}
        trains[loose] = [groups[row] not in validated for row in loose]
    return trains


def _spread(values: npt.NDArray[Any], rows: IntArray, empty: float) -> npt.NDArray[Any]:
    """Return an array that has each row's value at its position in the pixels."""
    spread = np.full((int(rows.max()) + 1, *values.shape[1:]), empty, dtype=values.dtype)
    spread[rows] = values
    return spread
