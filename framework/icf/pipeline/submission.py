"""Stage "submission": the file that the competition asks for, checked before it is written."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from icf.components import FloatArray, SubmissionFormat
from icf.errors import DataError
from icf.pipeline.files import read_probabilities, write_text
from icf.pipeline.folder import RunFolder


def write_submission(folder: RunFolder, form: SubmissionFormat | None, classes: Sequence[str]) -> Path:
    """Write submission.csv from test.parquet in exactly the rows, order and columns of ``form``.

    Raises:
        DataError: a row of the form has no prediction, or the form does not fit the classes.
    """
    ids, probabilities = read_probabilities(folder.path / "test.parquet", classes)
    form = form or SubmissionFormat(ids=ids, values=tuple(classes))
    rows = fill_form(form, ids, probabilities, classes)
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([[form.id_column, *form.columns], *rows])
    path = folder.path / "submission.csv"
    write_text(path, text.getvalue())
    return path


def fill_form(
    form: SubmissionFormat, ids: Sequence[str], probabilities: FloatArray, classes: Sequence[str]
) -> list[list[object]]:
    """Return the rows of a submission: an id and a label, or an id and a probability per column."""
    position = {name: row for row, name in enumerate(ids)}
    wanted = form.ids or ids
    missing = [name for name in wanted if name not in position]
    if missing or len(wanted) != len(ids):
        raise DataError(
            f"submission: {len(wanted)} rows are asked for and {len(ids)} were predicted;"
            f" {len(missing)} have no prediction" + (f", for example {missing[0]!r}" if missing else "")
        )
    if form.values is None:
        if set(form.columns) != set(classes):
            raise DataError(f"submission: columns {list(form.columns)} are not the classes {list(classes)}")
        order = [list(classes).index(name) for name in form.columns]
        return [[name, *probabilities[position[name]][order].tolist()] for name in wanted]
    if len(form.values) != len(classes) or len(form.columns) != 1:
        raise DataError(f"submission: {len(form.values)} label values for {len(classes)} classes")
    labels = probabilities.argmax(axis=1)
    return [[name, form.values[labels[position[name]]]] for name in wanted]
