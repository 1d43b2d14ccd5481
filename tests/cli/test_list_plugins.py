from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import distributions
import icf
from icf.cli import main as cli

installer = pytest.fixture(distributions.installer)

FRAMEWORK = Path(__file__).parents[2] / "framework"

PLUGIN = """
    from typing import Annotated, Literal

    import icf
    from pydantic import Field

    class PolyParams(icf.Params):
        epsilon: float = Field(default=1.0, ge=-1, lt=10, description="weight of the [first] term")
        mode: Literal["a", "b"] = Field(default="a", description="which")
        parts: tuple[Annotated[int, Field(gt=0)], ...] | None = Field(default=None, max_length=3)
        name: str

    @icf.hookimpl
    def icf_losses():
        yield icf.Loss(name="poly", factory="{module}:build", params=PolyParams, summary="PolyLoss [2022]")
        yield icf.Loss(name="old", factory="{module}:build", summary="Old", deprecated="use sample/poly")

    @icf.hookimpl
    def icf_epoch_end(event):
        pass
"""


@pytest.fixture
def sample(installer) -> None:
    installer.install("sample-dist", {"sample": PLUGIN}, version="2.1")


def run(capsys, *arguments: str) -> tuple[int, str, str]:
    code = cli.main(arguments)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.mark.usefixtures("sample")
def test_a_row_says_source_status_and_components(capsys):
    code, out, _ = run(capsys, "list-plugins")
    [row] = [line for line in out.splitlines() if line.strip().startswith("sample ")]
    assert code == 0
    assert row.split() == ["sample", "sample-dist", "2.1", "ok", "loss:", "poly,", "old", "(deprecated);", "observer"]


def test_a_broken_plugin_is_one_line_and_an_error_only_if_strict(capsys, installer):
    installer.install("broken-dist", {"broken": "raise RuntimeError('a\\nb')"})
    code, out, err = run(capsys, "list-plugins")
    assert code == 0
    assert "plugin 'broken' (broken-dist 1.0) does not load: RuntimeError: a b" in err.splitlines()
    assert "failed" in out
    assert run(capsys, "list-plugins", "--strict")[0] == 1


def test_json_keeps_its_keys(capsys, installer, sample):
    installer.install("broken-dist", {"broken": "1 / 0"})
    code, out, _ = run(capsys, "list-plugins", "--json")
    content = json.loads(out)
    plugins = {plugin["name"]: plugin for plugin in content["plugins"]}
    assert code == 0
    assert (content["format"], content["icf"]) == (1, icf.__version__)
    assert plugins["sample"] == {
        "name": "sample",
        "distribution": "sample-dist",
        "version": "2.1",
        "module": "sample",
        "status": "ok",
        "reason": None,
        "events": ["icf_epoch_end"],
        "components": [
            {"kind": "loss", "name": "poly", "summary": "PolyLoss [2022]", "deprecated": None},
            {"kind": "loss", "name": "old", "summary": "Old", "deprecated": "use sample/poly"},
        ],
    }
    assert (plugins["broken"]["status"], plugins["broken"]["reason"]) == (
        "failed",
        "ZeroDivisionError: division by zero",
    )


@pytest.mark.usefixtures("sample")
def test_no_plugin_blocks_one(capsys):
    code, out, err = run(capsys, "list-plugins", "--no-plugin", "sample", "--json")
    assert code == 0
    assert {"sample": "blocked"}.items() <= {p["name"]: p["status"] for p in json.loads(out)["plugins"]}.items()
    assert "plugin 'sample' (sample-dist 2.1) is blocked: as requested" in err
    assert "sample" not in sys.modules
    code, _, err = run(capsys, "list-plugins", "--no-plugin", "sampel")
    assert code == 2
    assert "did you mean 'sample'" in err


@pytest.mark.usefixtures("sample")
def test_describe_a_component(capsys):
    code, out, _ = run(capsys, "describe", "sample/poly")
    rows = {line.split()[0]: " ".join(line.split()) for line in out.splitlines() if line.strip()}
    assert code == 0
    assert "sample/poly (loss), from sample-dist 2.1, sample:build" in out
    assert "PolyLoss [2022]" in out
    assert rows["epsilon"] == "epsilon number 1.0 >= -1, < 10 weight of the [first] term"
    assert rows["mode"] == 'mode "a" | "b" "a" which'
    assert rows["parts"] == "parts array of whole number or none none length <= 3, > 0"
    assert rows["name"] == "name string required"


@pytest.mark.usefixtures("sample")
def test_describe_as_json(capsys):
    [component] = json.loads(run(capsys, "describe", "sample/poly", "--json")[1])["components"]
    assert {key: component[key] for key in ("ref", "kind", "factory", "distribution", "version")} == {
        "ref": "sample/poly",
        "kind": "loss",
        "factory": "sample:build",
        "distribution": "sample-dist",
        "version": "2.1",
    }
    assert component["parameters"][0] == {
        "name": "epsilon",
        "type": "number",
        "required": False,
        "default": 1.0,
        "bounds": ">= -1, < 10",
        "description": "weight of the [first] term",
    }


