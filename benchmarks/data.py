"""The images: Fashion-MNIST as PNG files, and rendered faces as JPEG files of 384x512, each with a listing.csv.

A listing has the columns image, label and fold; a fold of -1 trains in every fold and validates in none.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from benchmarks.workspace import Workspace

LISTING = "listing.csv"
FOLDS = 5
STATES = ("wear", "incorrect", "normal")
CLASSES_OF_A_STATE = 6
"""A class of mask/competition is the state of the mask times 6, plus gender times 3, plus the age band."""


def write_fashion(workspace: Workspace, rows: int, *, folds: int) -> Path:
    """Return the listing of the first ``rows`` images, each 28x28 with a border of 2, as grey PNG of 32x32.

    Every fifth row validates in fold 0; with ``folds`` = 5 the others validate in folds 1 to 4.
    """
    from PIL import Image

    from icf import DatasetContext
    from icf_torchvision.fashion_mnist import load_fashion_mnist
    from icf_torchvision.plugin import FashionMnistParams

    def write(folder: Path) -> None:
        content = load_fashion_mnist(
            FashionMnistParams(limit=rows), DatasetContext(cache_dir=workspace.folder / "cache")
        )
        pixels = np.pad(np.asarray(content.train.images), ((0, 0), (2, 2), (2, 2)))
        for row, image in enumerate(pixels):
            Image.fromarray(image).save(folder / f"{row:05d}.png")

        targets = np.asarray(content.train.targets).tolist()
        _write_listings(
            folder, [(f"{row:05d}.png", content.classes[target], row) for row, target in enumerate(targets)]
        )

    return _choose_listing(workspace.ensure(f"fashion-{rows}", write), folds)


def write_masks(workspace: Workspace, people: int, *, folds: int, most: int | None = None) -> Path:
    """Return the listing of seven photographs of each person, with the state of the mask as label; JPEG only."""
    from icf import DatasetContext
    from icf_mask.competition import load_competition
    from icf_mask.plugin import CompetitionParams

    def write(folder: Path) -> None:
        params = CompetitionParams(demo="always", demo_people=people, demo_test_people=6)
        train = load_competition(params, DatasetContext(cache_dir=workspace.folder / "cache")).train
        persons = {name: number for number, name in enumerate(sorted(set(train.groups or ())))}
        rows = []
        for image, target, person in zip(train.images, np.asarray(train.targets), train.groups or (), strict=True):
            path = Path(str(image))
            if path.suffix.lower() in (".jpg", ".jpeg"):
                name = f"{person}-{path.stem}.jpg"
                (folder / name).write_bytes(path.read_bytes())
                rows.append((name, STATES[int(target) // CLASSES_OF_A_STATE], persons[person]))
        _write_listings(folder, rows[:most])

    return _choose_listing(workspace.ensure(f"masks-{people}-{most or 'all'}", write), folds)


def _write_listings(folder: Path, rows: Iterable[tuple[str, str, int]]) -> None:
    """Write a listing for five folds and one for a single one; units of equal number stay together."""
    rows = list(rows)
    for folds in (1, FOLDS):
        with _choose_listing(folder, folds).open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(("image", "label", "fold"))
            for name, label, unit in rows:
                fold = unit % FOLDS
                writer.writerow((name, label, fold if fold < folds else -1))


def _choose_listing(folder: Path, folds: int) -> Path:
    return folder / f"{folds}-{LISTING}"
