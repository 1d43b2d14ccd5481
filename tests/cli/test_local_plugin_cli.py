from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from icf.cli.main import main
from icf.pipeline.files import read_json
from icf.plan import load_plan
from runs import find_run, isolated
from training import DIGITS

LOSS = '''
    """A loss for one experiment."""

    from __future__ import annotations

    import icf
    from pydantic import Field

    class SquareParams(icf.Params):
        scale: float = Field(default=1.0, gt=0, description="Factor of the loss")

    @icf.hookimpl
    def icf_losses():
        yield icf.Loss(name="square", factory=":square", params=SquareParams, summary="Squared error [Brier]")

    def square(params, ctx):
        import torch
        from torch.nn import functional

        class Square(torch.nn.Module):
            def forward(self, logits, targets):
                wanted = functional.one_hot(targets, logits.shape[1])
                return params.scale * ((logits.float().softmax(1) - wanted) ** 2).sum(1).mean()

        return Square()
'''

MODEL = """
    import icf

    @icf.hookimpl
    def icf_models():
        yield icf.Model(name="linear", factory="my_model:linear", summary="One layer")

    def linear(params, ctx):
        from torch import nn

        pixels = ctx.channels * ctx.image_size[0] * ctx.image_size[1]
        return nn.Sequential(nn.Flatten(), nn.Linear(pixels, ctx.num_classes))
"""

SMALL = (
    "dataset.test_share=0.8",
    "split.folds=2",
    "train.epochs=2",
    "train.batch_size=32",
    "compute.threads=1",
    'compute.precision="fp32"',
    "observers=[]",
)


