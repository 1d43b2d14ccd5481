from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pandas as pd
import pydantic
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from PIL import Image
from torchvision.datasets import ImageFolder

import icf
from icf.pipeline.data.attributes import check_attributes
from icf.tables import Report, leaves_folder, read_table
from icf_images.attributes import name_bands
from icf_images.folder import load_folder
from icf_images.listed import load_csv
from icf_images.plugin import CsvParams, FolderParams
from icf_images.submission import sort_classes

CTX = icf.DatasetContext()


def add_images(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4), (len(name), 0, 0)).save(path)


def problems(error: pytest.ExceptionInfo[icf.BadImagesError]) -> list[str]:
    return [str(problem) for problem in error.value.problems]


# -- images/folder


def test_folder_sorts_classes_and_ids_and_skips_hidden_files(tmp_path: Path) -> None:
    add_images(tmp_path, "dog/2.png", "dog/1.JPG", "cat/old/3.png", "cat/9.png", ".trash/1.png")
    (tmp_path / "cat" / "._9.png").write_bytes(b"junk")
    (tmp_path / "cat" / "readme.txt").write_text("x")
    content = load_folder(FolderParams(root=tmp_path), CTX)
    assert content.classes == ("cat", "dog")
    assert list(content.train.ids) == ["cat/9.png", "cat/old/3.png", "dog/1.JPG", "dog/2.png"]
    assert content.train.targets is not None
    assert content.train.targets.tolist() == [0, 0, 1, 1]
    assert list(content.train.images) == [tmp_path / name for name in content.train.ids]
    assert content.test is None
    assert content.submission is None
    assert content.notes == (f"not used: 1 files in {tmp_path / 'cat'} with another ending",)


def test_folder_finds_the_images_and_classes_that_torchvision_finds(tmp_path: Path) -> None:
    add_images(tmp_path, "10/b.png", "9/x/1.jpg", "9/a.JPEG", "Zebra/1.webp", "ant/1.tiff", "ant/0/1.bmp")
    content, reference = load_folder(FolderParams(root=tmp_path), CTX), ImageFolder(tmp_path)
    found = zip(content.train.images, np.asarray(content.train.targets).tolist(), strict=True)
    assert content.classes == tuple(reference.classes)
    assert {(str(path), target) for path, target in found} == set(reference.samples)


def test_folder_with_train_test_and_groups(tmp_path: Path) -> None:
    add_images(tmp_path, "train/a/p1_x.png", "train/b/p2_x.png", "train/b/p1_y.png", "test/q.png", "val/a/1.png")
    content = load_folder(FolderParams(root=tmp_path, test="test", group_pattern="^(p[0-9])_"), CTX)
    assert list(content.train.ids) == ["train/a/p1_x.png", "train/b/p1_y.png", "train/b/p2_x.png"]
    assert content.train.groups == ["p1", "p1", "p2"]
    assert content.test is not None
    assert list(content.test.ids) == ["test/q.png"]
    assert content.test.targets is None
    assert content.submission == icf.SubmissionFormat(ids=["test/q.png"], values=("a", "b"))
    assert content.notes == (f"not used: folder val of {tmp_path}",)


def test_a_test_folder_beside_the_classes_is_no_class(tmp_path: Path) -> None:
    add_images(tmp_path, "a/1.png", "b/1.png", "unlabelled/1.png")
    assert load_folder(FolderParams(root=tmp_path, test="unlabelled"), CTX).classes == ("a", "b")


def test_folder_names_every_empty_class_and_every_file_without_group(tmp_path: Path) -> None:
    add_images(tmp_path, "a/1.png", "a/p2.png")
    (tmp_path / "b").mkdir()
    (tmp_path / "c").mkdir()
    with pytest.raises(icf.BadImagesError) as error:
        load_folder(FolderParams(root=tmp_path, group_pattern="(p[0-9])"), CTX)
    found = problems(error)
    assert len(found) == 3
    assert found[0].startswith(f"{tmp_path / 'b'}: has no image")
    assert found[1].startswith(f"{tmp_path / 'c'}: has no image")
    assert found[2].startswith(f"{tmp_path / 'a' / '1.png'}: group_pattern")