@pytest.mark.usefixtures("sample")
def test_describe_a_plugin_and_what_does_not_exist(capsys):
    code, out, _ = run(capsys, "describe", "sample")
    assert code == 0
    assert "sample/poly" in out
    assert "deprecated: use sample/poly" in out
    assert 'observers = ["sample"]' in out
    for name, hint in (("sampel", "'sample'"), ("sample/ploy", "'sample/poly'")):
        code, _, err = run(capsys, "describe", name)
        assert code == 1
        assert f"did you mean {hint}" in err


def test_version_help_and_wrong_usage(capsys):
    assert run(capsys, "--version") == (0, f"icf {icf.__version__}\n", "")
    assert "list-plugins" in run(capsys)[1]
    code, out, err = run(capsys, "lst-plugins")
    assert (code, out) == (2, "")
    assert "error: No such command 'lst-plugins'" in err


# -- what a person sees when something goes wrong ---------------------------------------------------


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (icf.DataError("no images in data"), 1, "error: no images in data\n"),
        (icf.errors.RecipeError("bad", [icf.Problem("a.b", "c")]), 2, "error: bad: 1 problem\n  a.b: c\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
    ],
)
def test_errors_for_people(capsys, monkeypatch, error, code, text):
    def fail(**_options):
        raise error

    monkeypatch.setattr(cli, "app", fail)
    assert run(capsys) == (code, "", text)


def test_a_bug_is_two_lines_and_a_file_with_the_traceback(capsys, monkeypatch, tmp_path):
    def fail(**_options):
        raise KeyError("lost\nkey")

    monkeypatch.setattr(cli, "app", fail)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    code, _, err = run(capsys)
    first, second = err.splitlines()
    assert code == 70
    assert first.startswith("unexpected error: KeyError")
    assert "this is a bug in icf or a plugin" in second
    [file] = tmp_path.iterdir()
    assert second.endswith(str(file))
    assert "in fail" in file.read_text()
    monkeypatch.setenv("ICF_DEBUG", "1")
    assert "Traceback" in run(capsys)[2]


COMMAND = "import sys; from icf.cli.main import main; sys.exit(main())"


def test_a_reader_that_goes_away_is_no_error():
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, "list-plugins", "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.close()
    assert b"Traceback" not in process.communicate()[1]
    assert process.returncode in {1, 141}


def test_an_interrupt_is_one_line(tmp_path: Path):
    folder = tmp_path / "slow_dist-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: slow-dist\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text("[icf]\nslow = slow_plugin\n")
    (tmp_path / "slow_plugin.py").write_text("import time\nprint('ready', flush=True)\ntime.sleep(60)")
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, "describe", "slow"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    assert process.communicate()[1].splitlines()[-1:] == ["interrupted"]
    assert process.returncode == 130


def import_main() -> str:
    """Return the line with which the installed script ``icf`` begins."""
    scripts = tomllib.loads((FRAMEWORK.parent / "pyproject.toml").read_text())["project"]["scripts"]
    module, name = scripts["icf"].split(":")
    return f"from {module} import {name}"


def test_an_interrupt_is_one_line_while_python_still_imports(tmp_path: Path):
    (tmp_path / "icf").mkdir()
    (tmp_path / "icf" / "__init__.py").write_text("import time\nprint('ready', flush=True)\ntime.sleep(60)")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(FRAMEWORK)])}
    command = [sys.executable, "-c", f"import sys; {import_main()}; sys.exit(main())"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, cwd=tmp_path, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    assert process.communicate()[1] == "interrupted\n"
    assert process.returncode == 130


# -- the schema of --json ---------------------------------------------------------------------------

DOCS = Path(__file__).parents[2] / "docs/plugins"


def read_schema(name: str) -> dict[str, Any]:
    """Return a published schema, without room for keys that it does not name."""
    schema = json.loads((DOCS / f"{name}.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    closed = {"additionalProperties": False}
    parts = {part: text | closed if "properties" in text else text for part, text in schema["$defs"].items()}
    return schema | closed | {"$defs": parts}


@pytest.mark.parametrize(
    ("arguments", "schema"),
    [
        (["list-plugins", "--no-plugin", "timm"], "list-plugins"),
        (["list-plugins", "--plugin", "team"], "list-plugins"),
        (["describe", "sample"], "list-plugins"),
        (["describe", "sample/poly"], "describe"),
        (["describe", "loss/focal"], "describe"),
        (["describe", "timm/model"], "describe"),
    ],
)
@pytest.mark.usefixtures("sample")
def test_json_is_what_its_schema_says(arguments, schema, capsys, installer, tmp_path, monkeypatch):
    installer.install("broken-dist", {"broken": "1 / 0"})
    monkeypatch.chdir(tmp_path)
    (tmp_path / "team").mkdir()
    (tmp_path / "team/model.py").write_text("LAYERS = 3\n")
    code, out, _ = run(capsys, *arguments, "--json")
    assert code == 0
    jsonschema.validate(json.loads(out), read_schema(schema))
    assert [folder["modules"] for folder in json.loads(out).get("folders", [])] == [["model"]] * ("team" in arguments)


@pytest.mark.parametrize("change", [{"format": 2}, {"plugins": [{}]}, {"more": 1}])
def test_the_schema_refuses_what_is_wrong(change, capsys):
    content = json.loads(run(capsys, "list-plugins", "--json")[1])
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(content | change, read_schema("list-plugins"))
