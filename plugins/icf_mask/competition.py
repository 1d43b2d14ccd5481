"""The data set mask/competition: 18 classes of mask, gender and age."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

import icf
from icf.tables import Report, Row, leaves_folder, read_table
from icf_mask.plugin import CompetitionParams

GENDERS = ("male", "female")
STATES = ("wear", "incorrect", "normal")
EXTENSIONS = frozenset({".jpg", ".jpeg", ".png"})

DEFAULT_ROOT = Path("data/mask")


@dataclass(frozen=True)
class Places:
    """Where the parts of the data are: ``train`` has train.csv and images/, ``test`` info.csv and images/."""

    train: Path
    test: Path
    named: bool
    """Whether the user named the place, so that its absence is an error and not a reason for the demo."""


@dataclass
class TrainRows:
    """Columns of the training images, filled person by person."""

    ids: list[str] = field(default_factory=list)
    images: list[Path] = field(default_factory=list)
    targets: list[int] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    ages: list[float] = field(default_factory=list)


def load_competition(params: CompetitionParams, ctx: icf.DatasetContext) -> icf.DatasetContent:
    """Read the competition's data, or render the demo set where it is absent.

    Image ids are "<path>/<stem>". Groups are the number of a person without a suffix, so that the photo
    sets "001498" and "001498-1", and the two of "003397", stay in one fold. Raises DataError if the data
    is not there, and BadImagesError with every mistake in the tables and every missing image.
    """
    places, notes = _choose_places(params, ctx)
    report = Report()
    train = _train_samples(places.train, params, report)
    test = None
    if places.test.is_dir():
        test = _test_samples(places.test, report)
    else:
        notes.append(f"no folder {places.test}, so there is nothing to predict and no submission")
    report.stop(f"The masked-face data in {places.train.parent} can't be used")
    return icf.DatasetContent(
        classes=class_names(params.age_bands),
        attributes=list_attributes(params.age_bands),
        class_values=np.stack(np.unravel_index(np.arange(18), (3, 2, 3)), axis=1).astype(np.int64),
        train=train,
        test=test,
        submission=_submission_of(test) if test else None,
        notes=tuple(notes),
    )


def class_names(age_bands: tuple[int, int]) -> tuple[str, ...]:
    """Return the 18 classes in the order of the labels, ``mask * 6 + gender * 3 + age``."""
    return tuple(f"{state} {gender} {age}" for state in STATES for gender in GENDERS for age in name_ages(age_bands))


def name_ages(age_bands: tuple[int, int]) -> tuple[str, str, str]:
    """Return the names of the age bands, in years."""
    middle, old = age_bands
    return (f"<{middle}", f"{middle}-{old - 1}", f">={old}")


def list_attributes(age_bands: tuple[int, int]) -> tuple[icf.Attribute, ...]:
    """Return what a class is made of."""
    return (
        icf.Attribute(name="mask", values=STATES),
        icf.Attribute(name="gender", values=GENDERS),
        icf.Attribute(name="age", values=name_ages(age_bands), ordered=True, starts=age_bands),
    )


def find_places(root: Path | None) -> Places:
    """Return where the data should be: below ``root``, else where SM_CHANNEL_* say, else in data/mask."""
    if root is not None:
        return Places(root / "train", root / "eval", named=True)
    images, test = os.environ.get("SM_CHANNEL_TRAIN"), os.environ.get("SM_CHANNEL_EVAL")
    train = Path(images).parent if images else DEFAULT_ROOT / "train"
    return Places(train, Path(test) if test else train.parent / "eval", named=bool(images))


def _choose_places(params: CompetitionParams, ctx: icf.DatasetContext) -> tuple[Places, list[str]]:
    places = find_places(params.root)
    table = places.train / "train.csv"
    if params.demo != "always" and table.is_file():
        return places, []
    if params.demo == "never" or (params.demo == "auto" and places.named):
        raise icf.DataError(
            f"There is no masked-face data: {table.absolute()} does not exist. Set root to the folder with "
            "train/ and eval/, or SM_CHANNEL_TRAIN to its train/images and SM_CHANNEL_EVAL to its eval; "
            "demo = 'always' uses invented faces instead"
        )
    from icf_mask.demo import ensure_demo

    folder = ensure_demo(params, ctx.cache_dir)
    why = "as demo = 'always' asks" if params.demo == "always" else f"because there is no {table.absolute()}"
    note = f"rendered demo data: invented faces, {why}; scores say nothing about the competition"
    return find_places(folder), [note]


def _train_samples(folder: Path, params: CompetitionParams, report: Report) -> icf.Samples:
    columns = TrainRows()
    seen: dict[str, str] = {}
    for row in _read_rows(folder / "train.csv", ("id", "gender", "age", "path"), report):
        attributes = _attributes(row, params.age_bands, report)
        if _path_is_usable(row, folder / "images", seen, report):
            _add_images(columns, row, folder / "images", params, attributes, report)
    targets = np.array(columns.targets, np.int64)
    numbers = {"age": np.array(columns.ages, np.float64)}
    return icf.Samples(ids=columns.ids, images=columns.images, targets=targets, groups=columns.groups, numbers=numbers)


def _read_rows(path: Path, columns: tuple[str, ...], report: Report) -> tuple[Row, ...]:
    table = read_table(path, report)
    table.require(*columns)
    if not table.rows:
        report.add(path, "has no rows below the header")
    return table.rows


def _attributes(row: Row, age_bands: tuple[int, int], report: Report) -> int:
    """Return ``gender * 3 + age class``; what can't be read is reported."""
    gender, age = row["gender"].lower(), row["age"]
    if not row["id"]:
        report.add(row.where, "the id is missing")
    if gender not in GENDERS:
        report.add(row.where, f"gender {row['gender']!r} must be 'male' or 'female'")
    if not re.fullmatch("[0-9]{1,3}", age):
        report.add(row.where, f"age {age!r} must be a whole number of years")
    years = int(age) if re.fullmatch("[0-9]{1,3}", age) else 0
    return 3 * (gender == "female") + sum(years >= start for start in age_bands)


