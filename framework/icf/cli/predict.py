"""``icf predict``: classes of new images, from a finished run."""

from __future__ import annotations

import csv
import glob
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from icf.boxes import Box, BoxForm, read_box
from icf.cli.options import PluginFiles, make_console, make_table, to_json
from icf.errors import IcfError, Problem, ProblemsError
from icf.formats import format_count
from icf.local import read_local_plugins
from icf.memory import keep_memory
from icf.tables import Report, read_table

if TYPE_CHECKING:
    from icf.components import IntArray
    from icf.pipeline.predict import Predictions

BOX_COLUMNS: dict[BoxForm, tuple[str, str, str, str]] = {
    "corners": ("left", "top", "right", "bottom"),
    "size": ("x", "y", "width", "height"),
}
WHOLE: Literal["whole"] = "whole"

IMAGE_SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
"""What counts as an image in a folder; a file that is named itself may have any suffix."""


def predict(
    run_folder: Annotated[
        Path, typer.Argument(metavar="RUN", help="A run folder, or runs/RECIPE for its newest finished run.")
    ],
    images: Annotated[
        list[str], typer.Argument(metavar="IMAGES...", help="Files, folders, or patterns such as 'new/*.jpg'.")
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", metavar="FILE.csv", help="Write image, prediction and all probabilities."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Write predictions as one JSON object.")] = False,
    top: Annotated[int, typer.Option("--top", min=1, help="Classes to show for each image.")] = 3,
    boxes: Annotated[
        str | None,
        typer.Option(
            "--boxes",
            metavar="FILE.csv|whole",
            help="What to crop images to, if the run did: columns image, left, top, right, bottom (or x, y, width,"
            " height); 'whole': they are cropped already.",
        ),
    ] = None,
    plugin: PluginFiles = None,
) -> None:
    """Predict images with all folds of a finished run. Exits with 1 if any image could not be read.

    With --json: {"run_dir", "classes", "notes", "skipped": [{"where", "message"}], "predictions": [{"image",
    "prediction", "probabilities"}]}, probabilities in the order of "classes".
    """
    keep_memory()
    run_dir = find_run_dir(run_folder)
    paths = find_images(images)
    local = read_local_plugins(plugin or ())
    cuts = read_boxes(Path(boxes), paths) if boxes not in (None, WHOLE) else boxes
    from icf.pipeline.predict import predict_images

    if run_dir != run_folder:
        print(f"run folder {run_dir}", file=sys.stderr)
    found = predict_images(run_dir, paths, local, cuts)
    for note in found.notes:
        print(f"note: {note}", file=sys.stderr)
    if output is not None:
        _write_csv(output, found)
    if as_json:
        print(to_json(_as_json(run_dir, found)))
    elif output is None:
        _print_table(found, top)
    else:
        print(f"{format_count(len(found.names), 'prediction')} in {output}")
    for problem in found.skipped:
        print(f"warning: skipped {problem}", file=sys.stderr)
    if found.skipped:
        raise typer.Exit(1)


def find_run_dir(path: Path) -> Path:
    """Return a run folder: the one that is named, or the newest finished one in a recipe's folder.

    Raises:
        IcfError: there is no run.
    """
    if (path / "plan.json").exists():
        return path
    # Names of run folders begin with the time at which they were made.
    runs = sorted(file.parent for file in path.glob("*/plan.json"))
    finished = [run for run in runs if (run / "metrics.json").exists()]
    if runs:
        return (finished or runs)[-1]
    if not path.exists():
        raise IcfError(f"{path}: no such folder; name a run folder, or a recipe's folder such as runs/digits")
    raise IcfError(f"{path}: neither a run folder nor a folder of runs: there is no plan.json in it")


def find_images(arguments: Sequence[str]) -> list[Path]:
    """Return the files that arguments name, folders and patterns sorted, each file once.

    Raises:
        IcfError: with every argument that names no image.
    """
    found: list[Path] = []
    problems = []
    for argument in arguments:
        try:
            found += _expand(argument)
        except ValueError as error:
            problems.append(Problem(argument, str(error)))
    if problems:
        raise ProblemsError("images that can't be found", problems)
    return list(dict.fromkeys(found))


def read_boxes(file: Path, images: Sequence[Path]) -> IntArray:
    """Return the box of each image, int64 [N, 4]; paths in the file start from its folder.

    Raises:
        DataError: the file can't be read, or lacks a column.
        BadImagesError: with every image without a box, and every box that makes no sense.
    """
    import numpy as np

    report = Report()
    table = read_table(file, report)
    form: BoxForm = "size" if "width" in table.columns else "corners"
    table.require("image", *BOX_COLUMNS[form])
    found: dict[Path, Box] = {}
    for row in table.rows:
        path = (file.parent / row["image"]).resolve()
        if path in found:
            report.add(row.where, f"{row['image']!r} has a box already; predict its boxes one after the other")
        try:
            found[path] = read_box(row, BOX_COLUMNS[form], form)
        except ValueError as error:
            report.add(row.where, str(error))
    for image in images:
        if image.resolve() not in found and not report.problems:
            report.add(image, f"has no box in {file}")
    report.stop("boxes that can't be used")
    return np.array([found[image.resolve()] for image in images], np.int64)


def _expand(argument: str) -> list[Path]:
    path = Path(argument)
    if path.is_dir():
        files = sorted(_walk(path))
        if not files:
            raise ValueError(f"no image in this folder (looked for {', '.join(sorted(IMAGE_SUFFIXES))})")
        return files
    if path.exists():
        return [path]
    if not glob.has_magic(argument):
        raise ValueError("no such file or folder")
    matches = [Path(name) for name in sorted(glob.glob(argument, recursive=True))]
    files = [match for match in matches if match.is_file()]
    if not files:
        raise ValueError("no file matches this pattern")
    return files


def _walk(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".") and path.is_file():
            yield path


def _write_csv(path: Path, found: Predictions) -> None:
    try:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["image", "prediction", *found.classes])
            for name, row in zip(found.names, found.probabilities, strict=True):
                best = found.classes[int(row.argmax())]
                writer.writerow([name, best, *(f"{value:.6f}" for value in row)])
    except OSError as error:
        raise IcfError(f"can't write {path}: {error.strerror}") from error


def _print_table(found: Predictions, top: int) -> None:
    from rich.text import Text

    table = make_table()
    table.add_column("image", overflow="fold")
    for place in range(min(top, len(found.classes))):
        table.add_column("prediction" if place == 0 else f"{place + 1}", overflow="fold")
    for name, row in zip(found.names, found.probabilities, strict=True):
        best = (-row).argsort(kind="stable")[:top]
        table.add_row(Text(name), *(Text(f"{found.classes[index]} {row[index]:.3f}") for index in best))
    make_console().print(table)


def _as_json(run_dir: Path, found: Predictions) -> dict[str, Any]:
    return {
        "run_dir": str(run_dir),
        "classes": list(found.classes),
        "notes": list(found.notes),
        "skipped": [{"where": problem.where, "message": problem.message} for problem in found.skipped],
        "predictions": [
            {"image": name, "prediction": found.classes[int(row.argmax())], "probabilities": row.tolist()}
            for name, row in zip(found.names, found.probabilities, strict=True)
        ],
    }
