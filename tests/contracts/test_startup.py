from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = {
    "PIL",
    "albumentations",
    "cv2",
    "pandas",
    "pyarrow",
    "ray",
    "sklearn",
    "tensorboard",
    "timm",
    "torch",
    "torchvision",
}

COMMAND = """
import json, sys
from icf.cli.main import main
code = main(sys.argv[1:])
print(json.dumps([code, sorted({name.partition(".")[0] for name in sys.modules})]), file=sys.stderr)
"""


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["submit", "--help"],
        ["jobs", "--help"],
        ["jobs", "follow", "--help"],
        ["list-plugins"],
        ["describe", "loss/cross-entropy"],
        ["describe", "timm/model"],
        ["new-plugin", "fresh", "--into", "{folder}"],
    ],
)
def test_commands_that_only_tell_import_nothing_heavy(arguments, tmp_path):
    arguments = [argument.format(folder=tmp_path) for argument in arguments]
    found = subprocess.run(
        [sys.executable, "-c", COMMAND, *arguments], capture_output=True, text=True, check=True, timeout=120
    )
    code, imported = json.loads(found.stderr.splitlines()[-1])
    assert code == 0
    assert HEAVY & set(imported) == set()


def test_resolving_a_recipe_imports_nothing_heavy(tmp_path):
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('model = "timm/model"\n[dataset]\nuse = "sklearn/digits"\n')
    command = """
import json, sys
from pathlib import Path
from icf.plan import load_plan
load_plan(Path(sys.argv[1]))
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""
    found = subprocess.run(
        [sys.executable, "-c", command, recipe], capture_output=True, text=True, check=False, timeout=120
    )
    assert found.returncode == 0, found.stderr
    imported = set(json.loads(found.stdout))
    assert "icf_timm" in imported
    assert "icf_tensorboard" not in imported
    assert HEAVY & imported == set()
