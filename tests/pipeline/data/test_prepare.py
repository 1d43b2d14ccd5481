from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from icf.components import DatasetContent, Samples
from icf.errors import BadImagesError, DataError, PluginError
from icf.pipeline.data.content import check_content
from icf.pipeline.data.prepare import Prepared, describe_facts, prepare, save_prepared
from icf.pipeline.data.preprocess import Preprocessing
from icf.pipeline.files import read_json, read_table
from icf.pipeline.folder import RunFolder
from icf.plan import Plan, load_plan
from icf.recipe import to_toml
from samples import draw_photo, save_photo

pytestmark = pytest.mark.usefixtures("cache_of_test")


@pytest.fixture
def root(tmp_path) -> Path:
    """A folder with six training images of two classes and two test images."""
    for name, seeds in {"train/cat": (1, 2, 3), "train/dog": (4, 5, 6), "test": (7, 8)}.items():
        for seed in seeds:
            save_photo(tmp_path / "data" / name / f"{seed}.png", seed)
    return tmp_path / "data"


def make(root: Path, *overrides: str, use: str = "images/folder", **dataset: object) -> Plan:
    recipe = {
        "dataset": {"use": use, "root": str(root), **dataset},
        "model": {"use": "nn/sequential-cnn"},
        "transforms": {"image_size": [12, 10]},
    }
    path = root.parent / "recipe.toml"
    path.write_text(to_toml(recipe))
    return load_plan(path, overrides)


def prepare_folder(root: Path, *overrides: str, **dataset: object) -> Prepared:
    return prepare(make(root, *overrides, **{"test": "test"} | dataset), lambda what, done, total: None)


SKIP = 'dataset.on_bad_image="skip"'


def test_rows_targets_and_pixels_belong_together(root):
    data = prepare_folder(root)
    assert data.classes == ("cat", "dog")
    assert data.train.ids == tuple(
        f"train/{name}" for name in ("cat/1.png", "cat/2.png", "cat/3.png", "dog/4.png", "dog/5.png", "dog/6.png")
    )
    assert data.train.targets.tolist() == [0, 0, 0, 1, 1, 1]
    for row in (0, 4):
        photo = Image.open(data.train.sources[row]).resize((10, 12), Image.Resampling.BILINEAR)
        pixels = data.train.cache.source.gather(data.train.pixel_rows[[row]])[0]
        np.testing.assert_array_equal(pixels, np.asarray(photo))
    assert data.test.ids == ("test/7.png", "test/8.png")
    assert data.test.targets.tolist() == [-1, -1]
    assert (data.warnings, data.skipped) == ((), ())


def test_statistics_are_those_of_the_training_pixels(root):
    data = prepare_folder(root)
    pixels = data.train.cache.source.gather(data.train.pixel_rows).numpy() / 255
    np.testing.assert_allclose(data.preprocessing.mean, pixels.mean(axis=(0, 1, 2)), atol=1e-4)
    np.testing.assert_allclose(data.preprocessing.std, pixels.std(axis=(0, 1, 2)), atol=1e-4)


def test_the_recipe_s_statistics_are_kept(root):
    spec = prepare_folder(root, "transforms.mean=[0.1, 0.2, 0.3]").preprocessing
    assert spec.mean == (0.1, 0.2, 0.3)
    assert spec.std is not None


def test_a_bad_image_stops_and_every_one_is_named(root):
    (root / "train/cat/2.png").write_bytes(b"no image")
    (root / "test/8.png").write_bytes(b"")
    with pytest.raises(BadImagesError) as caught:
        prepare_folder(root)
    text = str(caught.value)
    assert "2 problems" in text
    assert "train/cat/2.png: not an image" in text
    assert "test/8.png: the file is empty" in text
    assert 'dataset.on_bad_image = "skip"' in text


def test_skipped_images_are_counted_and_named(root):
    clean = prepare_folder(root)
    shutil.copy(root / "train/cat/2.png", root / "train/cat/0.png")
    (root / "train/cat/0.png").write_bytes(b"no image")
    data = prepare_folder(root, SKIP)
    assert data.train.ids == clean.train.ids
    assert data.train.pixel_rows.tolist() == [1, 2, 3, 4, 5, 6]
    assert data.train.digests.tolist() == clean.train.digests.tolist()
    assert [problem.where for problem in data.skipped] == [str(root / "train/cat/0.png")]
    assert describe_facts(data)["skipped images"] == 1


