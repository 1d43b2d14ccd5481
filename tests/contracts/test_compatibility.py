from __future__ import annotations

import pytest
from docs.reference import surface

import icf

RECORD = {"icf.Loss": {"since": "0.1", "required": False}, "icf.Loss.name": {"since": "0.1", "required": True}}
SURFACE = {"icf.Loss": False, "icf.Loss.name": True}


def test_nothing_that_people_rely_on_has_vanished_or_become_required() -> None:
    assert surface.find_breaks(surface.read_record(), surface.describe_surface(), icf.__version__) == []


def test_what_is_new_is_recorded() -> None:
    missing = surface.describe_surface().keys() - surface.read_record().keys()
    assert missing == set(), "run: python -m docs.reference.surface"


def test_the_record_holds_hooks_fields_recipe_and_commands() -> None:
    record = surface.read_record()
    assert record["icf.Loss.name"]["required"]
    assert not record["icf.LossContext.num_classes"]["required"]
    assert {"hook icf_losses()", "recipe train.epochs", "icf run --set", "icf.Params"} <= record.keys()


@pytest.mark.parametrize("name", RECORD)
def test_a_name_that_vanished_is_told(name: str) -> None:
    left = {other: given for other, given in SURFACE.items() if other != name}
    assert surface.find_breaks(RECORD, left, "0.9.0") == [
        f"{name} has vanished; deprecate it first, for 2 minor versions"
    ]


@pytest.mark.parametrize(
    ("version", "may_vanish"), [("0.2.0", False), ("0.3.9", False), ("0.4.0", True), ("0.11.0", True), ("1.0.0", True)]
)
def test_a_deprecated_name_stays_for_two_minor_versions(version: str, may_vanish: bool) -> None:
    record = {"icf.Loss": {"since": "0.1", "required": False, "deprecated": "0.2"}}
    breaks = surface.find_breaks(record, {}, version)
    assert breaks == ([] if may_vanish else ["icf.Loss has vanished, but it is deprecated only since 0.2"])


def test_a_field_that_must_be_given_now_is_told() -> None:
    record = {**RECORD, "icf.Loss.name": {"since": "0.1", "required": False}}
    assert surface.find_breaks(record, SURFACE, "0.1.0") == ["icf.Loss.name must be given now; give it a default"]


def test_what_is_new_enters_the_record_and_the_rest_stays() -> None:
    updated = surface.update_record(RECORD, {**SURFACE, "icf.Loss.colour": False}, "0.3.1")
    assert updated == {**RECORD, "icf.Loss.colour": {"since": "0.3", "required": False}}
