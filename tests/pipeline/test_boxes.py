"""Images that are cropped to boxes: in the cache, in a run, and in what a run predicts."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import icf
from icf.cli.main import main
from icf.errors import DataError
from icf.pipeline.data.content import check_content
from icf.pipeline.pixels.cache import PixelCache, fill_cache
from icf.sections import Cache
from runs import find_run
from samples import draw_photo, make_preprocessing

BOXES = np.array([[3, 2, 19, 18], [0, 0, 16, 16]])


def fill(folder: Path, images: Any, boxes: Any, **section: Any) -> PixelCache:
    spec = make_preprocessing()
    return fill_cache(images, spec, folder / "cache", lambda done, total: None, Cache(**section), boxes)


def read(cache: PixelCache) -> np.ndarray:
    return cache.source.gather(np.arange(len(cache.digests))).numpy()


@pytest.mark.parametrize("suffix", ["png", "jpg"])
@pytest.mark.parametrize("mode", ["auto", "off"])
def test_the_box_of_a_file_is_its_crop_by_pillow(tmp_path: Path, suffix: str, mode: str) -> None:
    path = tmp_path / f"photo.{suffix}"
    Image.fromarray(draw_photo(120, 200)).save(path)
    found = read(fill(tmp_path, [path, path], BOXES, mode=mode))
    with Image.open(path) as image:
        expected = [np.asarray(image.crop(tuple(box))) for box in BOXES.tolist()]
    np.testing.assert_allclose(found, expected, atol=0 if suffix == "png" else 1)


def test_the_box_of_an_array_is_its_part(tmp_path: Path) -> None:
    photos = np.stack([draw_photo(seed=1), draw_photo(seed=2)])
    found = read(fill(tmp_path, photos, BOXES))
    np.testing.assert_array_equal(found, [photos[0, 2:18, 3:19], photos[1, :16, :16]])


def test_a_small_box_is_resized_from_the_full_size(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    Image.fromarray(draw_photo(400, 640)).save(path, quality=95)
    found = read(fill(tmp_path, [path], np.array([[100, 50, 420, 370]])))[0]
    with Image.open(path) as image:
        expected = image.crop((100, 50, 420, 370)).resize((16, 16), Image.Resampling.BILINEAR)
    np.testing.assert_allclose(found, np.asarray(expected), atol=2)


def test_what_reaches_over_the_edge_is_left_off_and_what_lies_outside_is_told(tmp_path: Path) -> None:
    photos = np.stack([draw_photo(24, 40)] * 2)
    cache = fill(tmp_path, photos, np.array([[-9, -2, 16, 16], [40, 0, 50, 9]]))
    np.testing.assert_array_equal(read(cache)[0], photos[0, :16, :16])
    assert cache.errors == {1: "its box from 40, 0 to 50, 9 lies outside of the image of 40 x 24 pixels"}


def test_other_boxes_are_another_cache(tmp_path: Path) -> None:
    photos = np.stack([draw_photo(seed=1), draw_photo(seed=2)])
    keys = [fill(tmp_path, photos, boxes).key for boxes in (None, BOXES, BOXES + 1, BOXES)]
    assert keys[1] == keys[3]
    assert len(set(keys)) == 3


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        (None, BOXES, "only one of training and test rows has boxes"),
        (BOXES, None, "only one of training and test rows has boxes"),
        (BOXES[:1], BOXES, r"training rows: boxes must be whole numbers \[2, 4\], not int64 \[1, 4\]"),
        (BOXES * 0.5, BOXES, "not float64"),
        (BOXES, BOXES[:, [2, 1, 0, 3]], "test rows: 2 boxes are empty, for example that of 'a'"),
    ],
)
def test_boxes_that_contradict_the_rows_are_told(train: Any, test: Any, message: str) -> None:
    photos = np.zeros((2, 24, 40), np.uint8)
    rows = icf.Samples(ids=["a", "b"], images=photos, targets=np.array([0, 1]), boxes=train)
    others = icf.Samples(ids=["a", "b"], images=photos, boxes=test)
    with pytest.raises(DataError, match=message):
        check_content(icf.DatasetContent(classes=("x", "y"), train=rows, test=others))


# -- a run ------------------------------------------------------------------------------------------


def write_table(path: Path, header: list[str], rows: Iterable[tuple[object, ...]]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])


def draw_pair(path: Path, seed: int) -> None:
    """Write a picture whose left half is dark and whose right half is bright."""
    noise = np.random.default_rng(seed).integers(0, 60, (16, 32, 3))
    noise[:, 16:] += 150
    Image.fromarray(noise.astype(np.uint8)).save(path)


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every picture is two rows, told apart by their boxes alone."""
    monkeypatch.setenv("ICF_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    rows = []
    for number in range(12):
        draw_pair(tmp_path / f"{number}.png", number)
        rows += [
            (f"{number}l", f"{number}.png", "dark", number, 0, 0, 16, 16),
            (f"{number}r", f"{number}.png", "bright", number, 16, 0, 16, 16),
        ]
    header = ["id", "image", "label", "group", "x", "y", "w", "h"]
    write_table(tmp_path / "train.csv", header, rows)
    write_table(tmp_path / "test.csv", ["id", "image", "x", "y", "w", "h"], [(*row[:2], *row[4:]) for row in rows[:4]])
    path = tmp_path / "pairs.toml"
    path.write_text("""
[dataset]
use = "images/csv"
root = "."
id_column = "id"
group_column = "group"
test_csv = "test.csv"
box_columns = ["x", "y", "w", "h"]
box_form = "size"

[split]
folds = 2

[transforms]
image_size = 8

[model]
use = "nn/sequential-cnn"

[optimizer]
lr = 0.05

[train]
epochs = 4
batch_size = 8
""")
    return path


def test_a_run_uses_boxes_in_training_test_and_prediction(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(recipe), "--quiet", "--runs", "runs"]) == 0
    folder = find_run(Path("runs"))
    assert json.loads((folder / "metrics.json").read_text())["oof"]["metric/accuracy"]["value"] == 1.0
    with (folder / "submission.csv").open() as file:
        answers = [row["label"] for row in csv.DictReader(file)]
    assert answers == ["dark", "bright", "dark", "bright"]
    assert main(["predict", str(folder), "0.png"]) == 2
    assert "cropped to boxes" in capsys.readouterr().err
    boxes = [("0.png", 16, 0, 32, 16), ("1.png", 0, 0, 16, 16)]
    write_table(Path("boxes.csv"), ["image", "left", "top", "right", "bottom"], boxes)
    assert predict(folder, capsys, "0.png", "1.png", "--boxes", "boxes.csv") == ["bright", "dark"]
    Image.open("3.png").crop((0, 0, 16, 16)).save("cut.png")
    assert predict(folder, capsys, "cut.png", "--boxes", "whole") == ["dark"]
    assert main(["predict", str(folder), "0.png", "2.png", "--boxes", "boxes.csv"]) == 1
    assert "2.png: has no box in boxes.csv" in capsys.readouterr().err


def predict(folder: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    capsys.readouterr()
    assert main(["predict", str(folder), "--json", *arguments]) == 0
    return [found["prediction"] for found in json.loads(capsys.readouterr().out)["predictions"]]


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (("3l", "3.png", "dark", 3, "x", 0, 16, 16), "row 26: 'x' in column 'x' is no number of pixels"),
        (("3m", "3.png", "dark", 3, 4, 0, 0, 16), "row 26: the box from 4, 0 to 4, 16 is empty"),
        (("3m", "3.png", "dark", 3, 99, 0, 9, 16), "lies outside of the image of 32 x 16 pixels"),
    ],
)
def test_boxes_that_make_no_sense_are_told(
    recipe: Path, capsys: pytest.CaptureFixture[str], cells: tuple[object, ...], message: str
) -> None:
    with Path("train.csv").open("a", newline="") as file:
        csv.writer(file).writerow(("new", *cells[1:]))
    assert main(["check", str(recipe)]) == 1
    assert message in capsys.readouterr().err
