"""Stage "submission": the file that the competition asks for, checked before it is written."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from icf.components import FloatArray, SubmissionFormat, TargetKind
from icf.errors import DataError
from icf.pipeline.files import read_probabilities, write_file
from icf.pipeline.folder import RunFolder


def write_submission(
    folder: RunFolder, form: SubmissionFormat | None, classes: Sequence[str], kind: TargetKind = "classes"
) -> Path:
    """Write submission.csv from test.parquet in exactly the rows, order and columns of ``form``.

    Raises:
        DataError: a row of the form has no prediction, or the form does not fit the classes.
    """
    ids, probabilities = read_probabilities(folder.path / "test.parquet", classes)
    values = None if kind == "labels" else tuple(classes)
    form = form or SubmissionFormat(ids=ids, columns=("label",) if values else tuple(classes), values=values)
    rows = fill_form(form, ids, probabilities, classes, kind)

    def write(temporary: Path) -> None:
        with temporary.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow([form.id_column, *form.columns])
            writer.writerows(rows)

    path = folder.path / "submission.csv"
    write_file(path, write)
    return path


def fill_form(
    form: SubmissionFormat,
    ids: Sequence[str],
    probabilities: FloatArray,
    classes: Sequence[str],
    kind: TargetKind = "classes",
) -> Iterator[list[object]]:
    """Check a form, and give the rows of a submission: an id and a label, or an id and a probability per column.

    Of labels, of which an image can have any number, each has a column: its probability, or one of two values, the
    second from one half on.
    """
    position = {name: row for row, name in enumerate(ids)}
    wanted = form.ids or ids
    _check_ids(wanted, position)
    if form.values is None or kind == "labels":
        if sorted(form.columns) != sorted(classes):
            raise DataError(f"submission: columns {list(form.columns)} are not the classes {list(classes)}")
        order = [list(classes).index(name) for name in form.columns]
        if form.values is None:
            return ([name, *probabilities[position[name]][order].tolist()] for name in wanted)
        if len(form.values) != 2:
            raise DataError(f"submission: {list(form.values)} must be two values, for a label that is not there and is")
        absent, present = form.values
        return (
            [name, *(present if value >= 0.5 else absent for value in probabilities[position[name]][order].tolist())]
            for name in wanted
        )
    if len(form.columns) != 1:
        raise DataError(f"submission: a label needs one column, and there are {list(form.columns)}")
    if len(form.values) != len(classes):
        raise DataError(f"submission: {len(form.values)} label values for {len(classes)} classes")
    labels = probabilities.argmax(axis=1)
    values = form.values
    return ([name, values[labels[position[name]]]] for name in wanted)


def _check_ids(wanted: Sequence[str], predicted: Mapping[str, int]) -> None:
    """Raise DataError unless the same ids are asked for and predicted; a form may ask for one more than once."""
    asked = set(wanted)
    missing = [name for name in wanted if name not in predicted]
    extra = [name for name in predicted if name not in asked]
    for names, fault in ((missing, "are asked for but not predicted"), (extra, "are predicted but not asked for")):
        if names:
            raise DataError(f"submission: {len(names)} of {len(asked)} ids {fault}, for example {names[0]!r}")