@pytest.fixture(autouse=True)
def surroundings(tmp_path, tmp_path_factory, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with isolated(monkeypatch, tmp_path_factory.getbasetemp() / "local-plugin-cache"):
        yield


def write(path: str, code: str) -> str:
    Path(path).write_text(textwrap.dedent(code))
    return path


def options(*settings: str) -> list[str]:
    return [part for setting in (*SMALL, *settings) for part in ("--set", setting)]


def images(count: int = 3) -> list[str]:
    rng = np.random.default_rng(0)
    names = [f"{number}.png" for number in range(count)]
    for name in names:
        Image.fromarray(rng.integers(0, 255, (8, 8), dtype=np.uint8)).save(name)
    return names


def test_folds_trained_with_a_loss_from_a_file_are_the_same_here_and_in_workers(capsys):
    file = write("my_loss.py", LOSS)
    scores = {}
    for executor in ("inline", "process", "ray-task"):
        settings = options("loss=my-loss/square", f'compute.executor="{executor}"')
        command = ["run", str(DIGITS), "--plugin", file, "--runs", executor, "--quiet", *settings]
        assert main(command) == 0, capsys.readouterr().err
        run_dir = find_run(Path(executor))
        plan, metrics = read_json(run_dir / "plan.json"), read_json(run_dir / "metrics.json")
        assert plan["loss"]["ref"] == "my-loss/square"
        assert plan["local_plugins"][0]["files"]["my_loss.py"] == Path(file).read_text()
        scores[executor] = metrics["oof"]
    assert scores["inline"] == scores["process"] == scores["ray-task"]
    assert scores["inline"]["metric/macro-f1"]["value"] > 0.2


def test_a_prediction_executes_a_file_only_when_it_is_named_again(capsys):
    file, names = write("my_model.py", MODEL), images()
    settings = options("model=my-model/linear", 'compute.executor="inline"')
    # A setting of the network that the recipe had chosen is not one of this model.
    text = DIGITS.read_text().replace("widths = [32, 64]\n", "")
    Path("digits.toml").write_text(text)
    assert main(["run", "digits.toml", "--plugin", file, "--quiet", *settings]) == 0, capsys.readouterr().err
    run_dir = str(find_run(Path("runs")))
    capsys.readouterr()

    assert main(["predict", run_dir, *names]) == 1
    assert "never executed by itself; name the file again: --plugin my_model.py" in capsys.readouterr().err
    assert main(["predict", run_dir, *names, "--plugin", file, "--json"]) == 0
    assert [item["image"] for item in json.loads(capsys.readouterr().out)["predictions"]] == names
    Path(file).write_text(Path(file).read_text() + "# changed\n")
    assert main(["predict", run_dir, *names, "--plugin", file]) == 1
    assert "not the file that the run used" in capsys.readouterr().err


def test_a_prediction_needs_no_loss(capsys):
    file, names = write("my_loss.py", LOSS), images()
    settings = options("loss=my-loss/square", 'compute.executor="inline"')
    assert main(["run", str(DIGITS), "--plugin", file, "--quiet", *settings]) == 0
    os.remove(file)
    capsys.readouterr()
    assert main(["predict", "runs/digits", *names, "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["predictions"]) == len(names)


def test_check_takes_the_file_and_repeats_it_in_its_advice(capsys):
    file = write("my_loss.py", LOSS)
    assert main(["check", str(DIGITS), "--plugin", file, *options("loss=my-loss/square")]) == 0
    assert "--set loss=my-loss/square --plugin my_loss.py" in " ".join(capsys.readouterr().out.split())


def test_check_of_the_recipe_alone_shows_parameters_of_the_file(capsys):
    file = write("my_loss.py", LOSS)
    command = ["check", str(DIGITS), "--recipe-only", "--plugin", file, "--set", "loss=my-loss/square", "--json"]
    assert main(command) == 0
    assert json.loads(capsys.readouterr().out)["filled"]["loss"] == {"use": "my-loss/square", "scale": 1.0}
    assert main([*command, "--set", "loss.scale=0"]) == 2
    assert "loss.scale: found 0; must be greater than 0" in capsys.readouterr().err


def test_the_file_is_listed_and_described(capsys):
    file = write("my_loss.py", LOSS)
    assert main(["list-plugins", "--plugin", file, "--strict"]) == 0
    [row] = [line for line in capsys.readouterr().out.splitlines() if line.startswith("my-loss ")]
    assert row.split()[1:2] + row.split()[3:] == ["my_loss.py", "ok", "loss:", "square"]
    assert main(["describe", "my-loss/square", "--plugin", file]) == 0
    assert "Factor of the loss" in capsys.readouterr().out
    assert main(["describe", "my-loss/square"]) == 1
    assert "no plugin 'my-loss' is installed" in capsys.readouterr().err


def test_mistakes_are_one_line(capsys):
    assert main(["list-plugins", "--plugin", "gone.py"]) == 1
    assert capsys.readouterr().err == "error: --plugin gone.py: can't be read: No such file or directory\n"
    file = write("loss.py", LOSS)
    assert main(["run", str(DIGITS), "--plugin", file]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "is in conflict: the name is claimed by icf 0.1.0 and loss.py" in error


def test_the_file_of_the_plugin_guide_works(capsys):
    guide = (Path(__file__).parents[2] / "docs" / "plugins" / "writing.md").read_text()
    [code] = [block for block in re.findall(r"```python\n(.*?)```", guide, re.DOTALL) if '":build_poly"' in block]
    write("my_loss.py", code)
    command = ["check", str(DIGITS), "--plugin", "my_loss.py", "--set", "loss.use=my-loss/poly"]
    assert main(command) == 0, capsys.readouterr().err


def test_a_stored_plan_runs_in_another_process(tmp_path):
    file = Path(write("my_loss.py", LOSS))
    plan = load_plan(DIGITS, [*SMALL, "loss=my-loss/square", 'compute.executor="inline"'], plugin_files=[file])
    Path("plan.json").write_text(plan.to_json())
    file.unlink()
    code = """
from pathlib import Path
from icf.executors import choose_executor
from icf.pipeline.listener import Listener
from icf.pipeline.run import run_pipeline
from icf.plan import Plan
plan = Plan.from_json(Path("plan.json").read_text())
print(run_pipeline(plan, Path("runs"), choose_executor, Listener()).run_dir)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()) == find_run(Path("runs")).resolve()
