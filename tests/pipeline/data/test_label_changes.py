from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from icf.components import Samples
from icf.errors import BadImagesError, RecipeError
from icf.pipeline.data.attributes import ClassAttribute
from icf.pipeline.data.label_changes import DROPPED, LabelChanges, change_labels
from icf.sections import Targets

GENDERS, AGES = ("male", "female"), ("<30", "30-59", ">=60")
CLASSES = tuple(f"{gender} {age}" for gender in GENDERS for age in AGES)
YEARS = [20.0, 57.0, 58.0, 59.0, 60.0, np.nan]
TARGETS = [0, 1, 1, 4, 5, 1]


def make_attributes() -> tuple[ClassAttribute, ...]:
    common = {"ordered": True, "starts": None}
    return (
        ClassAttribute.model_validate({"name": "gender", "values": GENDERS, "of_class": (0, 0, 0, 1, 1, 1)} | common),
        ClassAttribute.model_validate(
            {"name": "age", "values": AGES, "of_class": (0, 1, 2) * 2} | common | {"starts": (30.0, 60.0)}
        ),
        ClassAttribute.model_validate({"name": "class", "values": CLASSES, "of_class": tuple(range(6))} | common),
    )


def change(**section: object) -> LabelChanges:
    samples = Samples(
        ids=tuple("abcdef"),
        images=np.zeros((6, 1, 1), np.uint8),
        targets=np.array(TARGETS),
        numbers={"age": np.array(YEARS)},
    )
    return change_labels(Targets.model_validate(section), make_attributes(), samples)


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(["id,column,value,reason", *lines]) + "\n")
    return path


def test_without_changes_rows_are_trained_on_as_they_are_scored() -> None:
    found = change()
    assert found.trained.tolist() == TARGETS
    assert (found.overrides, found.notes, found.warnings) == ((), (), ())


def test_a_border_is_moved_for_rows_whose_number_is_known() -> None:
    found = change(train_only=[{"attribute": "age", "at_least": 58, "becomes": ">=60"}])
    assert found.trained.tolist() == [0, 1, 2, 5, 5, 1]
    assert found.notes == (
        "3 rows whose age is at least 58 are trained on as '>=60' (1 were so already); scores keep the official labels",
    )


def test_rules_follow_each_other_and_rows_can_be_dropped() -> None:
    rules = [
        {"attribute": "age", "at_least": 57, "below": 60, "equals": "30-59", "becomes": ">=60"},
        {"attribute": "class", "equals": "female >=60", "drop": True},
        {"attribute": "gender", "equals": "female", "becomes": "male"},
    ]
    found = change(train_only=rules)
    assert found.trained.tolist() == [0, 2, 2, DROPPED, DROPPED, 1]
    assert len(found.notes) == 2
    assert found.warnings == (
        "0 rows whose gender is 'female' are trained on as 'male'; scores keep the official labels",
    )


def test_a_table_corrects_attributes_and_classes(tmp_path: Path) -> None:
    path = write(tmp_path / "labels.csv", "a,gender,female,seen", "b,class,female <30,", 'c,age,30-59,"no, right"')
    found = change(overrides=str(path))
    assert found.trained.tolist() == [3, 3, 1, 4, 5, 1]
    assert [tuple(item.model_dump().values()) for item in found.overrides] == [
        ("a", "gender", "male", "female", "seen"),
        ("b", "class", "male 30-59", "female <30", ""),
    ]
    [note] = found.notes
    assert "2 labels are corrected in training; scores keep the official labels; 1 further labels agree" in note


def test_all_mistakes_of_a_table_are_told_with_their_rows(tmp_path: Path) -> None:
    lines = ["z,age,<30,", "a,agee,<30,", "a,age,<31,", "a,gender,female,", "a,gender,male,"]
    with pytest.raises(BadImagesError) as error:
        change(overrides=str(write(tmp_path / "labels.csv", *lines)))
    text = str(error.value)
    assert "4 problems" in text
    assert "labels.csv, row 2: 'z' is no id of a training row" in text
    assert "labels.csv, row 3: the data set has no attribute 'agee'; did you mean 'age'?" in text
    assert "labels.csv, row 4: '<31' is no value of 'age'" in text
    assert "labels.csv, row 6: 'gender' of 'a' already stands in" in text


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"attribute": "ages", "equals": "x", "drop": True}, "train_only[0].attribute: the data set has no attribute"),
        ({"attribute": "age", "equals": "x", "drop": True}, "train_only[0].equals: 'x' is no value of 'age'"),
        ({"attribute": "age", "below": 3, "becomes": "y"}, "train_only[0].becomes: 'y' is no value of 'age'"),
        ({"attribute": "gender", "below": 3, "drop": True}, "need a number of each row, and 'gender' has none"),
    ],
)
def test_rules_that_do_not_fit_are_refused(rule: dict[str, object], message: str) -> None:
    with pytest.raises(RecipeError) as error:
        change(train_only=[rule])
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"attribute": "age", "drop": True}, "needs a condition"),
        ({"attribute": "age", "below": 3}, "needs either becomes or drop = true"),
        ({"attribute": "age", "below": 3, "drop": True, "becomes": "<30"}, "needs either becomes or drop = true"),
    ],
)
def test_a_rule_has_a_condition_and_one_action(rule: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Targets.model_validate({"train_only": [rule]})
