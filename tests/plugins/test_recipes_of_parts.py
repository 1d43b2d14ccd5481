"""The recipes of tests/recipes, which use what no recipe of recipes/ does, train on scans of digits."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from icf.cli.main import main
from icf.pipeline.files import read_json, read_table
from icf.plan import load_plan
from runs import find_run
from training import save_digits

RECIPES = sorted((Path(__file__).parents[1] / "recipes").glob("*.toml"))
ROWS = range(100)
WITH_LABEL = {"round": "0235689", "straight": "1457", "closed": "04689"}


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder for each digit, a table of any number of labels of each, and one of attributes."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ICF_CACHE", str(tmp_path / "cache"))
    paths = save_digits(tmp_path / "photos", ROWS, scale=4)
    several, attributes = ["image,label"], ["image,closed,digit"]
    for path in paths:
        digit, place = path.parent.name, path.relative_to(tmp_path / "photos").as_posix()
        several.append(f"{place},{' '.join(label for label in WITH_LABEL if digit in WITH_LABEL[label])}")
        attributes.append(f"{place},{'yes' if digit in WITH_LABEL['closed'] else 'no'},{digit}")
    (tmp_path / "photos/train.csv").write_text("\n".join(several) + "\n")
    (tmp_path / "photos/attributes.csv").write_text("\n".join(attributes) + "\n")


@pytest.mark.usefixtures("photos")
@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_the_recipe_trains(recipe: Path) -> None:
    settings = ['compute.executor="inline"', "compute.threads=1", 'compute.precision="fp32"']
    options = [part for setting in settings for part in ("--set", setting)]
    assert main(["run", str(recipe), "--runs", "runs", "--quiet", *options]) == 0
    run_dir = find_run(Path("runs"))
    scores = read_json(run_dir / "metrics.json")["oof"]
    assert set(scores) == {choice.key for choice in load_plan(recipe, settings).metrics}
    assert all(math.isfinite(score["value"]) for score in scores.values())
    assert set(read_table(run_dir / "oof.parquet")["id"]) <= {
        path.relative_to("photos").as_posix() for path in Path("photos").rglob("*.png")
    }