def _path_is_usable(row: Row, images: Path, seen: dict[str, str], report: Report) -> bool:
    path = row["path"]
    first = seen.setdefault(path, row.where)
    if not path:
        report.add(row.where, "the path is missing")
    elif leaves_folder(path):
        report.add(row.where, f"path {path!r} leaves {images}")
    elif first != row.where:
        report.add(row.where, f"path {path!r} already stands in {first}")
    elif not (images / path).is_dir():
        report.add(row.where, f"there is no folder {images / path}")
    else:
        return True
    return False


def _add_images(
    columns: TrainRows, row: Row, images: Path, params: CompetitionParams, attributes: int, report: Report
) -> None:
    folder = images / row["path"]
    files = _images_by_stem(folder)
    for stem, state in _states(params):
        found = files.get(stem, [])
        if len(found) != 1:
            problem = f"more than one: {', '.join(path.name for path in found)}" if found else "there is none"
            report.add(row.where, f"{folder} must have one image {stem} (.jpg, .jpeg or .png), but {problem}")
            continue
        columns.ids.append(f"{row['path']}/{stem}")
        columns.images.append(found[0])
        columns.targets.append(state * 6 + attributes)
        columns.ages.append(float(row["age"]) if row["age"].isdigit() else np.nan)
        columns.groups.append(re.sub("-[0-9]+$", "", row["id"]))


def _states(params: CompetitionParams) -> Iterator[tuple[str, int]]:
    for state, stems in enumerate((params.wear_stems, params.incorrect_stems, params.normal_stems)):
        for stem in stems:
            yield stem, state


def _images_by_stem(folder: Path) -> dict[str, list[Path]]:
    """Group image files by stem, skipping hidden ones such as the ``._*`` files of macOS archives."""
    found: dict[str, list[Path]] = {}
    for name in sorted(os.listdir(folder)):
        stem, extension = os.path.splitext(name)
        if not name.startswith(".") and extension.lower() in EXTENSIONS:
            found.setdefault(stem, []).append(folder / name)
    return found


def _test_samples(folder: Path, report: Report) -> icf.Samples:
    seen: dict[str, str] = {}
    images = folder / "images"
    for row in _read_rows(folder / "info.csv", ("ImageID",), report):
        name = row["ImageID"]
        first = seen.setdefault(name, row.where)
        if not name or leaves_folder(name):
            report.add(row.where, f"ImageID {name!r} must be the name of a file in {images}")
        elif first != row.where:
            report.add(row.where, f"ImageID {name!r} already stands in {first}")
        elif not (images / name).is_file():
            report.add(row.where, f"there is no file {images / name}")
    return icf.Samples(ids=list(seen), images=[images / name for name in seen])


def _submission_of(test: icf.Samples) -> icf.SubmissionFormat:
    return icf.SubmissionFormat(
        id_column="ImageID", columns=("ans",), ids=test.ids, values=tuple(range(len(STATES) * 6))
    )
