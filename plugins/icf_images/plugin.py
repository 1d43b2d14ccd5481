"""Your own image files: data sets of a folder per class or of a CSV file, and what is done to every image alike."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

import icf
from icf.boxes import BoxForm

Column = Annotated[str, Field(min_length=1)]
Side = Annotated[int, Field(ge=1, le=65535)]
Tiles = Annotated[int, Field(ge=1, le=64)]

IMAGE_EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif")


def _lower_extensions(extensions: tuple[str, ...]) -> tuple[str, ...]:
    return tuple("." + extension.lower().lstrip(".") for extension in extensions)


class FolderParams(icf.Params):
    """Where the class folders are and what counts as an image."""

    root: Path = Field(description="folder of the data set")
    train: str = Field(
        "train",
        min_length=1,
        description="folder below root with one folder per class; root itself where there is no 'train'",
    )
    test: str | None = Field(
        None, min_length=1, description="folder below root with unlabelled images to predict; none without it"
    )
    extensions: tuple[str, ...] = Field(
        IMAGE_EXTENSIONS, min_length=1, description="endings of image files, in any case"
    )
    group_pattern: str | None = Field(
        None,
        description="regular expression, searched in each file name; its first (group) names what must "
        "stay in one fold, for example '^([0-9]+)_' for a person's number",
    )

    _lower = field_validator("extensions")(_lower_extensions)

    @field_validator("group_pattern")
    @classmethod
    def _has_a_group(cls, pattern: str | None) -> str | None:
        if pattern is None:
            return None
        try:
            groups = re.compile(pattern).groups
        except re.error as error:
            raise ValueError(f"is no regular expression: {error}") from None
        if not groups:
            raise ValueError("needs one (group) in parentheses, which is taken as the group's name")
        return pattern


class AttributeColumn(icf.Params):
    """A column that a class is made of: its name, or a table."""

    column: str = Field(min_length=1, description="name of the column, and of the attribute")
    values: tuple[str, ...] | None = Field(
        None, min_length=2, description="its values in their order; the sorted cells when not given"
    )
    ordered: bool = Field(False, description="whether the values ascend, as those of size do")
    starts: tuple[float, ...] | None = Field(
        None,
        min_length=1,
        description="where the column holds numbers, such as ages: where the second and each later value begins",
    )

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: object) -> object:
        return {"column": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _fits(self) -> AttributeColumn:
        if self.starts and self.values:
            raise ValueError("starts make the values; leave out one of them")
        if self.starts and list(self.starts) != sorted(set(self.starts)):
            raise ValueError("starts must ascend")
        if self.values and len(set(self.values)) != len(self.values):
            raise ValueError("names a value twice")
        return self


class CsvParams(icf.Params):
    """Which CSV files to read, what their columns mean, and where their images are."""

    root: Path = Field(description="folder of the data set; every other path is below it")
    csv: str = Field("train.csv", min_length=1, description="file with one row per labelled image")
    image_column: str = Field("image", min_length=1, description="column with the image's path")
    label_column: str = Field("label", min_length=1, description="column with the class")
    label_columns: tuple[str, ...] | None = Field(
        None,
        min_length=2,
        description="in place of label_column, columns of 0 and 1, one for each label: an image can have any number",
    )
    label_separator: str | None = Field(
        None,
        min_length=1,
        description="what stands between the labels in label_column, such as ' ' or ';': an image can have any number",
    )
    attribute_columns: tuple[AttributeColumn, ...] = Field(
        (),
        description="columns that a class is made of, such as mask, gender and age, for targets.heads: each a name, or "
        "a table of 'column' and 'values', 'ordered' or 'starts'. Without a label_column in the table, each combination"
        " that occurs is a class",
    )
    id_column: str | None = Field(
        None, min_length=1, description="column with the row's name; the image column when not given"
    )
    group_column: str | None = Field(
        None, min_length=1, description="column with what must stay in one fold, for example a person"
    )
    fold_column: str | None = Field(
        None, min_length=1, description="column with the fold of a row, a whole number from 0"
    )
    image_folder: str = Field("", description="folder that the paths in the CSV file start from")
    image_extension: str = Field("", description="ending that the paths in the CSV file lack, for example '.jpg'")
    test_csv: str | None = Field(
        None, min_length=1, description="file with one row per image to predict; no label column is needed"
    )
    test_folder: str | None = Field(
        None,
        min_length=1,
        description="folder that the paths in test_csv start from (image_folder when not given); without a "
        "test_csv, all images in it are predicted",
    )
    external_csv: str | None = Field(
        None,
        min_length=1,
        description="file with further labelled rows and the same columns, but for fold_column: they are trained on"
        " and never validated or scored",
    )
    sample_submission: str | None = Field(
        None, min_length=1, description="file that shows the columns and rows of a submission"
    )
    write_labels: bool = Field(
        False, description="where an image can have any number of labels: submit 0 or 1 for each, not probabilities"
    )
    box_columns: tuple[Column, Column, Column, Column] | None = Field(
        None,
        description="columns with the part of the image that is used, in pixels, in the table and in test_csv; whole "
        "images when not given. What reaches over the edge is left off",
    )
    box_form: BoxForm = Field(
        "corners",
        description="what box_columns hold: 'corners' left, top, right, bottom; 'size' left, top, width, height",
    )
    classes: tuple[str, ...] | None = Field(
        None, min_length=2, description="class names in their order; the sorted labels when not given"
    )
    duplicates: Literal["error", "drop", "first"] = Field(
        "error",
        description="what to do with an id in several rows: 'error'; 'drop' leaves out all rows of an id "
        "that contradict each other, and repeats of a row; 'first' keeps the first row. Both are noted",
    )
    extensions: tuple[str, ...] = Field(
        IMAGE_EXTENSIONS, min_length=1, description="endings of image files in test_folder, in any case"
    )

    _lower = field_validator("extensions")(_lower_extensions)

    @field_validator("classes")
    @classmethod
    def _distinct(cls, classes: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if classes is not None and len(set(classes)) != len(classes):
            raise ValueError("names a class twice")
        return classes

    @model_validator(mode="after")
    def _sample_has_images(self) -> CsvParams:
        if self.label_columns and (self.label_separator or self.classes):
            raise ValueError("label_columns name the labels; leave out label_separator and classes")
        columns = [item.column for item in self.attribute_columns]
        if columns and (self.label_columns or self.label_separator):
            raise ValueError("attribute_columns are of one class each; leave out label_columns and label_separator")
        if len(set(columns)) != len(columns):
            raise ValueError("attribute_columns names a column twice")
        if self.sample_submission and not (self.test_csv or self.test_folder):
            raise ValueError("sample_submission needs test_csv or test_folder, which say where its images are")
        if self.box_columns and self.test_folder and not self.test_csv:
            raise ValueError("box_columns needs test_csv, which says where the boxes of test images are")
        return self


class CentreCropParams(icf.Params):
    """How much of the middle of an image is kept."""

    size: tuple[Side, Side] | None = Field(
        None, description="height and width in pixels; a side that is shorter stays as it is"
    )
    share: float | None = Field(None, gt=0.0, le=1.0, description="part of each side, instead of size")

    @model_validator(mode="after")
    def _has_one(self) -> CentreCropParams:
        if (self.size is None) == (self.share is None):
            raise ValueError("needs size or share, and not both")
        return self


class ClaheParams(icf.Params):
    """How local contrast is equalised."""

    clip_limit: float = Field(
        2.0, gt=0.0, le=100.0, description="greatest contrast, as a multiple of that of an even histogram"
    )
    tiles: tuple[Tiles, Tiles] = Field((8, 8), description="rows and columns of tiles that are equalised")


class GreyWorldParams(icf.Params):
    """There is nothing to choose."""


class BrightnessContrastParams(icf.Params):
    """Which brightness and contrast every image gets."""

    brightness: float = Field(128.0, ge=0.0, le=255.0, description="mean of all values of an image, 0 to 255")
    contrast: float = Field(64.0, gt=0.0, le=255.0, description="standard deviation of all values of an image")


@icf.hookimpl
def icf_transforms() -> Iterator[icf.Transform]:
    """Yield what is done to every image alike, in transforms.shared."""
    yield icf.Transform(
        name="centre-crop",
        factory="icf_images.geometry:build_centre_crop",
        params=CentreCropParams,
        summary="Keeps the middle of an image",
        source="torchvision.transforms.v2.CenterCrop",
        reference="torchvision.transforms.v2.functional.center_crop",
        examples=({"size": [30, 24]}, {"share": 0.8}),
    )
    yield icf.Transform(
        name="clahe",
        factory="icf_images.light:build_clahe",
        params=ClaheParams,
        summary="Equalises the contrast of each part of an image (CLAHE, Zuiderveld 1994)",
        source="Zuiderveld 1994, Graphics Gems IV",
        reference="albumentations.CLAHE and cv2.createCLAHE",
    )
    yield icf.Transform(
        name="grey-world",
        factory="icf_images.light:build_grey_world",
        params=GreyWorldParams,
        summary="Takes out the tint of the light: all channels get one mean (grey world, Buchsbaum 1980)",
        source="Buchsbaum 1980, J. Franklin Institute 310",
        reference="the formula in numpy",
    )
    yield icf.Transform(
        name="brightness-contrast",
        factory="icf_images.light:build_brightness_contrast",
        params=BrightnessContrastParams,
        summary="Gives every image the same mean and standard deviation",
        source="Reinhard et al. 2001, Color transfer between images",
        reference="the formula in numpy",
    )


@icf.hookimpl
def icf_datasets() -> Iterator[icf.Dataset]:
    """Yield the data sets that read a user's own files."""
    yield icf.Dataset(
        name="folder",
        factory="icf_images.folder:load_folder",
        params=FolderParams,
        summary="A folder of images per class",
        source="the layout of torchvision.datasets.ImageFolder",
        reference="torchvision.datasets.ImageFolder",
    )
    yield icf.Dataset(
        name="csv",
        factory="icf_images.listed:load_csv",
        params=CsvParams,
        summary="Images and labels listed in a CSV file, as in most competitions",
        source="Shafranovich 2005, RFC 4180",
        reference="csv.DictReader",
    )