def test_skipped_images_do_not_darken_the_statistics(root):
    clean = prepare_folder(root).preprocessing
    (root / "train/cat/0.png").write_bytes(b"no image")
    assert prepare_folder(root, SKIP).preprocessing == clean


def test_an_unreadable_test_image_keeps_its_row(root):
    (root / "test/7.png").write_bytes(b"no image")
    data = prepare_folder(root, SKIP)
    assert data.test.ids == ("test/7.png", "test/8.png")
    assert data.test.pixel_rows.tolist() == [-1, 1]
    assert data.test.digests[0] == b""
    assert len(data.skipped) == 1


def test_one_class_left_is_an_error_that_names_it(root):
    for path in (root / "train/dog").iterdir():
        path.write_bytes(b"no image")
    with pytest.raises(DataError, match="at least two classes with usable images; here is only: cat"):
        prepare_folder(root, SKIP)


def test_no_readable_image_is_an_error(root):
    for path in (root / "train").glob("*/*"):
        path.write_bytes(b"no image")
    with pytest.raises(DataError, match="here is only: none"):
        prepare_folder(root, SKIP)


def test_identical_images_with_different_labels_are_a_warning(root):
    shutil.copy(root / "train/cat/1.png", root / "train/dog/9.png")
    (warning,) = prepare_folder(root).warnings
    assert warning == "1 images occur more than once with different labels, for example 'train/cat/1.png'"
    for name in ("cat/0.png", "dog/7.png", "dog/8.png"):
        save_photo(root / "train" / name, seed=9)
    (warning,) = prepare_folder(root).warnings
    assert warning == "2 images occur more than once with different labels, for example 'train/cat/0.png'"


def test_identical_images_with_the_same_label_are_none(root):
    shutil.copy(root / "train/cat/1.png", root / "train/cat/9.png")
    assert prepare_folder(root).warnings == ()


def test_a_wrong_suffix_is_a_warning(root):
    shutil.move(root / "train/cat/1.png", root / "train/cat/1.jpg")
    shutil.move(root / "test/8.png", root / "test/8.bmp")
    warnings = prepare_folder(root).warnings
    assert [warning.split(": ")[1] for warning in warnings] == ["1.jpg is PNG", "8.bmp is PNG"]


def test_csv_gives_groups_and_folds_and_warns_of_a_class_without_rows(root):
    lines = ["image,label,person,fold"]
    lines += [f"cat/{n}.png,cat,p{n % 2},{n % 2}" for n in (1, 2, 3)] + ["dog/4.png,dog,p0,0"]
    (root / "rows.csv").write_text("\n".join(lines) + "\n")
    plan = make(
        root,
        use="images/csv",
        csv="rows.csv",
        image_folder="train",
        group_column="person",
        fold_column="fold",
        classes=["cat", "dog", "owl"],
    )
    data = prepare(plan, lambda what, done, total: None)
    assert data.train.groups == ("p1", "p0", "p1", "p0")
    assert data.train.folds.tolist() == [1, 0, 1, 0]
    assert data.test is None
    assert data.warnings == ("classes without a training row, which can never be learned: owl",)
    assert describe_facts(data)["rows per class"] == "0 to 3"


def test_an_empty_table_is_an_error(root):
    (root / "rows.csv").write_text("image,label\n")
    with pytest.raises(DataError, match="has no rows"):
        prepare(make(root, use="images/csv", csv="rows.csv"), lambda what, done, total: None)


def test_progress_is_told_for_training_and_test_images(root):
    told: list[tuple[str, int, int]] = []
    plan = make(root, test="test")
    prepare(plan, lambda *event: told.append(event))
    assert told == [("train images", 6, 6), ("test images", 2, 2)]
    prepare(plan, lambda *event: told.append(event))
    assert len(told) == 2


def test_what_is_saved_can_be_read(root, tmp_path):
    data = prepare_folder(root)
    folder = RunFolder(tmp_path / "run")
    save_prepared(data, folder)
    facts = read_json(folder.data)
    assert facts["classes"] == ["cat", "dog"]
    assert facts["key"] == data.key
    assert Preprocessing.model_validate(facts["preprocessing"]) == data.preprocessing
    assert facts["pixels"]["train"] == {"key": data.train.cache.key, "path": str(data.train.cache.path)}
    assert Path(facts["pixels"]["test"]["path"]).exists()
    assert read_table(folder.test_rows)["id"] == ["test/7.png", "test/8.png"]


