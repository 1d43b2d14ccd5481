"""Every row of docs/plugins/faults.md is tried: the fault is made, and icf must say what the page says."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import distributions
from icf.cli.main import main
from training import DIGITS, SMALL

installer = pytest.fixture(distributions.installer)

PAGE = Path(__file__).parents[2] / "docs/plugins/faults.md"
MAIN = "import sys; from icf.cli.main import main; sys.exit(main())"

GOOD = """
    import icf

    @icf.hookimpl
    def icf_losses():
        yield icf.Loss(name="plain", factory="good:build", summary="Cross-entropy")

    def build(params, ctx):
        from torch import nn

        return nn.CrossEntropyLoss()
"""

HOOK = """
    import icf

    @icf.hookimpl
    def icf_losses({argument}):
        {body}
"""

PLUGINS = {
    "import-error": "import no_such_package",
    "wrong-argument": HOOK.format(argument="settings", body="return []"),
    "unmarked": "def icf_losses(): return []",
    "unknown-hook": "import icf\n@icf.hookimpl\ndef icf_loses(): return []",
    "no-descriptor": HOOK.format(argument="", body="yield 'focal'"),
    "duplicate": HOOK.format(
        argument="", body='yield from [icf.Loss(name="poly", factory="m:f", summary="PolyLoss")] * 2'
    ),
    "bad-factory": HOOK.format(argument="", body='yield icf.Loss(name="poly", factory="m.f", summary="PolyLoss")'),
    "newer": "import icf\nicf_requires = '>=99'",
    "needs-newer": "from icf import SomethingNew",
    "blocked": GOOD,
}
"""Plugin -> its module; ``same`` comes on top, from two distributions."""


def read_table(heading: str) -> dict[str, list[str]]:
    """Return the rows of a section's table, by their first cell, without the marks of code."""
    _, _, section = PAGE.read_text(encoding="utf-8").partition(f"\n## {heading}\n")
    section = section.partition("\n## ")[0]
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| `")]
    cells = [[cell.strip().strip("`") for cell in row] for row in rows]
    return {row[0]: row[1:] for row in cells}


UNUSABLE = read_table("A plugin that can't be used")
COMPONENTS = read_table("A component that is wrong")
PARAMETERS = read_table("Parameters")


