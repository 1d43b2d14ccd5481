"""The options that all references share, and the reading of a listing."""

from __future__ import annotations

import argparse
import csv
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Photo:
    """A row of a listing."""

    path: Path
    target: int
    fold: int


def make_parser() -> argparse.ArgumentParser:
    """Return a parser of the options that a task gives."""
    parser = argparse.ArgumentParser()
    parser.add_argument("listing", type=Path)
    parser.add_argument("--size", type=int, required=True)
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--batch-size", type=int, required=True)
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--no-flips", dest="flips", action="store_false", help="train on images as they are")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, help="where weights are written")
    return parser


def read_listing(path: Path) -> tuple[list[Photo], int]:
    """Return the photos, and the number of classes."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    classes = sorted({row["label"] for row in rows})
    photos = [Photo(path.parent / row["image"], classes.index(row["label"]), int(row["fold"])) for row in rows]
    return photos, len(classes)


def list_folds(photos: list[Photo]) -> list[int]:
    """Return the folds that are validated."""
    return sorted({photo.fold for photo in photos} - {-1})
