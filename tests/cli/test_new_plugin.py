from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import distributions
import icf
from icf.cli.main import main
from icf.cli.new_plugin import CHOICES, TEMPLATE, render
from icf.components import KINDS
from icf.errors import PluginError
from icf.plan import make_plan
from icf.plugins import Status, load_plugins

installer = pytest.fixture(distributions.installer)

MAIN = "import sys; from icf.cli.main import main; sys.exit(main())"


def write_plugin(tmp_path: Path, name: str, *kinds: str) -> Path:
    options = [part for kind in kinds for part in ("--kind", kind)]
    assert main(["new-plugin", name, "--into", str(tmp_path), *options]) == 0
    return tmp_path / f"icf-{name}"


def spawn(folder: Path, site: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    surroundings = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "ICF_CACHE": str(site / "cache")}
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, cwd=folder, env=surroundings, capture_output=True, text=True, check=False, timeout=300
    )


def install(folder: Path, site: Path) -> None:
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--disable-pip-version-check", "--target", str(site)]
    done = spawn(folder, site, "-m", "pip", "install", *options, str(folder))
    assert done.returncode == 0, done.stderr


def run_tests(folder: Path, site: Path) -> str:
    done = spawn(folder, site, "-m", "pytest", "-q", "-p", "no:cacheprovider")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("site")


def test_the_template_is_a_distribution_that_passes_its_own_tests(site):
    install(TEMPLATE, site)
    assert re.search(r"^\d+ passed", run_tests(TEMPLATE, site).splitlines()[-1])
    done = spawn(TEMPLATE, site, "-c", MAIN, "describe", "example", "--json")
    [plugin] = json.loads(done.stdout)["plugins"]
    assert (plugin["distribution"], plugin["status"]) == ("icf-example", "ok")
    assert {item["kind"] for item in plugin["components"]} == set(KINDS)


@pytest.mark.parametrize("kinds", [("loss", "dataset"), ("observer",), ()], ids="-".join)
def test_what_is_written_installs_explains_itself_passes_its_tests_and_runs(kinds, tmp_path):
    folder, site = write_plugin(tmp_path, "my-parts", *kinds), tmp_path / "site"
    install(folder, site)
    run_tests(folder, site)

    listed = spawn(folder, site, "-c", MAIN, "list-plugins", "--json", "--strict")
    assert listed.returncode == 0, listed.stderr
    [plugin] = [item for item in json.loads(listed.stdout)["plugins"] if item["name"] == "my-parts"]
    assert (plugin["distribution"], plugin["status"]) == ("icf-my-parts", "ok")
    assert {item["kind"] for item in plugin["components"]} == set(kinds or CHOICES) - {"observer"}

    for item in plugin["components"][:1]:
        described = spawn(folder, site, "-c", MAIN, "describe", f"my-parts/{item['name']}")
        assert f"my-parts/{item['name']} ({item['kind']}), from icf-my-parts 0.1.0" in described.stdout

    settings = ("--set", "train.epochs=1", "--set", 'compute.executor="inline"')
    done = spawn(folder, site, "-c", MAIN, "run", "recipe.toml", "--runs", str(tmp_path / "runs"), "--quiet", *settings)
    assert done.returncode == 0, done.stderr
    [run_dir] = (tmp_path / "runs" / "recipe").iterdir()
    told = "observer" in (kinds or CHOICES)
    assert (run_dir / "my-parts.txt").exists() == told
    assert not told or len((run_dir / "my-parts.txt").read_text().splitlines()) == 2


@pytest.mark.parametrize("kind", CHOICES)
def test_every_kind_stands_alone(kind, tmp_path, installer, monkeypatch):
    name = f"only-{kind}"
    folder = write_plugin(tmp_path, name, kind)
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    installer.install(project["name"], {}, version=project["version"], entry_points=project["entry-points"]["icf"])
    monkeypatch.syspath_prepend(folder / "src")
    installer.modules += [f"icf_only_{kind}", f"icf_only_{kind}.plugin"]

    [plugin] = load_plugins(only=[name]).plugins
    assert plugin.status is Status.ok, plugin.problem
    assert [item.kind for item in plugin.components] == ([] if kind == "observer" else [kind])
    assert bool(plugin.events) == (kind == "observer")
    raw = tomllib.loads((folder / "recipe.toml").read_text())
    assert name in str(raw)
    make_plan(raw, load_plugins(), "recipe")
    tests = {path.name for path in (folder / "tests").iterdir()}
    assert tests == {"test_conformance.py", f"test_{kind}.py"}