def spawn(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    surroundings = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment}
    command = [sys.executable, "-c", MAIN, *arguments]
    return subprocess.run(command, env=surroundings, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture
def faulty(installer: distributions.Installer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ICF_DISABLE_PLUGINS", "blocked")
    for name, code in PLUGINS.items():
        requires = ["icf>=99"] if name == "needs-newer" else []
        installer.install(f"{name}-dist", {name.replace("-", "_"): code}, requires=requires)
    for number in ("1.0", "2.0"):
        module = f"same_{number[0]}"
        installer.install(f"{module}-dist", {module: GOOD}, version=number, entry_points={"same": module})
    installer.install("good-dist", {"good": GOOD})


@pytest.mark.usefixtures("faulty")
def test_every_plugin_that_cannot_be_used_is_one_line_and_harms_no_other() -> None:
    assert UNUSABLE.keys() == {*PLUGINS, "same"}
    done = spawn("list-plugins", "--json")
    assert done.returncode == 0
    assert sorted(done.stderr.splitlines()) == sorted(line for _, line, _ in UNUSABLE.values())
    found = {plugin["name"]: plugin["status"] for plugin in json.loads(done.stdout)["plugins"]}
    assert {name: found.pop(name) for name in UNUSABLE} == {name: row[0] for name, row in UNUSABLE.items()}
    assert found["good"] == "ok"
    assert set(found.values()) == {"ok"}


@pytest.mark.usefixtures("faulty")
def test_strict_fails_for_faults_and_not_for_what_was_left_out() -> None:
    assert spawn("list-plugins", "--strict").returncode == 1
    everything = ",".join(UNUSABLE)
    done = spawn("list-plugins", "--strict", ICF_DISABLE_PLUGINS=everything)
    assert done.returncode == 0
    assert len(done.stderr.splitlines()) == len(UNUSABLE)


MISSPELT = PAGE.read_text(encoding="utf-8").partition("\nerror: --no-plugin")[2].partition("\n```")[0]
"""The page's lines about a name that blocks nothing."""


def test_a_misspelt_name_that_is_to_be_left_out_is_told() -> None:
    error, warning = f"error: --no-plugin{MISSPELT}".splitlines()
    for command in (["list-plugins"], ["check", "--recipe-only", str(DIGITS)], ["run", str(DIGITS)]):
        done = spawn(*command, "--no-plugin", "tensorbord")
        assert (done.returncode, done.stdout) == (2, done.stdout if command[0] == "run" else "")
        assert re.sub(r"(?<=allowed: ).*(?=\))", "NAMES", done.stderr) == f"{error}\n"
    for command in (["list-plugins", "--json"], ["describe", "loss"], ["check", "--recipe-only", str(DIGITS)]):
        done = spawn(*command, ICF_DISABLE_PLUGINS=" tensorbord,,timm")
        assert done.returncode == 0
        assert done.stderr.splitlines()[0] == warning
        assert "tensorbord" not in done.stdout + "".join(done.stderr.splitlines()[1:])


@pytest.mark.usefixtures("faulty")
@pytest.mark.parametrize("name", UNUSABLE)
def test_it_is_an_error_for_what_needs_it(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    _, line, advice = UNUSABLE[name]
    assert main(["describe", name]) == 1
    assert capsys.readouterr().err == f"error: {line}\n"
    for command in (["check", "--recipe-only"], ["run"]):
        assert main([*command, str(DIGITS), "--set", f"loss.use={name}/poly"]) == 2
        assert capsys.readouterr().err.splitlines()[1:] == [f"  loss: {line}"]
    assert advice


@pytest.mark.usefixtures("faulty")
def test_a_recipe_that_needs_none_of_them_runs_without_a_word(tmp_path: Path) -> None:
    settings = [*SMALL, "train.epochs=1", 'compute.executor="inline"', "loss.use=good/plain"]
    options = [part for setting in settings for part in ("--set", setting)]
    done = spawn("run", str(DIGITS), "--quiet", "--runs", str(tmp_path), *options, ICF_CACHE=str(tmp_path / "cache"))
    assert (done.returncode, done.stderr) == (0, "")


# -- components -------------------------------------------------------------------------------------

SAMPLE = """
    import icf
    from pydantic import Field, field_validator

    class BoundedParams(icf.Params):
        gamma: float = Field(default=1.0, ge=0, description="Focus")

    class WrongDefaultParams(icf.Params):
        gamma: float = Field(default=-1.0, ge=0, description="Focus")

    class CrashParams(icf.Params):
        gamma: float = Field(default=1.0, description="Focus")

        @field_validator("gamma")
        @classmethod
        def look(cls, value):
            raise KeyError("table")

    PARAMS = {"bounded": BoundedParams, "wrong-default": WrongDefaultParams, "crash-params": CrashParams}

    def offer(cls):
        import ast, pathlib
        parts = ast.parse(pathlib.Path(__file__).with_name("sample_parts.py").read_text())
        for part in parts.body:
            if isinstance(part, ast.FunctionDef) and part.name.startswith(cls.kind):
                name = part.name.replace("_", "-")
                yield cls(name=name, factory=f"sample_parts:{part.name}", summary="Wrong")

    @icf.hookimpl
    def icf_losses():
        yield from offer(icf.Loss)
        yield icf.Loss(name="loss-absent", factory="sample_parts:absent", summary="Not there")
        for name, params in PARAMS.items():
            yield icf.Loss(name=name, factory="sample_parts:loss_number", params=params, summary="Parameters")

    @icf.hookimpl
    def icf_datasets():
        yield from offer(icf.Dataset)

    @icf.hookimpl
    def icf_models():
        yield from offer(icf.Model)

    @icf.hookimpl
    def icf_schedulers():
        yield from offer(icf.Scheduler)

    @icf.hookimpl
    def icf_metrics():
        yield from offer(icf.Metric)

    @icf.hookimpl
    def icf_ensemblers():
        yield from offer(icf.Ensembler)

    @icf.hookimpl
    def icf_transforms():
        yield from offer(icf.Transform)

    @icf.hookimpl
    def icf_mixers():
        yield from offer(icf.Mixer)

    @icf.hookimpl
    def icf_optimizers():
        yield from offer(icf.Optimizer)

    @icf.hookimpl
    def icf_samplers():
        yield from offer(icf.Sampler)

    @icf.hookimpl
    def icf_epoch_end(event):
        raise RuntimeError("no disk")
"""

PARTS = """
    import sys
    from types import SimpleNamespace

    import numpy as np
    import torch
    from torch import nn

    import icf

    def dataset_none(params, ctx):
        return None

    def model_none(params, ctx):
        return None

    def model_logits(params, ctx):
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 3))

    def loss_raises(params, ctx):
        raise KeyError("gamma")

    def loss_exits(params, ctx):
        sys.exit(0)

    def loss_number(params, ctx):
        return 0.5

    def loss_rows(params, ctx):
        return nn.CrossEntropyLoss(reduction="none")

    def loss_detached(params, ctx):
        class Detached(nn.CrossEntropyLoss):
            def forward(self, logits, targets):
                return super().forward(logits.detach(), targets)

        return Detached()

    def optimizer_none(params, ctx):
        return None

    def scheduler_function(params, ctx):
        return lambda step: 1.0

    def scheduler_word(params, ctx):
        def ignore(*values):
            return {}

        return SimpleNamespace(
            factor=lambda step: "fast", observe=ignore, state_dict=ignore, load_state_dict=ignore
        )

    def sampler_rows(params, ctx):
        return np.arange(3)

    def sampler_outside(params, ctx):
        return lambda epoch: np.arange(len(ctx.targets) + 1)

    def transform_none(params, ctx):
        return None

    def transform_float(params, ctx):
        return lambda images, generator: images / 255

    def mixed(images, **changes):
        values = {"images": images, "partners": torch.arange(len(images)), "weight": 1.0}
        return icf.Mixed(**(values | changes))

    def mixer_none(params, ctx):
        return None

    def mixer_images(params, ctx):
        return lambda images, targets, generator: images

    def mixer_float(params, ctx):
        return lambda images, targets, generator: mixed(images / 255)

    def mixer_weights(params, ctx):
        return lambda images, targets, generator: mixed(images, weight=torch.ones(len(images)))

    def mixer_shares(params, ctx):
        return lambda images, targets, generator: mixed(images, partners=torch.ones(len(images)))

    def mixer_outside(params, ctx):
        return lambda images, targets, generator: mixed(images, partners=torch.arange(len(images)) + 1)

    def metric_number(params, ctx):
        return 0.5

    def metric_array(params, ctx):
        return lambda probabilities, targets: probabilities.max(axis=1)

    def metric_nan(params, ctx):
        return lambda probabilities, targets: float("nan")

    def ensembler_function(params, ctx):
        return lambda members: members.mean(axis=0)

    def ensembler_sum(params, ctx):
        return SimpleNamespace(fit=lambda members, targets: None, combine=lambda members: members.sum(axis=0))
"""

SECTIONS = {
    "ensembler": "ensemble",
    "metric": "metrics.select",
    "transform": "transforms.train",
    "mixer": "transforms.mix",
}


def choose(component: str) -> list[str]:
    kind = component.partition("-")[0]
    use = f'{{use="sample/{component}"}}'
    value = f"[{use}]" if kind in {"transform", "mixer"} else use
    settings = [*SMALL, "train.epochs=1", 'compute.executor="inline"', f"{SECTIONS.get(kind, kind)}={value}"]
    return [part for setting in settings for part in ("--set", setting)]


@pytest.fixture
def sample(installer: distributions.Installer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ICF_CACHE", str(tmp_path / "cache"))
    installer.install("sample-dist", {"sample": SAMPLE, "sample_parts": PARTS}, entry_points={"sample": "sample"})


def test_every_wrong_component_has_a_row() -> None:
    functions = re.findall(r"^    def (\w+)\(params, ctx\)", PARTS, re.MULTILINE)
    assert COMPONENTS.keys() == {"loss-absent", *(name.replace("_", "-") for name in functions)}


@pytest.mark.usefixtures("sample")
@pytest.mark.parametrize("component", COMPONENTS)
def test_check_says_what_is_wrong_with_a_component(component: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(DIGITS), *choose(component)]) == 1
    assert capsys.readouterr().err == f"error: {COMPONENTS[component][0]}\n"


@pytest.mark.usefixtures("sample")
@pytest.mark.parametrize(
    "component", ["dataset-none", "loss-absent", "metric-array", "ensembler-sum", "transform-none", "mixer-none"]
)
def test_run_stops_before_the_training(component: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(DIGITS), "--runs", str(tmp_path / "runs"), "--quiet", *choose(component)]) == 1
    assert capsys.readouterr().err == f"error: {COMPONENTS[component][0]}\n"
    assert not list((tmp_path / "runs").glob("*/*/folds/*"))


@pytest.mark.usefixtures("sample")
@pytest.mark.parametrize(
    ("component", "executor"), [("loss-raises", "inline"), ("scheduler-word", "inline"), ("loss-rows", "ray-task")]
)
def test_run_tells_what_all_folds_met_once(component: str, executor: str, tmp_path: Path) -> None:
    options = [*choose(component), "--set", f'compute.executor="{executor}"']
    done = spawn("run", str(DIGITS), "--runs", str(tmp_path / "runs"), "--quiet", *options)
    # A message may count the rows of a batch.
    line = re.sub(r"\d+", r"\\d+", re.escape(COMPONENTS[component][0].replace("on two images", "in training")))
    advice = "0 finished folds kept; to train the rest, type: icf run .* --retry"
    assert re.fullmatch(rf"error: 3 of 3 folds failed\n  folds 0, 1, 2: {line}\n{advice}\n", done.stderr)
    assert done.returncode == 1


@pytest.mark.usefixtures("sample")
@pytest.mark.parametrize("case", PARAMETERS)
def test_parameters_that_do_not_validate(case: str, capsys: pytest.CaptureFixture[str]) -> None:
    line, setting = PARAMETERS[case][0], "gamma=-1.0" if case == "bounded" else "gamma=1.0"
    values = "" if case == "wrong-default" else f", {setting}"
    loss = f'loss={{use="sample/{case}"{values}}}'
    for command in (["check", "--recipe-only"], ["run", "--quiet"]):
        assert main([*command, str(DIGITS), "--set", loss]) == 2
        assert capsys.readouterr().err.splitlines()[1:] == [f"  {line}"]


@pytest.mark.usefixtures("sample")
@pytest.mark.parametrize("quiet", [True, False])
def test_an_observer_that_raises_is_dropped_and_the_training_goes_on(tmp_path: Path, quiet: bool) -> None:
    _, _, section = PAGE.read_text(encoding="utf-8").partition("\n## An observer that raises\n")
    [line] = re.findall(r"^warning: (.*)$", section, re.MULTILINE)
    options = [part for text in (*SMALL, "train.epochs=2", 'observers=["sample"]') for part in ("--set", text)]
    more = ["--quiet"] if quiet else []
    done = spawn("run", str(DIGITS), "--runs", str(tmp_path / "runs"), *options, *more)
    assert done.returncode == 0
    assert done.stderr.splitlines().count(f"warning: {line}") == 1
    assert line not in done.stdout
    [report] = (tmp_path / "runs").glob("*/*/report.html")
    assert line.replace("'", "&#39;") in report.read_text()


@pytest.mark.parametrize("observer", ["raise SystemExit(0)", "raise RuntimeError('late')"])
def test_an_observer_of_the_end_that_raises_is_in_the_report(
    observer: str, installer: distributions.Installer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ICF_CACHE", str(tmp_path / "cache"))
    code = f"import icf\n@icf.hookimpl\ndef icf_run_end(event): {observer}"
    installer.install("late-dist", {"late": code})
    settings = [*SMALL, "train.epochs=1", 'observers=["late"]', 'compute.executor="inline"']
    options = [part for text in settings for part in ("--set", text)]
    assert main(["run", str(DIGITS), "--runs", str(tmp_path / "runs"), "--quiet", *options]) == 0
    [report] = (tmp_path / "runs").glob("*/*/report.html")
    assert "(late-dist 1.0) was dropped, because icf_run_end raised" in report.read_text()


def test_a_local_plugin_that_fails_is_named_with_its_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "my_loss.py"
    file.write_text("1 / 0")
    assert main(["check", "--recipe-only", str(DIGITS), "--plugin", str(file)]) == 1
    found = capsys.readouterr().err
    assert re.fullmatch(
        r"error: plugin 'my-loss' \(my_loss\.py [0-9a-f]{12}\) does not load: ZeroDivisionError: .*\n", found
    )
