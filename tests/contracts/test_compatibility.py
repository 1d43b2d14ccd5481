from __future__ import annotations

import json
from pathlib import Path

import pytest

import distributions
import icf
from contracts.public_surface import (
    CHANGELOG,
    COMMAND,
    find_breaks,
    list_surface,
    list_versions,
    read_deprecations,
    read_record,
)
from icf.cli.main import main
from training import DIGITS, SMALL

installer = pytest.fixture(distributions.installer)


def test_nothing_that_was_promised_is_gone_before_its_time() -> None:
    versions, unreleased = list_versions(CHANGELOG.read_text())
    assert find_breaks(read_record(), list_surface(), read_deprecations(), versions, unreleased) == []


def test_everything_that_is_promised_is_recorded() -> None:
    recorded = {name: entry["is"] for name, entry in read_record().items()}
    surface = list_surface()
    changed = sorted(name for name in recorded | surface if recorded.get(name) != surface.get(name))
    assert changed == [], f"the public surface has changed; record it: {COMMAND}"


def test_the_changelog_has_a_section_for_this_version() -> None:
    versions, unreleased = list_versions(CHANGELOG.read_text())
    assert icf.__version__.startswith(f"{versions[-1]}.")
    assert unreleased in (None, versions[-1])


def test_announced_ends_name_what_there_is_or_was() -> None:
    for name, end in read_deprecations().items():
        assert end.keys() == {"deprecated_in", "removed_in", "instead"}, name


VERSIONS = ["0.1", "0.2", "0.3", "0.4"]
OLD = {"a": {"is": "int, optional", "since": "0.1"}, "b": {"is": "class", "since": "0.4"}}
NOW = {"a": "int, optional", "b": "class"}


def end(deprecated_in: str, removed_in: str) -> dict[str, dict[str, str]]:
    return {"a": {"deprecated_in": deprecated_in, "removed_in": removed_in, "instead": "c"}}


@pytest.mark.parametrize(
    ("surface", "deprecations", "expected"),
    [
        (NOW, {}, ""),
        ({**NOW, "c": "class"}, {}, ""),
        ({"b": "class"}, {}, "a is gone, and was never deprecated"),
        ({**NOW, "a": "int, required"}, {}, "a was 'int, optional' and is 'int, required', and was never deprecated"),
        ({"b": "class"}, end("0.3", "0.5"), "a is gone, but its end is announced for 0.5"),
        ({"b": "class"}, end("0.3", "0.4"), "a is gone, after 1 minor versions with a warning, and not two"),
        ({"b": "class"}, end("0.2", "0.4"), ""),
        (NOW, end("0.2", "0.4"), ""),
        ({**NOW, "a.x": "int, required"}, {}, "a.x is new and required: give it a default"),
        ({**NOW, "a.x": "int, optional"}, {}, ""),
    ],
)
def test_what_may_change(surface: dict[str, str], deprecations: dict[str, dict[str, str]], expected: str) -> None:
    assert find_breaks(OLD, surface, deprecations, VERSIONS, "0.4") == ([expected] if expected else [])


def test_what_was_never_released_may_change_at_once() -> None:
    assert find_breaks(OLD, {"a": "int, optional"}, {}, VERSIONS, "0.4") == []
    assert find_breaks(OLD, {"a": "int, optional"}, {}, VERSIONS, None) == ["b is gone, and was never deprecated"]


def test_what_was_required_may_become_optional() -> None:
    recorded = {"a": {"is": "int, required", "since": "0.1"}}
    assert find_breaks(recorded, {"a": "int, optional"}, {}, VERSIONS, None) == []


def test_versions_are_read_from_the_changelog() -> None:
    text = "# Changelog\n\n## 0.3.0 (unreleased)\n\n## 0.2.1\n\n## 0.2.0\n\n## 0.1.0\n"
    assert list_versions(text) == (["0.1", "0.2", "0.3"], "0.3")


# -- a deprecated component -------------------------------------------------------------------------

OLD_LOSS = """
    import icf

    @icf.hookimpl
    def icf_losses():
        yield icf.Loss(name="old", factory="{module}:build", summary="Old", deprecated="use loss/cross-entropy")

    def build(params, ctx):
        from torch import nn

        return nn.CrossEntropyLoss()
"""
WARNING = "warning: loss: 'ancient/old' is deprecated: use loss/cross-entropy"


@pytest.fixture
def settings(installer: distributions.Installer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setenv("ICF_CACHE", str(tmp_path / "cache"))
    installer.install("ancient-dist", {"ancient": OLD_LOSS})
    texts = [*SMALL, "train.epochs=1", 'compute.executor="inline"', 'loss.use="ancient/old"']
    return [part for text in texts for part in ("--set", text)]


def test_run_and_its_report_warn_of_a_deprecated_component(
    settings: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", str(DIGITS), "--quiet", "--runs", str(tmp_path / "runs"), *settings]) == 0
    assert WARNING in capsys.readouterr().err.splitlines()
    [report] = (tmp_path / "runs").glob("*/*/report.html")
    assert "is deprecated: use loss/cross-entropy" in report.read_text()


@pytest.mark.parametrize("options", [[], ["--recipe-only"]])
def test_check_warns_of_a_deprecated_component(
    settings: list[str], options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", str(DIGITS), *options, *settings]) == 0
    assert WARNING in capsys.readouterr().out.splitlines()


@pytest.mark.usefixtures("settings")
def test_describe_and_list_plugins_say_so_too(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("ancient", "ancient/old"):
        assert main(["describe", name]) == 0
        assert "deprecated: use loss/cross-entropy" in capsys.readouterr().out
    assert main(["list-plugins"]) == 0
    [row] = [line for line in capsys.readouterr().out.splitlines() if line.startswith("ancient ")]
    assert row.rstrip().endswith("loss: old (deprecated)")
    assert main(["list-plugins", "--json"]) == 0
    [plugin] = [item for item in json.loads(capsys.readouterr().out)["plugins"] if item["name"] == "ancient"]
    assert [item["deprecated"] for item in plugin["components"]] == ["use loss/cross-entropy"]