@pytest.mark.parametrize("kinds", [CHOICES, ("loss",), ("observer",), ("metric", "dataset")], ids="-".join)
def test_nothing_of_the_template_is_left(kinds):
    files = dict(render("my-parts", kinds))
    assert {path.suffix for path in files} == {".py", ".toml", ".md", ".yml", ".typed"}
    for path, text in files.items():
        assert "example" not in f"{path} {text}"
        assert "# -- " not in text
        others = [kind for kind in KINDS if kind not in kinds]
        assert not any(re.search(rf"icf_my_parts\.{kind}\b|\| {kind} \|", text) for kind in others), path
        if path.suffix == ".py":
            assert_imports_are_used(path, text)


def assert_imports_are_used(path: Path, text: str) -> None:
    code = compile(text, str(path), "exec")
    assert code
    for name in re.findall(r"^(?:from (?!__future__)\S+ )?import (\w+)$", text, re.MULTILINE):
        assert len(re.findall(rf"\b{name}\b", text)) > 1, f"{path}: {name}"


def test_the_template_says_example_only_where_it_is_a_name():
    name = re.compile(
        r"""icf[_-]example|["`]example[/."`]|\b(describe|check-plugin) example$|^example = """, re.MULTILINE
    )
    for path, text in render("example", CHOICES):
        assert "example" not in name.sub("", text), path


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("My-Losses", "'My-Losses' can't be a plugin's name"),
        ("my_losses", "lower-case letters, digits and single hyphens"),
        ("../losses", "can't be a plugin's name"),
        ("x" * 41, "at most 40"),
        ("icf-poly", "the package is named icf-NAME by itself; use 'poly'"),
        ("loss", "icf has a plugin 'loss' already"),
    ],
)
def test_a_bad_name_is_refused_and_nothing_is_written(name, message, tmp_path, capsys):
    assert main(["new-plugin", name, "--into", str(tmp_path / "place")]) == 1
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_kind_that_is_none_is_refused(tmp_path, capsys):
    assert main(["new-plugin", "poly", "--kind", "losss", "--into", str(tmp_path)]) == 1
    assert "there is no kind 'losss'; did you mean 'loss'?" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten(tmp_path, capsys):
    folder = write_plugin(tmp_path, "poly", "loss")
    (folder / "README.md").write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    assert main(["new-plugin", "poly", "--into", str(tmp_path)]) == 1
    assert "exists already, and nothing is overwritten" in capsys.readouterr().err
    assert (folder / "README.md").read_text() == "mine"
    assert sorted(tmp_path.rglob("*")) == before


def test_a_place_that_can_not_be_written_is_named(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["new-plugin", "poly", "--into", str(tmp_path / "file")]) == 1
    assert f"can't write {tmp_path / 'file' / 'icf-poly'}: Not a directory" in capsys.readouterr().err


def test_the_answer_says_what_comes_next(tmp_path, capsys):
    folder = write_plugin(tmp_path, "poly", "loss")
    count = sum(path.is_file() for path in folder.rglob("*"))
    assert capsys.readouterr().out.splitlines() == [
        f"{count} files in {folder}",
        f"next: pip install -e {folder} && icf describe poly && pytest {folder}",
    ]


def test_the_version_that_the_template_asks_for_is_this_one(tmp_path, installer, monkeypatch):
    folder = write_plugin(tmp_path, "asks", "metric")
    installer.install("icf-asks", {}, entry_points={"asks": "icf_asks.plugin"})
    monkeypatch.syspath_prepend(folder / "src")
    installer.modules += ["icf_asks", "icf_asks.plugin"]
    monkeypatch.setattr(icf, "__version__", "0.0.9")
    with pytest.raises(PluginError, match=r"does not fit this version of icf: requires icf>=0.1"):
        load_plugins(only=["asks"]).plugin("asks")
