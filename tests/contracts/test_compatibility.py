from __future__ import annotations

from pathlib import Path

import pytest
from docs.reference import surface
from docs.reference.public_names import Promise, list_public_names

import icf

SURFACE = {"icf.Loss": Promise("class(Component)"), "icf.Loss.name": Promise("str", required=True)}
RECORD = surface.update_record({}, SURFACE, "0.1.0")


@pytest.fixture(scope="module")
def names() -> dict[str, Promise]:
    return list_public_names()


def test_nothing_that_people_rely_on_has_vanished_or_changed(names: dict[str, Promise]) -> None:
    assert surface.find_breaks(surface.read_record(), names, icf.__version__) == []


def test_what_is_new_is_recorded(names: dict[str, Promise]) -> None:
    record = surface.read_record()
    updated = surface.update_record(record, names, icf.__version__)
    assert [name for name in updated | record if updated.get(name) != record.get(name)] == [], (
        "run: python -m docs.reference.surface"
    )


@pytest.mark.parametrize(
    ("name", "promise"),
    [
        ("icf.Loss.name", Promise("str", required=True)),
        ("icf.LossContext.num_classes", Promise("int")),
        ("icf.PluginError", Promise("class(IcfError)")),
        ("icf.Schedule.factor", Promise("(self, step: int) -> float")),
        ("icf.MetricFunction", Promise("Callable[[FloatArray, IntArray], float]")),
        ("icf.testing.Result.reason", Promise("str", required=True)),
        ("hook icf_losses()", Promise()),
        ("hook icf_epoch_end(event)", Promise()),
        ("fixture icf_recipe", Promise()),
        ("check light-import", Promise()),
        ("check loss:mean", Promise()),
        ("recipe train.epochs", Promise("whole number, >= 1")),
        ("recipe dataset.use", Promise("string", required=True)),
        ("loss loss/focal.gamma", Promise("number, >= 0, <= 20")),
        ("icf run RECIPE", Promise("value", required=True)),
        ("icf run --set", Promise("value, many")),
        ("icf run --quiet", Promise("flag")),
        ("json PluginRecord.reason", Promise("string | null")),
    ],
)
def test_what_a_name_promises_is_recorded(name: str, promise: Promise) -> None:
    entry = surface.read_record()[name]
    assert Promise(entry["type"], entry["required"]) == promise


@pytest.mark.parametrize("name", RECORD)
def test_a_name_that_vanished_is_told(name: str) -> None:
    left = {other: promise for other, promise in SURFACE.items() if other != name}
    assert surface.find_breaks(RECORD, left, "0.9.0") == [
        f"{name} has vanished; deprecate it first, for 2 minor versions"
    ]


def test_another_type_is_told() -> None:
    changed = {**SURFACE, "icf.Loss.name": Promise("bytes", required=True)}
    assert surface.find_breaks(RECORD, changed, "0.9.0") == [
        "icf.Loss.name was 'str' and is 'bytes'; deprecate it first, for 2 minor versions"
    ]


@pytest.mark.parametrize(
    ("name", "now", "is_allowed"),
    [
        ("recipe compute.executor", '"auto" | "inline" | "process"', True),
        ("loss loss/focal.alpha", '"auto" or number | "inline"', True),
        ("recipe compute.executor", '"auto" | "process"', False),
        ("icf.RunStart.executor", '"auto" | "inline" | "process"', False),
    ],
)
def test_one_more_choice_breaks_only_those_who_read_it(name: str, now: str, is_allowed: bool) -> None:
    record = surface.update_record({}, {name: Promise('"auto" | "inline"')}, "0.1.0")
    assert (surface.find_breaks(record, {name: Promise(now)}, "0.1.0") == []) is is_allowed


@pytest.mark.parametrize("now", [{}, {"icf.Loss": Promise("function")}])
@pytest.mark.parametrize(
    ("version", "may_change"), [("0.2.0", False), ("0.3.9", False), ("0.4.0", True), ("0.11.0", True), ("1.0.0", True)]
)
def test_a_deprecated_name_stays_for_two_minor_versions(
    version: str, may_change: bool, now: dict[str, Promise]
) -> None:
    record = {"icf.Loss": {**RECORD["icf.Loss"], "deprecated": "0.2"}}
    breaks = surface.find_breaks(record, now, version)
    change = "was 'class(Component)' and is 'function'" if now else "has vanished"
    assert breaks == ([] if may_change else [f"icf.Loss {change}, but it is deprecated only since 0.2"])


def test_a_field_that_must_be_given_now_is_told() -> None:
    record = surface.update_record({}, {"icf.Loss.name": Promise("str")}, "0.1.0")
    assert surface.find_breaks(record, SURFACE, "0.1.0") == ["icf.Loss.name must be given now; give it a default"]


def test_what_is_new_enters_the_record_and_the_rest_stays() -> None:
    updated = surface.update_record(RECORD, {**SURFACE, "icf.Loss.colour": Promise("str")}, "0.3.1")
    assert updated == {**RECORD, "icf.Loss.colour": {"since": "0.3", "type": "str", "required": False}}


def test_the_command_refuses_a_break_until_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(surface, "RECORD", tmp_path / "surface.json")
    monkeypatch.setattr(surface, "list_public_names", lambda: SURFACE)
    assert surface.main(["--check"]) == 1
    assert surface.main([]) == 0
    assert surface.read_record() == surface.update_record({}, SURFACE, icf.__version__)
    assert surface.main(["--check"]) == 0
    wider = {**SURFACE, "icf.Loss.name": Promise("str | None", required=True)}
    monkeypatch.setattr(surface, "list_public_names", lambda: wider)
    assert surface.main([]) == 1
    assert "icf.Loss.name was 'str' and is 'str | None'" in capsys.readouterr().out
    assert surface.main(["icf.Loss.name"]) == 0
    assert surface.read_record()["icf.Loss.name"] == {"since": "0.1", "type": "str | None", "required": True}
