from __future__ import annotations

import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

import icf

ROOT = Path(__file__).parents[2]
PACKAGES = sorted(path.parent.name for path in (ROOT / "plugins").glob("*/__init__.py"))
POINTS = {package.removeprefix("icf_"): f"{package}.plugin" for package in PACKAGES}


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_there_are_plugins_and_each_has_its_hooks():
    assert PACKAGES
    assert [name for name in PACKAGES if not (ROOT / "plugins" / name / "plugin.py").is_file()] == []


def test_the_wheel_holds_every_package(project):
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert packages == ["framework/icf", "framework/icf_command.py", *(f"plugins/{name}" for name in PACKAGES)]


def test_every_plugin_has_an_entry_point(project):
    assert project["project"]["entry-points"]["icf"] == POINTS


def test_the_installed_entry_points_are_those_of_the_project():
    points = metadata.distribution("icf").entry_points.select(group="icf")
    assert {point.name: point.value for point in points} == POINTS


def test_the_type_checker_sees_every_package(project):
    assert project["tool"]["mypy"]["packages"] == ["icf", *PACKAGES, "docs.reference", "benchmarks"]


def test_the_import_linter_sees_every_package(project):
    linter = project["tool"]["importlinter"]
    assert linter["root_packages"] == ["icf", *PACKAGES]
    contracts = {contract["name"]: contract for contract in linter["contracts"]}
    assert contracts["Plugins never import each other"]["modules"] == PACKAGES
    assert contracts["Plugins use only the public names of icf"]["source_modules"] == PACKAGES


def test_the_version_is_the_same_everywhere(project):
    assert project["project"]["version"] == icf.__version__ == metadata.version("icf")


def test_types_are_shipped():
    assert (ROOT / "framework" / "icf" / "py.typed").is_file()


def test_ci_runs_the_command_that_the_readme_shows() -> None:
    commands = [line for line in (ROOT / ".ci" / "run").read_text().splitlines() if "tox" in line]
    assert commands
    assert all(command in (ROOT / "README.md").read_text() for command in commands)
