"""The data set images/folder: a folder of images per class."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import icf
from icf.tables import Report, leaves_folder
from icf_images.plugin import FolderParams
from icf_images.walk import list_images


def load_folder(params: FolderParams, ctx: icf.DatasetContext) -> icf.DatasetContent:  # noqa: ARG001
    """List the class folders. Ids are paths relative to ``root``; classes are sorted folder names.

    Raises DataError if a folder is missing, and BadImagesError with every empty class and every file
    name that ``group_pattern`` does not match.
    """
    report = Report()
    base = _class_root(params)
    folders = _class_folders(params, base)
    notes = _unused(params, base)
    images: list[Path] = []
    targets: list[int] = []
    for target, folder in enumerate(folders):
        listing = list_images(folder, params.extensions, report)
        if not listing.images:
            report.add(folder, "has no image; remove the folder or add images of this class")
        notes += _note_others(folder, listing.others)
        images += listing.images
        targets += [target] * len(listing.images)
    groups = _groups(params.group_pattern, images, report) if params.group_pattern else None
    test = _test_images(params, report, notes)
    report.stop(f"The images in {params.root} can't be used")
    classes = tuple(folder.name for folder in folders)
    train = icf.Samples(
        ids=_ids(params.root, images), images=images, targets=np.array(targets, np.int64), groups=groups
    )
    if test is None:
        return icf.DatasetContent(classes=classes, train=train, notes=tuple(notes))
    submission = icf.SubmissionFormat(ids=test.ids, values=classes)
    return icf.DatasetContent(classes=classes, train=train, test=test, submission=submission, notes=tuple(notes))


def _ids(root: Path, images: Sequence[Path]) -> list[str]:
    return [image.relative_to(root).as_posix() for image in images]


def _below(root: Path, name: str) -> Path:
    if leaves_folder(name):
        raise icf.DataError(f"{name!r} leaves the data set's folder {root}; name a folder below it")
    return root / name


def _class_root(params: FolderParams) -> Path:
    if not params.root.is_dir():
        raise icf.DataError(f"There is no folder {params.root} (root, from {Path.cwd()})")
    base = _below(params.root, params.train)
    if base.is_dir():
        return base
    if params.train == "train":
        return params.root
    raise icf.DataError(f"There is no folder {base}; 'train' must name a folder below root")


def _class_folders(params: FolderParams, base: Path) -> list[Path]:
    test = _below(params.root, params.test) if params.test else None
    folders = [path for path in base.iterdir() if path.is_dir() and not path.name.startswith(".") and path != test]
    if len(folders) < 2:
        found = ", ".join(sorted(path.name for path in folders)) or "none"
        raise icf.DataError(f"{base} must have at least two folders, one per class; found: {found}")
    return sorted(folders, key=lambda path: path.name)


def _unused(params: FolderParams, base: Path) -> list[str]:
    """Name what lies beside the class folders, because a user may think that it is used."""
    loose = sum(
        path.is_file() and path.suffix.lower() in params.extensions and not path.name.startswith(".")
        for path in base.iterdir()
    )
    notes = [f"not used: {loose} images directly in {base}, in no class folder"] if loose else []
    if base != params.root:
        used = {_below(params.root, name) for name in (params.train, params.test) if name}
        others = sorted(
            path.name
            for path in params.root.iterdir()
            if path.is_dir() and not path.name.startswith(".") and path not in used
        )
        notes += [f"not used: folder {name} of {params.root}" for name in others]
    return notes


def _note_others(folder: Path, others: int) -> list[str]:
    return [f"not used: {others} files in {folder} with another ending"] if others else []


def _groups(pattern: str, images: Sequence[Path], report: Report) -> list[str]:
    compiled = re.compile(pattern)
    groups = []
    for image in images:
        match = compiled.search(image.name)
        group = match.group(1) if match else None
        if not group:
            report.add(image, f"group_pattern {pattern!r} finds no group in the file name")
        groups.append(group or "")
    return groups


def _test_images(params: FolderParams, report: Report, notes: list[str]) -> icf.Samples | None:
    if params.test is None:
        return None
    folder = _below(params.root, params.test)
    if not folder.is_dir():
        raise icf.DataError(f"There is no folder {folder}; 'test' must name a folder below root")
    listing = list_images(folder, params.extensions, report)
    if not listing.images:
        report.add(folder, "has no image to predict")
    notes += _note_others(folder, listing.others)
    return icf.Samples(ids=_ids(params.root, listing.images), images=listing.images)
