"""The data set images/csv: images and labels listed in CSV files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

import icf
from icf.boxes import read_box
from icf.tables import Report, Row, Table, leaves_folder, read_table
from icf_images.labels import are_several, has_class_column, list_columns, read_labels
from icf_images.plugin import CsvParams
from icf_images.submission import read_submission, submission_values
from icf_images.walk import Paths, list_images


@dataclass(frozen=True, slots=True)
class ListedImage:
    """A row that names an existing image, ``file`` below the folder of images."""

    id: str
    file: str
    row: Row


def load_csv(params: CsvParams, ctx: icf.DatasetContext) -> icf.DatasetContent:  # noqa: ARG001
    """Read the tables and check that every image is there; the files themselves are read later.

    Raises DataError where a table can't be understood at all, else BadImagesError that names every
    mistake with its file and row.
    """
    report = Report()
    notes: list[str] = []
    table = read_table(_below(params.root, params.csv), report)
    has_class = has_class_column(params, table)
    columns = list_columns(params, has_class=has_class)
    table.require(*_columns(params, *columns, params.group_column, params.fold_column))
    rows = _labelled(params, table, columns, report, notes)
    external = _external(params, rows, columns, report, notes)
    everything = [*rows, *external]
    labels = read_labels(params, [row.row for row in rows], [row.row for row in external], report, has_class=has_class)
    groups = _groups(params, everything, report)
    folds = _folds(params, rows, len(external), report)
    boxes = _boxes(params, everything, report)
    test = _test_samples(params, report, notes)
    submission = _submission(params, labels.classes, test, report, notes)
    if submission is not None and are_several(params) and params.write_labels:
        submission = replace(submission, values=(0, 1))
    report.stop(f"The data set in {params.root} can't be used")
    if len(labels.classes) < 2:
        raise icf.DataError(f"{table.path} has only the class {labels.classes}; at least two are needed")
    train = icf.Samples(
        ids=[row.id for row in everything],
        images=_paths(params.root, params.image_folder, everything),
        targets=labels.targets,
        numbers=labels.numbers,
        groups=groups,
        folds=folds,
        scored=np.arange(len(everything)) < len(rows) if external else None,
        boxes=boxes,
    )
    return icf.DatasetContent(
        classes=labels.classes,
        attributes=labels.attributes,
        class_values=labels.class_values,
        train=train,
        test=test,
        submission=submission,
        notes=tuple(notes),
    )


def _below(root: Path, name: str) -> Path:
    if leaves_folder(name):
        raise icf.DataError(f"{name!r} leaves the data set's folder {root}; name a path below it")
    return root / name


def _paths(root: Path, folder: str, rows: Sequence[ListedImage]) -> Paths:
    return Paths(_below(root, folder), [row.file for row in rows])


def _columns(params: CsvParams, *more: str | None) -> list[str]:
    names = [params.image_column, params.id_column, *more, *(params.box_columns or ())]
    return list(dict.fromkeys(name for name in names if name))


def _labelled(
    params: CsvParams, table: Table, columns: Sequence[str], report: Report, notes: list[str]
) -> list[ListedImage]:
    listed = _listed(params, table, params.image_folder, report)
    complete = []
    for image in listed:
        empty = [] if are_several(params) else [column for column in columns if not image.row[column]]
        if empty:
            report.add(image.row.where, f"the label (column {empty[0]!r}) is missing")
        else:
            complete.append(image)
    if not table.rows:
        report.add(table.path, "has no rows below the header")
    return _without_duplicates(params, table, complete, report, notes)


def _external(
    params: CsvParams, rows: Sequence[ListedImage], columns: Sequence[str], report: Report, notes: list[str]
) -> list[ListedImage]:
    """Return the rows of external_csv; one whose id is taken is reported."""
    if params.external_csv is None:
        return []
    table = read_table(_below(params.root, params.external_csv), report)
    table.require(*_columns(params, *columns, params.group_column))
    external = _labelled(params, table, columns, report, notes)
    taken = {row.id: row.row.where for row in rows}
    for row in external:
        if row.id in taken:
            report.add(row.row.where, f"id {row.id!r} is also in {taken[row.id]}")
    return external


def _listed(params: CsvParams, table: Table, folder: str, report: Report) -> list[ListedImage]:
    """Return the rows whose image exists; the others are reported."""
    base = _below(params.root, folder)
    listed = []
    for row in table.rows:
        name = row[params.image_column]
        row_id = row[params.id_column or params.image_column]
        problem = _path_problem(base, name, params.image_extension)
        if not row_id:
            problem = problem or f"the id (column {params.id_column!r}) is missing"
        if problem:
            report.add(row.where, problem)
        else:
            listed.append(ListedImage(row_id, name + params.image_extension, row))
    return listed


def _path_problem(base: Path, name: str, extension: str) -> str | None:
    if not name:
        return "the path of the image is missing"
    if leaves_folder(name + extension):
        return f"the path {name!r} leaves the data set's folder; it must lie below {base}"
    if not (base / (name + extension)).is_file():
        return f"there is no file {base / (name + extension)}"
    return None


def _without_duplicates(
    params: CsvParams, table: Table, images: Sequence[ListedImage], report: Report, notes: list[str]
) -> list[ListedImage]:
    rows_of: dict[str, list[ListedImage]] = {}
    for image in images:
        rows_of.setdefault(image.id, []).append(image)
    repeated = {name: rows for name, rows in rows_of.items() if len(rows) > 1}
    if not repeated:
        return list(images)
    if params.duplicates == "error":
        for name, rows in repeated.items():
            report.add(rows[1].row.where, _duplicate_message(params, name, rows))
        return [rows[0] for rows in rows_of.values()]
    kept = [rows[0] for rows in rows_of.values() if params.duplicates == "first" or not _contradict(rows)]
    differing = sum(map(_contradict, repeated.values()))
    notes.append(
        f"{table.path.name}: {len(repeated)} ids are in several rows, {differing} of them with different "
        f"values; {len(images) - len(kept)} rows left out (duplicates = {params.duplicates!r})"
    )
    return kept


def _contradict(rows: Sequence[ListedImage]) -> bool:
    return any(row.row.cells != rows[0].row.cells for row in rows)


def _duplicate_message(params: CsvParams, name: str, rows: Sequence[ListedImage]) -> str:
    labels = [row.row.cells.get(params.label_column) for row in rows]
    text = f"id {name!r} is also in row {rows[0].row.where.rpartition(' ')[2]}"
    if len(set(labels)) > 1:
        text += f", with another label ({', '.join(map(repr, labels))})"
    return text + "; correct it, or set duplicates = 'drop' or 'first'"


def _groups(params: CsvParams, rows: Sequence[ListedImage], report: Report) -> list[str] | None:
    if params.group_column is None:
        return None
    for row in rows:
        if not row.row[params.group_column]:
            report.add(row.row.where, f"the group (column {params.group_column!r}) is missing")
    return [row.row[params.group_column] for row in rows]


def _folds(params: CsvParams, rows: Sequence[ListedImage], external: int, report: Report) -> icf.IntArray | None:
    if params.fold_column is None:
        return None
    folds = []
    for row in rows:
        cell = row.row[params.fold_column]
        valid = cell.isascii() and cell.isdigit() and len(cell) < 10
        if not valid:
            report.add(row.row.where, f"fold {cell!r} is no whole number from 0")
        folds.append(int(cell) if valid else -1)
    return np.array([*folds, *[-1] * external], np.int64)


def _boxes(params: CsvParams, rows: Sequence[ListedImage], report: Report) -> icf.IntArray | None:
    if params.box_columns is None:
        return None
    boxes = np.zeros((len(rows), 4), np.int64)
    for place, row in enumerate(rows):
        try:
            boxes[place] = read_box(row.row, params.box_columns, params.box_form)
        except ValueError as error:
            report.add(row.row.where, str(error))
    return boxes


def _test_samples(params: CsvParams, report: Report, notes: list[str]) -> icf.Samples | None:
    if params.test_csv is not None:
        return _test_from_csv(params, params.test_csv, report, notes)
    if params.test_folder is not None:
        return _test_from_folder(params, params.test_folder, report, notes)
    return None


def _test_from_csv(params: CsvParams, name: str, report: Report, notes: list[str]) -> icf.Samples:
    table = read_table(_below(params.root, name), report)
    table.require(*_columns(params))
    if not table.rows:
        report.add(table.path, "has no rows below the header")
    folder = params.image_folder if params.test_folder is None else params.test_folder
    listed = _listed(params, table, folder, report)
    rows = _without_duplicates(params, table, listed, report, notes)
    boxes = _boxes(params, rows, report)
    return icf.Samples(ids=[row.id for row in rows], images=_paths(params.root, folder, rows), boxes=boxes)


def _test_from_folder(params: CsvParams, name: str, report: Report, notes: list[str]) -> icf.Samples:
    folder = _below(params.root, name)
    if not folder.is_dir():
        raise icf.DataError(f"There is no folder {folder}; test_folder must name a folder below root")
    listing = list_images(folder, params.extensions, report)
    if not listing.images:
        report.add(folder, "has no image to predict")
    if listing.others:
        notes.append(f"not used: {listing.others} files in {folder} with another ending")
    names = [path.relative_to(folder).as_posix() for path in listing.images]
    return icf.Samples(ids=[n.removesuffix(params.image_extension) for n in names], images=listing.images)


def _submission(
    params: CsvParams, classes: tuple[str, ...], test: icf.Samples | None, report: Report, notes: list[str]
) -> icf.SubmissionFormat | None:
    if test is None:
        return None
    if params.sample_submission is None and are_several(params):
        return icf.SubmissionFormat(id_column=params.id_column or params.image_column, columns=classes, ids=test.ids)
    if params.sample_submission is None:
        return icf.SubmissionFormat(
            id_column=params.id_column or params.image_column,
            columns=(params.label_column,),
            ids=test.ids,
            values=submission_values(classes),
        )
    table = read_table(_below(params.root, params.sample_submission), report)
    return read_submission(table, classes, test.ids, report, notes=notes, allow_repeats=params.duplicates != "error")
