from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from icf.components import SubmissionFormat
from icf.errors import DataError
from icf.pipeline.files import write_probabilities
from icf.pipeline.folder import RunFolder
from icf.pipeline.results.submission import fill_form, write_submission

CLASSES = ("cat", "dog", "owl")
IDS = ["001", "2", "c"]
PROBABILITIES = np.array([[0.1, 0.7, 0.2], [0.5, 0.25, 0.25], [0.125, 0.375, 0.5]])


def write(tmp_path: Path, form: SubmissionFormat | None, ids=IDS, classes=CLASSES) -> str:
    write_probabilities(tmp_path / "test.parquet", ids, classes, PROBABILITIES)
    path = write_submission(RunFolder(tmp_path), form, classes)
    assert path == tmp_path / "submission.csv"
    return path.read_bytes().decode()


def test_rows_and_columns_stand_in_the_order_that_is_asked_for(tmp_path):
    form = SubmissionFormat(id_column="ImageID", columns=("ans",), ids=("c", "001", "2"), values=(0, 1, 2))
    assert write(tmp_path, form) == "ImageID,ans\nc,2\n001,1\n2,0\n"


def test_labels_are_written_as_the_form_has_them(tmp_path):
    form = SubmissionFormat(ids=IDS, values=("00", "01", "02"))
    assert write(tmp_path, form) == "id,label\n001,01\n2,00\nc,02\n"


def test_without_a_form_ids_and_class_names_are_written(tmp_path):
    assert write(tmp_path, None) == "id,label\n001,dog\n2,cat\nc,owl\n"


def test_probabilities_stand_in_the_form_s_columns(tmp_path):
    form = SubmissionFormat(id_column="image", columns=("owl", "cat", "dog"), ids=("2", "c", "001"))
    expected = "image,owl,cat,dog\n2,0.25,0.5,0.25\nc,0.5,0.125,0.375\n001,0.2,0.1,0.7\n"
    assert write(tmp_path, form) == expected


def test_names_with_commas_and_quotes_survive(tmp_path):
    ids = ["a,b", 'the "x"', "line\nbreak"]
    write(tmp_path, SubmissionFormat(ids=ids, values=("x, y", "z", 'w"')), ids=ids)
    with (tmp_path / "submission.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [["id", "label"], ["a,b", "z"], ['the "x"', "x, y"], ["line\nbreak", 'w"']]


def test_a_form_may_ask_for_an_id_twice():
    form = SubmissionFormat(ids=("c", "2", "c", "001"), values=(0, 1, 2))
    assert list(fill_form(form, IDS, PROBABILITIES, CLASSES)) == [["c", 2], ["2", 0], ["c", 2], ["001", 1]]


@pytest.mark.parametrize(
    ("form", "message"),
    [
        (SubmissionFormat(ids=(*IDS, "d", "e"), values=(0, 1, 2)), "2 of 5 ids are asked for but not.*'d'"),
        (SubmissionFormat(ids=("001", "2"), values=(0, 1, 2)), "1 of 2 ids are predicted but not asked for.*'c'"),
        (SubmissionFormat(ids=("001", "2", "d"), values=(0, 1, 2)), "asked for but not predicted.*'d'"),
        (SubmissionFormat(ids=IDS, values=(0, 1)), "2 label values for 3 classes"),
        (SubmissionFormat(ids=IDS, columns=("a", "b"), values=(0, 1, 2)), "a label needs one column"),
        (SubmissionFormat(ids=IDS, columns=("cat", "dog")), "are not the classes"),
        (SubmissionFormat(ids=IDS, columns=("cat", "dog", "emu")), "are not the classes"),
        (SubmissionFormat(ids=IDS, columns=("cat", "dog", "owl", "owl")), "are not the classes"),
    ],
)
def test_a_form_that_does_not_fit_is_an_error_and_writes_nothing(tmp_path, form, message):
    with pytest.raises(DataError, match=message):
        write(tmp_path, form)
    assert not (tmp_path / "submission.csv").exists()
