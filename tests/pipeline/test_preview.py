from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from icf.cli.main import main
from icf.pipeline.data.preprocess import Preprocessing, Preprocessor
from icf.pipeline.preview import BOX_COLOUR, Preview, choose_rows, make_preview
from icf.pipeline.results.contact_sheet import Column, draw_sheet
from icf.plan import load_plan
from runs import MAIN
from samples import draw_photo

RECIPE = """
model = "nn/sequential-cnn"
[dataset]
use = "images/csv"
root = "."
[transforms]
image_size = [16, 12]
resize = "crop"
"""
VARIED = (
    'transforms.train=["augment/horizontal-flip", "augment/brightness-contrast"]',
    'transforms.mix=[{use="augment/cutmix", probability=1.0, direction="vertical", share=0.5}]',
)


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ICF_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    rows = ["image,label,x,y,w,h"]
    for number in range(9):
        Image.fromarray(draw_photo(24, 40, number)).save(f"{number}.png")
        rows.append(f"{number}.png,{'abc'[number % 3]},4,2,30,20")
    Path("train.csv").write_text("\n".join(rows) + "\n")
    Path("small.toml").write_text(RECIPE)
    return Path("small.toml")


def preview(recipe: Path, *overrides: str, rows: int = 6, draws: int = 2, seed: int = 0) -> Preview:
    return make_preview(load_plan(recipe, overrides), rows, draws, seed)


def test_what_is_prepared_is_what_training_gets(recipe: Path) -> None:
    found = preview(recipe)
    assert [column.title for column in found.columns] == ["raw", "prepared"]
    prepare = Preprocessor(Preprocessing(image_size=(16, 12), channels=3, resize="crop"))
    for name, raw, prepared in zip(found.ids, found.columns[0].pictures, found.columns[1].pictures, strict=True):
        pixels = np.asarray(Image.open(name))
        np.testing.assert_array_equal(raw, pixels)
        np.testing.assert_array_equal(prepared, prepare(pixels))


def test_views_are_those_of_predictions(recipe: Path) -> None:
    found = preview(recipe, 'inference.tta=["vertical-flip", {use="augment/crop", place="top-left", share=0.5}]')
    assert [column.title for column in found.columns[2:]] == ["view vertical-flip", "view 2: augment/crop"]
    flipped, cropped = found.columns[2:]
    for row, prepared in enumerate(found.columns[1].pictures):
        np.testing.assert_array_equal(flipped.pictures[row], prepared[::-1])
        enlarged = Image.fromarray(prepared[:8, :6]).resize((12, 16), Image.Resampling.BILINEAR)
        assert np.abs(cropped.pictures[row].astype(int) - np.asarray(enlarged)).max() <= 1


def test_a_mixed_picture_is_what_its_caption_says(recipe: Path) -> None:
    found = preview(recipe, *VARIED)
    titles = [column.title for column in found.columns[2:]]
    assert titles == ["augmented 1", "augmented 2", "mixed 1", "mixed 2"]
    augmented, mixed = found.columns[2], found.columns[4]
    assert any((one != other).any() for one, other in zip(augmented.pictures, found.columns[3].pictures, strict=True))
    for row, caption in enumerate(mixed.captions):
        share, _, partner = caption.removeprefix("+ ").partition(" of ")
        assert share == "50%"
        halves = [np.s_[:, :6], np.s_[:, 6:]]
        own = [bool((mixed.pictures[row][half] == augmented.pictures[row][half]).all()) for half in halves]
        assert sorted(own) == [False, True]
        strange = halves[own.index(False)]
        np.testing.assert_array_equal(mixed.pictures[row][strange], augmented.pictures[int(partner) - 1][strange])


def test_the_seed_decides(recipe: Path) -> None:
    first, again, other = (preview(recipe, *VARIED, rows=4, seed=seed) for seed in (3, 3, 4))
    assert first.ids == again.ids != other.ids
    for one, two in zip(first.columns, again.columns, strict=True):
        assert all((left == right).all() for left, right in zip(one.pictures, two.pictures, strict=True))


@settings(max_examples=60, deadline=None)
@given(labels=st.lists(st.integers(0, 3), min_size=1, max_size=30), seed=st.integers(0, 99))
def test_classes_take_turns(labels: list[int], seed: int) -> None:
    order = choose_rows(np.array(labels), seed)
    assert sorted(order.tolist()) == list(range(len(labels)))
    found = [labels[row] for row in order]
    turns = [found[:place].count(label) for place, label in enumerate(found)]
    assert turns == sorted(turns)