def test_folder_follows_linked_folders_once(tmp_path: Path) -> None:
    add_images(tmp_path, "data/a/1.png", "data/b/1.png", "store/2.png")
    (tmp_path / "data" / "a" / "more").symlink_to(tmp_path / "store")
    (tmp_path / "data" / "a" / "loop").symlink_to(tmp_path / "data" / "a")
    content = load_folder(FolderParams(root=tmp_path / "data"), CTX)
    assert list(content.train.ids) == ["a/1.png", "a/more/2.png", "b/1.png"]


@pytest.mark.parametrize(
    ("params", "text"),
    [
        ({"root": "nowhere"}, "no folder"),
        ({"train": "training"}, "no folder"),
        ({"train": "../x"}, "leaves"),
        ({"test": "missing"}, "no folder"),
    ],
)
def test_folder_mistakes_are_explained(tmp_path: Path, params: dict[str, str], text: str) -> None:
    add_images(tmp_path, "a/1.png", "b/1.png")
    with pytest.raises(icf.DataError, match=text):
        load_folder(FolderParams(**{"root": tmp_path, **params}), CTX)


def test_one_class_folder_is_not_enough(tmp_path: Path) -> None:
    add_images(tmp_path, "only/1.png")
    with pytest.raises(icf.DataError, match="found: only"):
        load_folder(FolderParams(root=tmp_path), CTX)


@pytest.mark.parametrize("pattern", ["(", "[0-9]+"])
def test_group_pattern_needs_a_group(pattern: str) -> None:
    with pytest.raises(pydantic.ValidationError):
        FolderParams(root=Path("x"), group_pattern=pattern)


# -- reading CSV files

CELLS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1, max_size=12)
WORDS = CELLS.map(str.strip).filter(bool)


@given(
    rows=st.lists(st.lists(WORDS, min_size=2, max_size=2), max_size=6),
    bom=st.booleans(),
    ends=st.sampled_from(["\r\n", "\n"]),
    blank=st.integers(0, 3),
    quote_all=st.booleans(),
)
def test_whatever_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[list[str]],
    bom: bool,
    ends: str,
    blank: int,
    quote_all: bool,
) -> None:
    assume(quote_all or not any("\r" in cell for row in rows for cell in row))  # csv.writer leaves it bare
    path = tmp_path_factory.mktemp("csv") / "t.csv"
    with path.open("w", encoding="utf-8-sig" if bom else "utf-8", newline="") as file:
        file.write(f" image ,label {ends}")
        if quote_all:
            csv.writer(file, lineterminator=ends, quoting=csv.QUOTE_ALL).writerows(rows)
        else:
            csv.writer(file, lineterminator=ends).writerows(rows)
        file.write(ends * blank)
    report = Report()
    table = read_table(path, report)
    assert report.problems == []
    assert table.columns == ("image", "label")
    assert [list(row.cells.values()) for row in table.rows] == rows


def test_rows_are_numbered_by_line(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text('a,b\n"two\nlines",1\n\nx,2\ny\n,,\n\n')
    report = Report()
    assert [row.number for row in read_table(path, report).rows] == [2, 5]
    assert [str(problem) for problem in report.problems] == [f"{path}, row 6: has 1 fields, but the header has 2"]


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "is empty"),
        (b"a,a\n1,2\n", "more than once"),
        (b"a,b\n1,2\n\xff,3\n", r"row 3: byte 0xff is not UTF-8"),
        (b'a,b\n1,2\n"x,3\n', r"row 3"),
    ],
)
def test_unreadable_tables_are_explained(tmp_path: Path, data: bytes, text: str) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(data)
    with pytest.raises(icf.DataError, match=text):
        read_table(path, Report())