def test_the_key_follows_what_later_stages_see(root):
    key = prepare_folder(root).key
    assert prepare_folder(root).key == key
    assert prepare_folder(root, 'transforms.resize="pad"').key != key
    assert prepare_folder(root, group_pattern="(.)").key != key
    save_photo(root / "test/8.png", seed=99)
    changed = prepare_folder(root).key
    assert changed != key
    shutil.move(root / "train/cat/3.png", root / "train/dog/3.png")
    assert prepare_folder(root).key not in (key, changed)


def test_the_key_follows_the_place_of_pixels_in_the_cache(root):
    (root / "train/cat/0.png").write_bytes(b"no image")
    before = prepare_folder(root, SKIP)
    (root / "train/cat/0.png").unlink()
    after = prepare_folder(root, SKIP)
    assert before.train.digests.tolist() == after.train.digests.tolist()
    assert before.train.pixel_rows.tolist() != after.train.pixel_rows.tolist()
    assert before.key != after.key


def test_a_dataset_that_returns_something_else_is_named(root):
    plan = make(root)
    wrong = plan.dataset.model_copy(update={"factory": "samples:return_nothing"})
    with pytest.raises(
        PluginError, match=r"dataset 'images/folder' \(icf .*\): the factory returned None, not an icf\.DatasetContent"
    ):
        prepare(plan.model_copy(update={"dataset": wrong}), lambda what, done, total: None)


PIXELS = np.stack([draw_photo(8, 8, seed) for seed in range(4)])
TRAIN = Samples(ids=["a", "b", "c", "d"], images=PIXELS, targets=np.array([0, 1, 0, 1]))


def content(train: Samples = TRAIN, test: Samples | None = None, classes=("x", "y")) -> DatasetContent:
    return DatasetContent(classes=classes, train=train, test=test)


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (content(Samples(ids=[], images=[], targets=np.zeros(0, np.int64))), "no training row; look at dataset.root"),
        (content(replace(TRAIN, ids=["a", "b", "a", "a"])), "1 ids occur more than once, for example 'a'"),
        (content(replace(TRAIN, targets=None)), "training rows have no targets"),
        (content(replace(TRAIN, targets=np.array([0, 1, 2, 0]))), r"whole numbers in 0\.\.1"),
        (content(replace(TRAIN, targets=np.array([0, 1, -1, 0]))), r"whole numbers in 0\.\.1"),
        (content(replace(TRAIN, targets=np.array([0, 1, 0.5, 0]))), r"whole numbers in 0\.\.1"),
        (content(replace(TRAIN, targets=np.array([0, 1]))), "4 ids but 2 targets"),
        (content(replace(TRAIN, groups=["a"])), "4 ids but 1 groups"),
        (content(replace(TRAIN, folds=np.array([0]))), "4 ids but 1 folds"),
        (content(replace(TRAIN, images=PIXELS[:3])), "4 ids but 3 images"),
        (content(replace(TRAIN, images=PIXELS / 255)), r"images must be uint8 .*not float64 \[4, 8, 8, 3\]"),
        (content(replace(TRAIN, images=PIXELS[..., :2])), r"1, 3 or 4 channels, not uint8 \[4, 8, 8, 2\]"),
        (content(replace(TRAIN, images=PIXELS[:, :0])), r"not uint8 \[4, 0, 8, 3\]"),
        (content(replace(TRAIN, images=["a.png"] * 4)), r"images must be pathlib\.Path objects"),
        (content(test=replace(TRAIN, ids=["a"] * 4)), "test rows: 1 ids occur more than once"),
        (content(test=replace(TRAIN, ids=[], images=[], targets=None)), "there is no test row"),
        (content(classes=("x", "x")), "class names are not unique"),
        (content(replace(TRAIN, targets=np.array([1, 1, 1, 1]))), "at least two classes .* only: y"),
    ],
)
def test_contradictions_of_a_dataset_are_found(found, message):
    with pytest.raises(DataError, match=message):
        check_content(found)


def test_all_contradictions_are_told_at_once():
    with pytest.raises(DataError) as caught:
        check_content(content(replace(TRAIN, ids=["a"] * 4, groups=["g"]), classes=("x", "x")))
    assert str(caught.value).count(";") == 2


def test_a_good_dataset_passes():
    check_content(content(test=replace(TRAIN, targets=None)))
