from __future__ import annotations

import json
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from icf.cli.main import main
from icf.local import restore_local_plugins
from icf.pipeline.files import read_json
from icf.plan import load_plan
from runs import MAIN, find_run, isolated
from training import save_digits

TEAM = Path(__file__).parents[1] / "baseline_team"

RECIPE = """
[dataset]
use = "images/folder"
root = "photos"

[transforms]
image_size = 16
train = [{ use = "baseline/transform", name = "CustomAugmentation", args = { noise = 0.02 } }]

[model]
use = "baseline/model"
name = "BlockNet"
args = { width = 16 }

[loss]
use = "baseline/loss"
name = "label_smoothing"
args = { smoothing = 0.1 }

[optimizer]
use = "optimizer/adamw"
lr = 0.02

[split]
folds = 2

[train]
epochs = 12
batch_size = 16

[compute]
threads = 1
precision = "fp32"
executor = "inline"
"""

HOOKS = """
    import icf

    @icf.hookimpl
    def icf_losses():
        yield icf.Loss(name="plain", factory="losses:build", summary="Cross-entropy")
"""

LOSSES = """
    from torch import nn
    from utils import make

    def build(params, ctx):
        return make(nn)
"""


HEAVY = """
    import icf
    from torch import nn

    @icf.hookimpl
    def icf_losses():
        yield icf.Loss(name="plain", factory=":build", summary="Cross-entropy")

    def build(params, ctx):
        return nn.CrossEntropyLoss()
"""