def test_a_byte_that_is_not_utf_8_is_found_in_any_block_of_a_large_file(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(b"a,b\n" + b"1,2\n" * 50_000 + b"\xe9,2\n")
    with pytest.raises(icf.DataError, match="row 50002: byte 0xe9 is not UTF-8"):
        read_table(path, Report())


def test_equal_cells_of_a_large_file_are_one_string(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("id,label\n" + "".join(f"{row},class {row % 9}\n" for row in range(1000)))
    rows = read_table(path, Report()).rows
    assert len({id(row["label"]) for row in rows}) == 9
    assert all(row.cells == {"id": str(number), "label": f"class {number % 9}"} for number, row in enumerate(rows))


@given(st.lists(st.sampled_from(["a", "..", ".", "b.jpg", "C:", ""]), min_size=1, max_size=5), st.sampled_from("/\\"))
def test_a_path_that_stays_below_its_folder_is_told_from_one_that_leaves(parts: list[str], separator: str) -> None:
    name = separator.join(parts)
    climbs = ".." in parts
    rooted = name.startswith(separator) or parts[0] == "C:"
    if leaves_folder(name) is False:
        assert not climbs
        assert not rooted
    if not climbs and not rooted and "C:" not in parts:
        assert not leaves_folder(name)


# -- images/csv


def write_set(root: Path, train: str = "image,label\n1.png,b\n2.png,a\n") -> None:
    add_images(root, "train/1.png", "train/2.png", "test/8.png", "test/9.png")
    (root / "train.csv").write_text(train)


def csv_params(root: Path, **more: object) -> CsvParams:
    return CsvParams.model_validate({"root": root, "image_folder": "train", **more})


def test_csv_reads_labels_groups_and_folds(tmp_path: Path) -> None:
    write_set(tmp_path, "no,image,label,who,fold,extra\nx,1.png,10,p,1,\ny,2.png,9,q,0,\n")
    params = csv_params(tmp_path, id_column="no", group_column="who", fold_column="fold")
    content = load_csv(params, CTX)
    assert content.classes == ("9", "10")
    assert list(content.train.ids) == ["x", "y"]
    assert content.train.groups == ["p", "q"]
    assert content.train.folds is not None
    assert content.train.folds.tolist() == [1, 0]
    assert content.train.targets is not None
    assert content.train.targets.tolist() == [1, 0]
    assert content.train.targets.dtype == np.int64
    assert list(content.train.images) == [tmp_path / "train" / "1.png", tmp_path / "train" / "2.png"]
    assert content.submission is None


def test_csv_has_the_cells_that_the_standard_library_reads(tmp_path: Path) -> None:
    names = ["a, b.png", 'say "hi".png', "two words.png", "größe.png"]
    add_images(tmp_path, *names)
    with (tmp_path / "train.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(
            [("image", "label", "who"), *((name, f"c;{k % 2}", f'"{k}"') for k, name in enumerate(names))]
        )
    content = load_csv(CsvParams(root=tmp_path, group_column="who"), CTX)
    with (tmp_path / "train.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(content.train.ids) == [row["image"] for row in rows]
    assert content.train.groups == [row["who"] for row in rows]
    assert [content.classes[k] for k in np.asarray(content.train.targets)] == [row["label"] for row in rows]


def test_csv_adds_external_rows_that_are_never_scored(tmp_path: Path) -> None:
    write_set(tmp_path, "image,label,who,fold\n1.png,b,p,0\n2.png,a,q,1\n")
    add_images(tmp_path, "train/more/3.png")
    (tmp_path / "more.csv").write_text("image,label,who\nmore/3.png,a,p\n")
    params = csv_params(tmp_path, external_csv="more.csv", group_column="who", fold_column="fold")
    train = load_csv(params, CTX).train
    assert list(train.ids) == ["1.png", "2.png", "more/3.png"]
    assert train.groups == ["p", "q", "p"]
    assert (np.asarray(train.targets).tolist(), np.asarray(train.folds).tolist()) == ([1, 0, 0], [0, 1, -1])
    assert np.asarray(train.scored).tolist() == [True, True, False]
    (tmp_path / "more.csv").write_text("image,label,who\nmore/3.png,c,p\n1.png,a,p\n")
    with pytest.raises(icf.BadImagesError) as error:
        load_csv(params, CTX)
    [repeated, unknown] = problems(error)
    assert "more.csv, row 3: id '1.png' is also in" in repeated
    assert "more.csv, row 2: label 'c' is not one of 'a', 'b'" in unknown


FACES = """image,mask,gender,age
1.png,wear,male,29
2.png,none,female,30
3.png,none,male,59.5
4.png,wear,female,60
5.png,wear,male,3
"""
COLUMNS = [{"column": "mask", "values": ["wear", "none"]}, "gender", {"column": "age", "starts": [30, 60]}]


def test_csv_makes_classes_of_attributes(tmp_path: Path) -> None:
    add_images(tmp_path, *(f"train/{number}.png" for number in range(1, 6)))
    (tmp_path / "train.csv").write_text(FACES)
    content = load_csv(csv_params(tmp_path, attribute_columns=COLUMNS), CTX)
    table = pd.read_csv(tmp_path / "train.csv")
    table["age"] = pd.cut(table["age"], [0, 30, 60, 200], right=False, labels=["<30", "30-59", ">=60"])
    assert content.train.targets is not None
    assert [content.classes[target] for target in content.train.targets] == list(
        table[["mask", "gender", "age"]].astype(str).agg(" ".join, axis=1)
    )
    assert content.classes == ("wear female >=60", "wear male <30", "none female 30-59", "none male 30-59")
    assert content.attributes == (
        icf.Attribute(name="mask", values=("wear", "none")),
        icf.Attribute(name="gender", values=("female", "male")),
        icf.Attribute(name="age", values=("<30", "30-59", ">=60"), ordered=True, starts=(30, 60)),
    )
    assert np.asarray(content.class_values).tolist() == [[0, 0, 2], [0, 1, 0], [1, 0, 1], [1, 1, 1]]
    assert content.train.numbers is not None
    assert np.asarray(content.train.numbers["age"]).tolist() == [29, 30, 59.5, 60, 3]
    assert check_attributes(content) == []


def test_csv_takes_names_of_classes_from_the_label_beside_the_attributes(tmp_path: Path) -> None:
    add_images(tmp_path, *(f"train/{number}.png" for number in range(1, 6)), "train/more.png")
    lines = FACES.splitlines()
    labels = ["label", "2", "10", "11", "0", "2"]
    (tmp_path / "train.csv").write_text("".join(f"{a},{b}\n" for a, b in zip(lines, labels, strict=True)))
    (tmp_path / "more.csv").write_text("image,mask,gender,age,label\nmore.png,none,female,45,10\n")
    params = csv_params(tmp_path, attribute_columns=COLUMNS, external_csv="more.csv")
    content = load_csv(params, CTX)
    assert content.classes == ("0", "2", "10", "11")
    assert np.asarray(content.train.targets).tolist() == [1, 2, 3, 0, 1, 2]
    assert np.asarray(content.class_values).tolist() == [[0, 0, 2], [0, 1, 0], [1, 0, 1], [1, 1, 1]]
    assert check_attributes(content) == []
    (tmp_path / "more.csv").write_text("image,mask,gender,age,label\nmore.png,none,female,61,10\n")
    with pytest.raises(icf.BadImagesError) as error:
        load_csv(params, CTX)
    [problem] = problems(error)
    assert "more.csv, row 2: class '10' has other attributes in" in problem


def test_csv_names_every_mistake_in_attributes(tmp_path: Path) -> None:
    add_images(tmp_path, *(f"train/{number}.png" for number in range(1, 6)), "train/more.png")
    wrong = FACES.replace("29", "young").replace("2.png,none", "2.png,non").replace("female,60", "female,")
    (tmp_path / "train.csv").write_text(wrong)
    (tmp_path / "more.csv").write_text("image,mask,gender,age\nmore.png,none,female,61\n")
    with pytest.raises(icf.BadImagesError) as error:
        load_csv(csv_params(tmp_path, attribute_columns=COLUMNS, external_csv="more.csv"), CTX)
    found = "\n".join(problems(error))
    for text in (
        "train.csv, row 2: column 'age' must be a number, not 'young'",
        "train.csv, row 3: mask 'non' is not one of 'wear', 'none'",
        "train.csv, row 5: the label (column 'age') is missing",
        "more.csv, row 2: no row that is scored has these values of the attributes together",
    ):
        assert text in found
    assert len(problems(error)) == 4
    (tmp_path / "train.csv").write_text("image,mask\n1.png,wear\n")
    with pytest.raises(icf.DataError, match="no column 'gender', 'age'"):
        load_csv(csv_params(tmp_path, attribute_columns=COLUMNS), CTX)


@pytest.mark.parametrize(
    "more",
    [
        {"attribute_columns": ["a", "a"]},
        {"attribute_columns": ["a"], "label_separator": ";"},
        {"attribute_columns": [{"column": "a", "starts": [2, 1]}]},
        {"attribute_columns": [{"column": "a", "starts": [1], "values": ["x", "y"]}]},
        {"attribute_columns": [{"column": "a", "values": ["x", "x"]}]},
    ],
)
def test_attribute_columns_that_contradict_each_other_are_refused(more: dict[str, object]) -> None:
    with pytest.raises(pydantic.ValidationError):
        csv_params(Path("x"), **more)


@pytest.mark.parametrize(
    ("starts", "names"),
    [((1.0, 2.0, 5.0), ("<1", "1", "2-4", ">=5")), ((0.5, 1.0), ("<0.5", "0.5 to 1", ">=1"))],
)
def test_bands_of_numbers_have_names(starts: tuple[float, ...], names: tuple[str, ...]) -> None:
    assert name_bands(starts) == names


def test_csv_without_a_sample_asks_for_labels_of_all_test_images(tmp_path: Path) -> None:
    write_set(tmp_path, "image,label\n1.png,1\n2.png,0\n")
    content = load_csv(csv_params(tmp_path, test_folder="test"), CTX)
    assert content.submission == icf.SubmissionFormat(
        id_column="image", columns=("label",), ids=["8.png", "9.png"], values=(0, 1)
    )


def test_csv_takes_rows_and_order_from_a_sample(tmp_path: Path) -> None:
    write_set(tmp_path)
    (tmp_path / "sample.csv").write_text("id,answer\n9.png,a\n8.png,a\n")
    content = load_csv(csv_params(tmp_path, test_folder="test", sample_submission="sample.csv"), CTX)
    assert content.submission == icf.SubmissionFormat(
        id_column="id", columns=("answer",), ids=["9.png", "8.png"], values=("a", "b")
    )
    assert content.test is not None
    assert list(content.test.ids) == ["8.png", "9.png"]


def test_csv_sample_with_a_column_per_class_asks_for_probabilities(tmp_path: Path) -> None:
    write_set(tmp_path)
    (tmp_path / "sample.csv").write_text("id,b,a\n9.png,0,1\n8.png,0,1\n")
    content = load_csv(csv_params(tmp_path, test_folder="test", sample_submission="sample.csv"), CTX)
    assert content.submission is not None
    assert content.submission.columns == ("b", "a")
    assert content.submission.values is None
    (tmp_path / "sample.csv").write_text("id,b,c\n9.png,0,1\n8.png,0,1\n")
    with pytest.raises(icf.DataError, match="No classes: 'c'; classes without a column: 'a'"):
        load_csv(csv_params(tmp_path, test_folder="test", sample_submission="sample.csv"), CTX)


def test_csv_with_a_test_table_and_names_without_ending(tmp_path: Path) -> None:
    write_set(tmp_path, "image,label\n1,b\n2,a\n")
    (tmp_path / "test.csv").write_text("image\n9\n8\n")
    (tmp_path / "sample.csv").write_text("image,label\n8,a\n9,a\n")
    more = {"image_extension": ".png", "test_folder": "test", "sample_submission": "sample.csv"}
    from_table = load_csv(csv_params(tmp_path, test_csv="test.csv", **more), CTX)
    from_folder = load_csv(csv_params(tmp_path, **more), CTX)
    assert from_table.test is not None
    assert from_folder.test is not None
    assert list(from_table.test.ids) == ["9", "8"]
    assert list(from_folder.test.ids) == ["8", "9"]
    assert from_table.submission == from_folder.submission


def test_csv_names_every_mistake_with_its_row(tmp_path: Path) -> None:
    write_set(
        tmp_path,
        "image,label,who,fold\n1.png,a,p,0\n1.png,b,p,0\n3.png,a,p,0\n../x.png,a,p,0\n/etc/x,a,p,0\n,a,p,0\n"
        "2.png,,p,0\n2.png,b,,x\nshort\n",
    )
    (tmp_path / "sample.csv").write_text("id,answer\n8.png,a\n8.png,a\n7.png,a\n")
    params = csv_params(
        tmp_path, test_folder="test", sample_submission="sample.csv", group_column="who", fold_column="fold"
    )
    with pytest.raises(icf.BadImagesError) as error:
        load_csv(params, CTX)
    text = str(error.value)
    for row, message in [
        (3, "id '1.png' is also in row 2, with another label"),
        (4, "there is no file"),
        (5, "leaves"),
        (6, "leaves"),
        (7, "path of the image is missing"),
        (8, "label (column 'label') is missing"),
        (9, "group (column 'who') is missing"),
        (9, "fold 'x' is no whole number"),
        (10, "has 1 fields, but the header has 4"),
    ]:
        assert any(f"train.csv, row {row}: " in line and message in line for line in text.splitlines()), message
    assert "sample.csv, row 3: id '8.png' is also in row 2" in text
    assert "sample.csv, row 4: id '7.png' is not among the test images" in text
    assert "no row for the test image '9.png'" in text
    assert len(error.value.problems) == 12


def test_many_mistakes_are_counted(tmp_path: Path) -> None:
    write_set(tmp_path, "image,label\n" + "".join(f"x{row}.png,a\n" for row in range(57)))
    with pytest.raises(icf.BadImagesError, match="and 37 more") as error:
        load_csv(csv_params(tmp_path), CTX)
    assert len(error.value.problems) == 57


def test_csv_leaves_out_contradicting_rows_only_when_told_to(tmp_path: Path) -> None:
    add_images(tmp_path, "train/3.png")
    write_set(tmp_path, "image,label\n1.png,a\n2.png,a\n3.png,b\n1.png,b\n2.png,a\n")
    drop = load_csv(csv_params(tmp_path, duplicates="drop"), CTX)
    first = load_csv(csv_params(tmp_path, duplicates="first"), CTX)
    assert list(drop.train.ids) == ["2.png", "3.png"]
    assert list(first.train.ids) == ["1.png", "2.png", "3.png"]
    assert drop.notes == (
        "train.csv: 2 ids are in several rows, 1 of them with different values; 3 rows left out (duplicates = 'drop')",
    )


def test_csv_classes_may_be_fixed(tmp_path: Path) -> None:
    write_set(tmp_path)
    content = load_csv(csv_params(tmp_path, classes=("b", "never", "a")), CTX)
    assert content.train.targets is not None
    assert content.train.targets.tolist() == [0, 2]
    with pytest.raises(icf.BadImagesError, match="label 'a' is not one of 'b', 'c'"):
        load_csv(csv_params(tmp_path, classes=("b", "c")), CTX)


def test_csv_missing_columns_show_what_is_there(tmp_path: Path) -> None:
    write_set(tmp_path, "file;label\n1.png;b\n")
    with pytest.raises(icf.DataError, match="no column 'image', 'label'; its columns are 'file;label'"):
        load_csv(csv_params(tmp_path), CTX)


def test_a_sample_needs_test_images() -> None:
    with pytest.raises(pydantic.ValidationError, match="needs test_csv or test_folder"):
        CsvParams(root=Path("x"), sample_submission="sample.csv")


@given(st.sets(st.integers(-50, 10**6), min_size=1))
def test_whole_numbers_sort_by_value(numbers: set[int]) -> None:
    assert sort_classes({str(number) for number in numbers}) == tuple(map(str, sorted(numbers)))
    assert sort_classes({"01", "1", "2"}) == ("01", "1", "2")
