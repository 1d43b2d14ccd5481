from __future__ import annotations

import json
from pathlib import Path

import pytest

import distributions
from icf.cli.main import main
from training import DIGITS, SMALL

installer = pytest.fixture(distributions.installer)

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
