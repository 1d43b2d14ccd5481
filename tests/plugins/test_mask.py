from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pydantic
import pytest
from PIL import Image

import icf
from icf_mask.competition import class_names, load_competition
from icf_mask.plugin import CompetitionParams

STEMS = ("mask1", "mask2", "mask3", "mask4", "mask5", "incorrect_mask", "normal")


@pytest.fixture(autouse=True)
def _no_channels(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("SM_CHANNEL_TRAIN", raising=False)
    monkeypatch.delenv("SM_CHANNEL_EVAL", raising=False)
    monkeypatch.chdir(tmp_path)


def write_data(root: Path, people: str, test: str = "ImageID,ans\nb.jpg,0\na.jpg,0\n") -> None:
    """Write the tables, and images for every path of ``people`` (lines of the table)."""
    endings = ("jpg", "png", "jpeg", "JPG", "PNG", "jpg", "jpeg")
    for line in people.split():
        folder = root / "train" / "images" / line.split(",")[4]
        folder.mkdir(parents=True, exist_ok=True)
        for stem, ending in zip(STEMS, endings, strict=True):
            Image.new("RGB", (3, 4)).save(folder / f"{stem}.{ending}")
        (folder / "._mask1.jpg").write_bytes(b"junk")
    (root / "train" / "train.csv").write_text("id,gender,race,age,path\n" + people)
    (root / "eval" / "images").mkdir(parents=True)
    (root / "eval" / "info.csv").write_text(test)
    for name in ("a.jpg", "b.jpg"):
        Image.new("RGB", (3, 4)).save(root / "eval" / "images" / name)


def load(root: Path | None = None, **more: object) -> icf.DatasetContent:
    params = CompetitionParams.model_validate({"root": root, **more})
    return load_competition(params, icf.DatasetContext(cache_dir=Path("cache")))


PEOPLE = """000001,male,Asian,29,000001_male_Asian_29
000002,female,Asian,30,000002_female_Asian_30
001498,female,Asian,59,001498_female_Asian_59
001498-1,female,Asian,60,001498-1_female_Asian_60
003397,male,Asian,60,003397_male_Asian_60
003397,female,Asian,19,003397_female_Asian_19
"""


def test_labels_ids_groups_and_submission(tmp_path: Path) -> None:
    write_data(tmp_path, PEOPLE)
    content = load(tmp_path)
    train = content.train
    assert len(train) == 42
    assert list(train.ids[:7]) == [f"000001_male_Asian_29/{stem}" for stem in STEMS]
    assert train.targets is not None
    attributes = [0, 4, 4, 5, 2, 3]
    assert train.targets.tolist() == [mask * 6 + a for a in attributes for mask in (0, 0, 0, 0, 0, 1, 2)]
    assert train.groups is not None
    assert list(train.groups[::7]) == ["000001", "000002", "001498", "001498", "003397", "003397"]
    assert [Path(path).suffix for path in train.images[:4]] == [".jpg", ".png", ".jpeg", ".JPG"]
    assert content.test is not None
    assert list(content.test.ids) == ["b.jpg", "a.jpg"]
    assert content.submission == icf.SubmissionFormat(
        id_column="ImageID", columns=("ans",), ids=["b.jpg", "a.jpg"], values=tuple(range(18))
    )
    assert content.notes == ()


def test_labels_follow_the_competitions_rule_as_pandas_finds_it(tmp_path: Path) -> None:
    write_data(tmp_path, PEOPLE)
    people = pd.read_csv(tmp_path / "train" / "train.csv")
    gender = people["gender"].eq("female")
    age = pd.cut(people["age"], [0, 30, 60, 200], right=False, labels=False)
    mask = pd.Series(STEMS).map(lambda stem: {"incorrect_mask": 1, "normal": 2}.get(stem, 0))
    expected = (people[[]].assign(person=gender * 3 + age)).merge(mask.rename("mask"), how="cross")
    assert np.array_equal(load(tmp_path).train.targets, expected["mask"] * 6 + expected["person"])


def test_class_names_stand_in_the_order_of_the_labels(tmp_path: Path) -> None:
    names = class_names((30, 60))
    for mask, state in enumerate(("wear", "incorrect", "normal")):
        for gender, word in enumerate(("male", "female")):
            for age, band in enumerate(("<30", "30-59", ">=60")):
                assert names[mask * 6 + gender * 3 + age] == f"{state} {word} {band}"
    write_data(tmp_path, PEOPLE)
    assert load(tmp_path, age_bands=(25, 40)).classes == class_names((25, 40))
    targets = load(tmp_path, age_bands=(25, 40)).train.targets
    assert targets is not None
    assert targets[::7].tolist() == [1, 4, 5, 5, 2, 3]


def test_channels_are_used_where_no_root_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_data(tmp_path / "one", PEOPLE)
    write_data(tmp_path / "two", PEOPLE[: PEOPLE.index("000002")])
    (tmp_path / "one" / "eval").rename(tmp_path / "elsewhere")
    monkeypatch.setenv("SM_CHANNEL_TRAIN", str(tmp_path / "one" / "train" / "images"))
    monkeypatch.setenv("SM_CHANNEL_EVAL", str(tmp_path / "elsewhere"))
    content = load()
    assert content.test is not None
    assert len(content.train) == 42
    assert content.test.images[0] == tmp_path / "elsewhere" / "images" / "b.jpg"
    assert len(load(tmp_path / "two").train) == 7


def test_data_mask_is_the_last_place_looked_at(tmp_path: Path) -> None:
    write_data(tmp_path / "data" / "mask", PEOPLE)
    assert len(load(demo="never").train) == 42


def test_a_named_place_without_data_is_an_error_and_no_reason_for_the_demo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(icf.DataError, match=r"wrong/train/train\.csv does not exist"):
        load(tmp_path / "wrong")
    with pytest.raises(icf.DataError, match=r"data/mask/train/train\.csv does not exist"):
        load(demo="never")
    monkeypatch.setenv("SM_CHANNEL_TRAIN", str(tmp_path / "empty" / "train" / "images"))
    with pytest.raises(icf.DataError, match=r"empty/train/train\.csv does not exist"):
        load()


def test_without_eval_there_is_a_note(tmp_path: Path) -> None:
    write_data(tmp_path, PEOPLE)
    (tmp_path / "eval").rename(tmp_path / "moved")
    content = load(tmp_path)
    assert content.test is None
    assert content.submission is None
    assert "nothing to predict" in content.notes[0]


def test_every_mistake_is_named(tmp_path: Path) -> None:
    write_data(tmp_path, PEOPLE, "ImageID,ans,extra\na.jpg,0,\na.jpg,0,\n../b.jpg,0,\nc.jpg,0,\nshort\n")
    images = tmp_path / "train" / "images"
    (images / "000001_male_Asian_29" / "normal.jpeg").unlink()
    Image.new("RGB", (3, 4)).save(images / "000001_male_Asian_29" / "mask1.png")
    table = tmp_path / "train" / "train.csv"
    wrong = "7,man,Asian,20.5,../up\n8,male,Asian,20,8_male_Asian_20\n,male,Asian,20,000001_male_Asian_29\n"
    table.write_text(table.read_text() + wrong)
    with pytest.raises(icf.BadImagesError) as error:
        load(tmp_path)
    lines = [str(problem) for problem in error.value.problems]
    for number, (row, message) in enumerate(
        [
            (
                "train.csv, row 2",
                "must have one image mask1 (.jpg, .jpeg or .png), but more than one: mask1.jpg, mask1.png",
            ),
            ("train.csv, row 2", "must have one image normal (.jpg, .jpeg or .png), but there is none"),
            ("train.csv, row 8", "gender 'man' must be 'male' or 'female'"),
            ("train.csv, row 8", "age '20.5' must be a whole number"),
            ("train.csv, row 8", "path '../up' leaves"),
            ("train.csv, row 9", "there is no folder"),
            ("train.csv, row 10", "the id is missing"),
            ("train.csv, row 10", "already stands in"),
            ("info.csv, row 6", "has 1 fields, but the header has 3"),
            ("info.csv, row 3", "ImageID 'a.jpg' already stands in"),
            ("info.csv, row 4", "must be the name of a file"),
            ("info.csv, row 5", "there is no file"),
        ]
    ):
        assert row in lines[number]
        assert message in lines[number]
    assert len(lines) == 12


@pytest.mark.parametrize(
    ("data", "text"), [(b"id,gender\n", "no column 'age', 'path'"), (b"\xff\xfe", "UTF-8"), (b"", "is empty")]
)
def test_unreadable_tables_are_explained(tmp_path: Path, data: bytes, text: str) -> None:
    write_data(tmp_path, PEOPLE)
    (tmp_path / "train" / "train.csv").write_bytes(data)
    with pytest.raises(icf.DataError, match=text):
        load(tmp_path)


@pytest.mark.parametrize("more", [{"age_bands": (60, 30)}, {"age_bands": (0, 5)}, {"normal_stems": ("mask1",)}])
def test_parameters_are_checked(more: dict[str, object]) -> None:
    with pytest.raises(pydantic.ValidationError):
        CompetitionParams.model_validate(more)