def test_an_image_that_cannot_be_read_is_passed_over_and_the_others_are_not_opened(recipe: Path) -> None:
    names = preview(recipe, rows=2).ids
    Path(names[0]).write_bytes(b"broken")
    assert names[0] not in preview(recipe, rows=2).ids
    for path in Path().glob("*.png"):
        path.write_bytes(b"broken")
    assert main(["preview", str(recipe)]) == 1


def test_the_box_is_drawn_on_the_raw_image(recipe: Path) -> None:
    found = preview(recipe, 'dataset.box_columns=["x","y","w","h"]', 'dataset.box_form="size"')
    raw = found.columns[0].pictures[0]
    edge = (raw == BOX_COLOUR).all(axis=2)
    rows, columns = np.flatnonzero(edge.any(axis=1)), np.flatnonzero(edge.any(axis=0))
    assert (rows[0], rows[-1], columns[0], columns[-1]) == (2, 21, 4, 33)
    cut = np.asarray(Image.open(found.ids[0]))[2:22, 4:34]
    prepare = Preprocessor(Preprocessing(image_size=(16, 12), channels=3, resize="crop"))
    np.testing.assert_array_equal(found.columns[1].pictures[0], prepare(cut))


def test_larger_inputs_of_a_random_crop_are_shown(recipe: Path) -> None:
    crop = 'transforms.train=[{use="torchvision/transform", op="RandomResizedCrop", args={size=[16, 12]}}]'
    assert {picture.shape for picture in preview(recipe, crop).columns[2].pictures} == {(16, 12, 3)}


# -- the sheet --------------------------------------------------------------------------------------


def test_pictures_of_the_sheet_are_enlarged_without_blur() -> None:
    checks = (np.indices((8, 8)).sum(axis=0) % 2 * 255).astype(np.uint8)[:, :, None]
    sheet = np.asarray(draw_sheet("title", [("1: cat", "id")], [Column("raw", [checks])], (8, 8)))
    sides = [np.flatnonzero((sheet[..., 0] == 0).sum(axis=axis) >= 24) for axis in (1, 0)]
    top, left = int(sides[0][0]), int(sides[1][0])
    part = sheet[top : top + 192, left : left + 192, 0]
    np.testing.assert_array_equal(part, checks[:, :, 0].repeat(24, axis=0).repeat(24, axis=1))


def test_a_large_picture_keeps_its_shape_and_long_words_are_cut() -> None:
    wide = np.zeros((100, 400, 3), np.uint8)
    sheet = np.asarray(draw_sheet("", [("x" * 900, "id")], [Column("raw", [wide], ["below"])], (448, 448)))
    dark = (sheet[30:, 178:] == 0).all(axis=2)
    assert (int(dark.sum(axis=0).max()), int(dark.sum(axis=1).max())) == (56, 224)
    assert (sheet[30:, 170:178] == 255).all()


# -- the command ------------------------------------------------------------------------------------


def test_the_command_writes_a_picture_and_nothing_else(recipe: Path) -> None:
    before = {path for path in Path().rglob("*") if path.is_file()}
    settings = [part for text in VARIED for part in ("--set", text)]
    command = [sys.executable, "-c", MAIN, "preview", str(recipe), "--rows", "3", "--draws", "1", *settings]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout == "3 images in preview-small.png\n"
    assert {path for path in Path().rglob("*") if path.is_file()} - before == {Path("preview-small.png")}
    with Image.open("preview-small.png") as image:
        assert image.format == "PNG"
        assert len(set(image.convert("RGB").getdata())) > 100


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--out", "p.jpg"], 2, "name it so, such as p.png"),
        (["--out", "small.toml/p.png"], 1, "can't write small.toml/p.png"),
        (["--rows", "0"], 2, "--rows"),
    ],
)
def test_mistakes_are_told(
    recipe: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, message: str
) -> None:
    assert main(["preview", str(recipe), *arguments]) == code
    assert message in capsys.readouterr().err


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from icf.cli.main import main; main(['preview', '--help']);"
        "print(sorted({'torch', 'PIL', 'numpy', 'albumentations', 'cv2', 'ray'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