@pytest.fixture(autouse=True)
def surroundings(tmp_path, tmp_path_factory, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("faces.toml").write_text(RECIPE)
    with isolated(monkeypatch, tmp_path_factory.getbasetemp() / "baseline-cache"):
        yield
    restore_local_plugins(())


@pytest.fixture
def team() -> Path:
    return Path(shutil.copytree(TEAM, "team", ignore=shutil.ignore_patterns("__pycache__")))


def write_plugin(folder: str = "my_team") -> str:
    Path(folder).mkdir()
    Path(folder, "plugin.py").write_text(textwrap.dedent(HOOKS))
    Path(folder, "losses.py").write_text(textwrap.dedent(LOSSES))
    Path(folder, "utils.py").write_text("def make(nn):\n    return nn.CrossEntropyLoss()\n")
    return f"./{folder}"


def run_icf(*arguments: str) -> str:
    """Run a command as a person would, in a process of its own that knows nothing of the team's folder."""
    done = subprocess.run(
        [sys.executable, "-c", MAIN, *arguments], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_teams_folder_is_checked_trained_here_and_in_workers_and_predicts(team, capsys):
    images = [str(path) for path in save_digits(Path("photos"), range(200), scale=2)[:3]]
    assert "ready: icf run faces.toml --plugin team" in run_icf("check", "faces.toml", "--plugin", "team")
    scores = {}
    for executor in ("inline", "process", "ray-task"):
        setting = ["--set", f'compute.executor="{executor}"']
        run_icf("run", "faces.toml", "--plugin", "team", "--runs", executor, "--quiet", *setting)
        run_dir = find_run(Path(executor))
        assert read_json(run_dir / "placement.json")["executor"] == executor
        scores[executor] = read_json(run_dir / "metrics.json")["oof"]
    assert scores["inline"] == scores["process"] == scores["ray-task"]
    assert scores["inline"]["metric/accuracy"]["value"] > 0.25
    [kept] = read_json(run_dir / "plan.json")["local_plugins"]
    assert kept["files"] == {path.name: path.read_text() for path in sorted(team.glob("*.py"))}

    assert main(["predict", "inline/faces", *images]) == 1
    assert "never executed by itself; name the folder again: --plugin team" in capsys.readouterr().err
    found = json.loads(run_icf("predict", "inline/faces", *images, "--plugin", "team", "--json"))
    assert [item["image"] for item in found["predictions"]] == images
    (team / "utils.py").write_text((team / "utils.py").read_text() + "# changed\n")
    assert main(["predict", "inline/faces", *images, "--plugin", "team"]) == 1
    assert "not the folder that the run used" in capsys.readouterr().err


def test_a_prediction_needs_no_folder_whose_model_was_not_used(team, capsys):
    images = [str(path) for path in save_digits(Path("photos"), range(60), scale=2)[:3]]
    own = 'use = "baseline/model"\nname = "BlockNet"\nargs = { width = 16 }'
    assert own in RECIPE
    Path("faces.toml").write_text(RECIPE.replace(own, 'use = "nn/sequential-cnn"\nwidths = [4]'))
    assert main(["run", "faces.toml", "--plugin", "team", "--quiet", "--set", "train.epochs=1"]) == 0, (
        capsys.readouterr().err
    )
    shutil.rmtree(team)
    assert main(["predict", "runs/faces", *images]) == 0, capsys.readouterr().err


def test_a_changed_file_is_another_run(team):
    plans = []
    for _ in range(2):
        plans.append(load_plan(Path("faces.toml"), plugin_files=[team]))
        (team / "utils.py").write_text((team / "utils.py").read_text() + "# changed\n")
    assert plans[0].identity != plans[1].identity
    assert plans[0].model.params == {"name": "BlockNet", "args": {"width": 16}, "module": "model"}


def test_a_recipe_can_not_name_the_folder_and_says_who_must(capsys):
    assert main(["run", "faces.toml"]) == 1
    error = capsys.readouterr().err
    assert "baseline/loss, baseline/model and baseline/transform take their code from a folder" in error
    assert "never in a recipe: --plugin FOLDER" in error


def test_the_folder_may_have_the_adapters_own_name(team, capsys):
    team.rename("baseline")
    assert main(["check", "faces.toml", "--recipe-only", "--plugin", "baseline"]) == 0, capsys.readouterr().err


def test_a_folder_is_listed_with_its_modules(team, capsys):
    assert main(["list-plugins", "--strict", "--plugin", "team"]) == 0
    [row] = [line for line in capsys.readouterr().out.splitlines() if "team/" in line]
    name, folder, _version, *rest = row.split()
    assert (name, folder, " ".join(rest)) == ("-", "team/", "ok code for an adapter: dataset, loss, model, utils")
    assert main(["list-plugins", "--json", "--plugin", "team"]) == 0
    [folder] = json.loads(capsys.readouterr().out)["folders"]
    assert (folder["path"], folder["modules"]) == ("team", ["dataset", "loss", "model", "utils"])


def test_a_folder_with_hooks_is_listed_described_and_used(capsys):
    folder = write_plugin()
    assert main(["list-plugins", "--strict", "--plugin", folder]) == 0
    [row] = [line for line in capsys.readouterr().out.splitlines() if line.startswith("my-team ")]
    assert row.split()[1] == "my_team/"
    assert row.rstrip().endswith("loss: plain")
    assert main(["describe", "my-team/plain", "--plugin", folder]) == 0
    assert "Cross-entropy" in capsys.readouterr().out


def test_local_plugins_are_checked_like_installed_ones(capsys):
    folder = write_plugin()
    assert main(["check-plugin", folder]) == 0, capsys.readouterr().out
    assert "14 checks: 14 ok" in capsys.readouterr().out.splitlines()[-1]
    Path("my_loss.py").write_text(textwrap.dedent(HEAVY))
    assert main(["check-plugin", "my_loss.py", "--json"]) == 1
    checks = json.loads(capsys.readouterr().out)["checks"]
    [failed] = [item for item in checks if item["outcome"] == "failed"]
    assert failed["check"] == "light-import"
    assert "imports torch; import it in the module that the factory names, or in the factory" in failed["reason"]
    Path("broken.py").write_text("def f(:\n")
    assert main(["check-plugin", "./broken.py"]) == 1
    assert "SyntaxError" in capsys.readouterr().out
    assert main(["check-plugin", "./gone.py"]) == 1
    assert "can't be read: No such file" in capsys.readouterr().err


def test_a_teams_modules_are_checked_in_the_adapter(team, capsys):
    assert main(["check-plugin", "./team"]) == 1
    error = capsys.readouterr().err
    assert "has no plugin.py" in error
    assert "icf check-plugin baseline --plugin ./team --set model/model.name=CLASS" in error
    command = ["check-plugin", "baseline", "--plugin", "./team"]
    assert main([*command, "--set", "model/model.name=SmallNet", "--json"]) == 0
    checks = json.loads(capsys.readouterr().out)["checks"]
    outcomes = {item["outcome"] for item in checks if item["component"] == "model/model"}
    assert outcomes == {"ok"}
    assert main([*command, "--set", "model/model.name=ThreeHeads"]) == 1
    assert "several heads must be joined" in capsys.readouterr().out
