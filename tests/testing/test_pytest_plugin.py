from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib

import pytest

import distributions
from icf.cli.new_plugin import TEMPLATE

installer = pytest.fixture(distributions.installer)

EXPECTED = """
from icf.testing import parametrize_with_checks

@parametrize_with_checks("poly", expected_failures={"loss/poly:fields-explained": "planted", "loss/poly:mean": "wrong"})
def test_conformance(check, tmp_path):
    check(tmp_path)
"""

REGISTER = """
import icf_example.plugin

pytest_plugins = ["icf.testing.fixtures"]

def test_hooks(icf_register):
    assert "poly" in [component.name for component in icf_register(icf_example.plugin).components]
"""

LOSS = """
    import icf

    class PolyParams(icf.Params):
        epsilon: float = 1.0

    @icf.hookimpl
    def icf_losses():
        yield icf.Loss(name="poly", factory="poly_plugin:build", params=PolyParams, summary="")

    def build(params, ctx):
        from torch.nn.functional import cross_entropy
        return cross_entropy
"""


def run_pytest(folder, *options):
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-rA",
        "-p",
        "no:cacheprovider",
        "--rootdir",
        str(folder),
        *options,
    ]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "ICF_CACHE": str(folder),
        "OMP_NUM_THREADS": "1",
    }
    found = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    return found.returncode, found.stdout


def test_the_template_passes_the_tests_that_the_guide_shows(installer, tmp_path, monkeypatch):
    project = tomllib.loads((TEMPLATE / "pyproject.toml").read_text())["project"]
    installer.install(project["name"], {}, version=project["version"], entry_points=project["entry-points"]["icf"])
    monkeypatch.syspath_prepend(TEMPLATE / "src")
    shutil.copytree(TEMPLATE / "tests", tmp_path / "tests")
    shutil.copy(TEMPLATE / "recipe.toml", tmp_path)
    (tmp_path / "tests/test_register.py").write_text(REGISTER)
    code, told = run_pytest(tmp_path, *(f"tests/test_{name}.py" for name in ("conformance", "loss", "register")))
    assert code == 0, told
    assert "PASSED tests/test_conformance.py::test_the_plugin_keeps_the_contract[loss/poly:gradient]" in told
    assert "PASSED tests/test_loss.py::test_a_recipe_with_poly_trains" in told
    assert "PASSED tests/test_register.py::test_hooks" in told
    assert re.search(r"^\d+ passed", told.splitlines()[-1]), "none is skipped"


def test_expected_failures_are_strict_for_pytest(installer, tmp_path):
    installer.install("poly-dist", {"poly_plugin": LOSS}, entry_points={"poly": "poly_plugin"})
    (tmp_path / "test_expected.py").write_text(EXPECTED)
    code, told = run_pytest(tmp_path, "test_expected.py")
    assert code == 1
    assert "XFAIL test_expected.py::test_conformance[loss/poly:fields-explained] - planted" in told
    assert "[XPASS(strict)] wrong" in told
    assert "FAILED test_expected.py::test_conformance[loss/poly:summary] - icf.testing.ca" in told
    assert "CheckFailure: the summary is empty" in told
    assert "def expect" not in told, "the kit's own code is no help to the author of a plugin"
    assert "2 failed" in told
