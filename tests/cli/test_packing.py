from __future__ import annotations

import json
import sys
import zipfile
from pathlib import Path

import pytest

from icf.cli import packing
from icf.cli.packing import find_disk_plugins, pack
from icf.errors import DataError, PluginError, UsageError
from icf.plan import Plan, load_plan
from samples import save_photo

RECIPE = """
model = "nn/sequential-cnn"
[dataset]
use = "images/folder"
root = "{root}"
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "work"
    for number in range(4):
        save_photo(folder / "faces" / "train" / "ab"[number % 2] / f"{number}.png", number)
    monkeypatch.chdir(folder)
    return folder


def make_plan(root: object) -> Plan:
    Path("recipe.toml").write_text(RECIPE.format(root=root))
    return load_plan(Path("recipe.toml"))


def test_plan_and_relative_data_travel(here: Path, tmp_path: Path) -> None:
    plan = make_plan("faces")
    parcel = pack(plan, tmp_path)
    with zipfile.ZipFile(parcel.archive) as file:
        assert Plan.from_json(file.read("plan.json").decode()) == plan
        names = {f"faces/train/{'ab'[number % 2]}/{number}.png" for number in range(4)}
        assert set(file.namelist()) == {"plan.json", *names}
        assert all(file.read(name) == (here / name).read_bytes() for name in names)
    assert parcel.data == {"faces": sum((here / name).stat().st_size for name in names)}
    assert parcel.wheels == ()


def test_the_same_content_is_the_same_package(here: Path, tmp_path: Path) -> None:
    def read(folder: str) -> bytes:
        (tmp_path / folder).mkdir()
        return pack(make_plan("faces"), tmp_path / folder).archive.read_bytes()

    first = read("first")
    for path in (here / "faces").rglob("*.png"):
        path.write_bytes(path.read_bytes())
    assert read("second") == first


def test_an_absolute_path_is_one_of_the_cluster(here: Path, tmp_path: Path) -> None:
    assert pack(make_plan(here / "faces"), tmp_path).data == {}
    assert pack(make_plan("not-here"), tmp_path).data == {}


def test_large_data_is_told_to_lie_on_shared_storage(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "LARGEST_DATA", 500)
    with pytest.raises(DataError, match=r"dataset\.root = 'faces'.*--set dataset\.root=/shared/faces"):
        pack(make_plan("faces"), tmp_path)


@pytest.mark.parametrize("root", ["../work/faces", ".", "faces/../../work/faces"])
def test_data_lies_below_the_working_folder(root: str, here: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="must lie below the folder where you are"):
        pack(make_plan(root), tmp_path)


PROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[project]
name = "toy-losses"
version = "1.0"
requires-python = ">=3.11"
[project.entry-points.icf]
toy-losses = "toy_losses"
[tool.hatch.build.targets.wheel]
packages = ["toy_losses.py"]
"""

LOSSES = """
import icf

@icf.hookimpl
def icf_losses():
    yield icf.Loss(name="plain", factory="torch.nn:CrossEntropyLoss", summary="Plain")
"""


def install(site: Path, project: Path | None) -> None:
    """Lay a plugin down as pip does, from a folder or from nowhere that is known."""
    info = site / "toy_losses-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-losses\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[icf]\ntoy-losses = toy_losses\n")
    if project:
        (info / "direct_url.json").write_text(json.dumps({"url": project.as_uri(), "dir_info": {"editable": True}}))
    (site / "toy_losses.py").write_text(LOSSES)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "a project"
    folder.mkdir()
    (folder / "pyproject.toml").write_text(PROJECT)
    (folder / "toy_losses.py").write_text(LOSSES)
    return folder


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.delitem(sys.modules, "toy_losses", raising=False)
    return tmp_path / "site"


def make_toy_plan() -> Plan:
    Path("toy.toml").write_text(RECIPE.format(root="faces") + '[loss]\nuse = "toy-losses/plain"\n')
    return load_plan(Path("toy.toml"))


def test_a_plugin_from_this_disk_travels_as_a_wheel(here: Path, project: Path, site: Path, tmp_path: Path) -> None:
    install(site, project)
    parcel = pack(make_toy_plan(), tmp_path)
    (wheel,) = parcel.wheels
    assert wheel.name == "toy_losses-1.0-py3-none-any.whl"
    assert "toy_losses.py" in zipfile.ZipFile(wheel).namelist()
    named = tmp_path / "named" / wheel.name
    named.parent.mkdir()
    wheel.rename(named)
    assert pack(make_toy_plan(), tmp_path, [named]).wheels == (named,)


def test_a_plugin_from_elsewhere_does_not_travel(here: Path, site: Path) -> None:
    install(site, None)
    assert find_disk_plugins(make_toy_plan()) == {}


def test_a_folder_that_makes_no_wheel(here: Path, project: Path, site: Path, tmp_path: Path) -> None:
    install(site, project)
    (project / "pyproject.toml").write_text("[project]\nname = 3\n")
    with pytest.raises(PluginError, match=r"toy-losses was installed from .*a project, and no wheel"):
        pack(make_toy_plan(), tmp_path)


@pytest.mark.parametrize("name", ["none.whl", "faces", "recipe.toml"])
def test_what_is_no_wheel(name: str, here: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"--wheel {name}: must be a wheel"):
        pack(make_plan("faces"), tmp_path, [Path(name)])
