"""Data sets: their descriptor, what their factories may know, and what they return."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from icf.components.base import BoolArray, Component, FloatArray, IntArray, PixelArray


@dataclass(frozen=True, kw_only=True)
class Samples:
    """Rows of a data set, in a fixed order that does not depend on the file system."""

    ids: Sequence[str]
    """Unique names of the rows; strings, as they stand in every table of the run folder."""

    images: Sequence[Path] | PixelArray
    """Paths of files, or pixels as uint8 [N, H, W] or [N, H, W, C]."""

    targets: IntArray | None = None
    """Class indices, int64 [N], or, where an image can have any number of labels, 0 or 1 for each, int64 [N, K]; None
    where they are unknown (test rows)."""

    groups: Sequence[str] | None = None
    """What must not be split between folds, such as a person, one name per row; None: every row stands alone."""

    folds: IntArray | None = None
    """The fold in which a row validates, int64 [N], for ``split.method = "predefined"``."""

    boxes: IntArray | None = None
    """The part of each image that is used: left, top, right, bottom in pixels of the upright image, int64 [N, 4], right
    and bottom outside of it. Images are cropped to it before anything else. Training and test rows both have them, or
    neither; None: whole images."""

    scored: BoolArray | None = None
    """Whether a row may be validated, bool [N]; rows of others are only trained on, and never in a fold that validates
    their group. None: all may."""

    numbers: Mapping[str, FloatArray] | None = None
    """What is measured of a row, such as the age in years: name of an attribute with ``starts`` -> float64 [N], NaN
    where it is unknown."""

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, kw_only=True)
class Attribute:
    """A property of images, such as the age band, of which every class has one value."""

    name: str
    """Its name, as recipes give it."""

    values: tuple[str, ...]
    """Names of its values; at least two."""

    ordered: bool = False
    """Whether the values ascend, as those of age do."""

    starts: tuple[float, ...] | None = None
    """Numbers at which the second and each later value begins, ascending; None: no number stands behind the values."""


@dataclass(frozen=True, kw_only=True)
class SubmissionFormat:
    """The file a competition asks for: its columns and rows, in order."""

    id_column: str = "id"
    """Header of the first column."""

    columns: tuple[str, ...] = ("label",)
    """Headers after it: one for the label, or one per class for probabilities or labels."""

    ids: Sequence[str] = ()
    """Ids of the rows, in the file's order; empty: those of the test rows."""

    values: tuple[str | int, ...] | None = None
    """What is written for each class, in the order of the classes; None: the columns hold probabilities. Where images
    have any number of labels: what is written for a label that is not there, and for one that is."""


@dataclass(frozen=True, kw_only=True)
class DatasetContent:
    """What a dataset factory returns."""

    classes: tuple[str, ...]
    """Names of classes or labels; a target is an index into them, or has a column for each."""

    train: Samples
    """Rows with targets."""

    test: Samples | None = None
    """Rows to predict; None if there are none."""

    submission: SubmissionFormat | None = None
    """The file to write from the test rows; None: a column ``id`` and a column ``label`` with class names."""

    attributes: tuple[Attribute, ...] = ()
    """What classes are made of, such as mask, gender and age; with ``class_values``."""

    class_values: IntArray | None = None
    """Each class's value of each attribute, int64 [K, A]: indices into ``Attribute.values``. No two rows are equal."""

    notes: tuple[str, ...] = ()
    """What is shown in every output, for example "rendered demo data"."""


@dataclass(frozen=True, kw_only=True)
class DatasetContext:
    """What a dataset factory may know."""

    seed: int = 0
    """The recipe's ``train.seed``."""

    cache_dir: Path = field(default_factory=lambda: Path.home() / ".cache" / "icf")
    """Folder for what is downloaded or rendered; ``ICF_CACHE`` moves it."""


@dataclass(frozen=True, kw_only=True)
class Dataset(Component):
    """A data set. Factory: ``(params, DatasetContext) -> DatasetContent``; raises DataError."""

    kind: ClassVar[str] = "dataset"
