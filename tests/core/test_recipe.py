from __future__ import annotations

import datetime
import os
import tomllib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from icf.errors import RecipeError
from icf.overrides import merge
from icf.recipe import component_tables, named_refs, parse_recipe, read_recipe, to_toml

SMALL = {"dataset": {"use": "images/folder", "root": "data"}, "model": "nn/sequential-cnn"}


@pytest.fixture
def write(tmp_path):
    def write_file(text: str | bytes, name: str = "recipe.toml") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write_file


def problems_of(raw) -> dict[str, str]:
    recipe, problems = parse_recipe(raw)
    assert recipe is None
    return {problem.where: problem.message for problem in problems}


def error_of(*arguments) -> str:
    with pytest.raises(RecipeError) as caught:
        read_recipe(*arguments)
    return str(caught.value)


# -- schema -----------------------------------------------------------------------------------------


def test_two_components_make_a_recipe():
    recipe, problems = parse_recipe(SMALL)
    assert problems == []
    assert recipe is not None
    assert recipe.dataset.params == {"root": "data"}
    assert recipe.dataset.on_bad_image == "error"
    assert (recipe.model.use, recipe.model.params, recipe.model.freeze) == ("nn/sequential-cnn", {}, "none")
    assert recipe.loss.use == "loss/cross-entropy"
    assert [item.use for item in recipe.metrics.report] == ["metric/accuracy", "metric/log-loss"]
    assert recipe.transforms.image_size is None


def test_a_section_with_a_default_component_needs_no_name():
    recipe, _ = parse_recipe(SMALL | {"optimizer": {"lr": 0.1}, "metrics": {"select": {"beta": 2}}})
    assert recipe is not None
    assert (recipe.optimizer.use, recipe.optimizer.params) == ("optimizer/adamw", {"lr": 0.1})
    assert (recipe.metrics.select.use, recipe.metrics.select.params) == ("metric/macro-f1", {"beta": 2})


@pytest.mark.parametrize(("given_size", "size"), [(64, (64, 64)), ([48, 64], (48, 64))])
def test_image_size(given_size, size):
    recipe, _ = parse_recipe(SMALL | {"transforms": {"image_size": given_size}})
    assert recipe is not None
    assert recipe.transforms.image_size == size


@pytest.mark.parametrize("value", [0, 4097, [64], [1, 2, 3], [1.5, 2], True, "64", [0, 64]])
def test_impossible_image_sizes(value):
    [where] = problems_of(SMALL | {"transforms": {"image_size": value}})
    assert where.startswith("transforms.image_size")


def test_all_problems_are_found_at_once():
    raw = {
        "dataset": "images/folder",
        "trian": {"epochs": 3},
        "train": {"epochs": True, "batch": 8, "clip_norm": 0.0},
        "split": {"method": "kfold", "folds": 1, "holdout": 1.0},
        "transforms": {"train": ["augment/flip", {"p": 0.5}], "std": [0.2, float("inf")], "channels": 2},
        "loss": 3,
        "observers": "tensorboard",
    }
    problems = problems_of(raw)
    assert problems.pop("trian").startswith("unknown section 'trian'; did you mean 'train'?")
    assert problems.pop("train.batch").startswith("unknown key 'batch'; did you mean 'batch_size'?")
    assert problems.pop("split.method").startswith("found 'kfold'; did you mean 'group-kfold'?")
    assert problems == {
        "model": 'is missing: a [model] table with use = "plugin/component" is needed',
        "train.epochs": "found true; must be a whole number",
        "train.clip_norm": "found 0.0; must be greater than 0",
        "split.folds": "found 1; must be greater than or equal to 2",
        "split.holdout": "found 1.0; must be less than 1",
        "transforms.train[1].use": "is missing: Name of the component, 'plugin/component'",
        "transforms.std[1]": "found inf; must be a finite number",
        "transforms.channels": "found 2; allowed: 1 or 3",
        "loss": "found 3; must be a table",
        "observers": "found 'tensorboard'; must be an array",
    }


def test_dates_are_text_for_components():
    recipe, _ = parse_recipe(SMALL | {"loss": {"use": "a/b", "since": datetime.date(2024, 2, 29)}})
    assert recipe is not None
    assert recipe.loss.params == {"since": "2024-02-29"}


def test_component_tables_find_every_place_and_skip_what_is_malformed():
    raw = SMALL | {
        "loss": 3,
        "optimizer": {"lr": 1},
        "metrics": {"select": "metric/kappa", "report": [{"use": "metric/f", "beta": 2}, 7]},
        "transforms": {"shared": ["a/crop"], "train": [{"p": 1}, "a/flip"]},
        "observers": ["tensorboard", 5],
    }
    found = {table.path: (table.kind, table.ref, table.params) for table in component_tables(raw)}
    assert found == {
        ("dataset",): ("dataset", "images/folder", {"root": "data"}),
        ("model",): ("model", "nn/sequential-cnn", {}),
        ("optimizer",): ("optimizer", "optimizer/adamw", {"lr": 1}),
        ("scheduler",): ("scheduler", "scheduler/cosine", {}),
        ("sampler",): ("sampler", "sampler/shuffled", {}),
        ("ensemble",): ("ensembler", "ensemble/soft-vote", {}),
        ("metrics", "select"): ("metric", "metric/kappa", {}),
        ("metrics", "report", 0): ("metric", "metric/f", {"beta": 2}),
        ("transforms", "shared", 0): ("transform", "a/crop", {}),
        ("transforms", "train", 1): ("transform", "a/flip", {}),
    }
    assert set(named_refs(raw)) == {ref for _, ref, _ in found.values()} | {"tensorboard"}


RELAXED = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
SECTIONS = st.sampled_from(["dataset", "model", "loss", "metrics", "transforms", "train", "observers", "other"])


@RELAXED
@given(st.dictionaries(SECTIONS, VALUES))
def test_any_table_gives_a_recipe_or_problems(raw):
    recipe, problems = parse_recipe(raw)
    assert (recipe is None) == bool(problems)
    assert all(problem.where and "\n" not in problem.message for problem in problems)
    named_refs(raw)


# -- files ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"[train\nepochs = 3", "line 1"),
        (b"a = 1\nname = '\xff'", "line 2: the file is not UTF-8 text"),
        ("[train]".encode("utf-16"), "the file is not UTF-8 text"),
        (b"\xef\xbb\xbf[train]", "begins with a byte order mark"),
        (b"extends = 3", "extends: found 3; must be a file name"),
        (b"extends = 'absent.toml'", "absent.toml can't be read"),
        (b"extends = 'recipe.toml'", "recipe.toml -> recipe.toml"),
    ],
)
def test_unreadable_files(write, text, message):
    path = write(text)
    found = error_of(path)
    assert message in found
    assert "recipe" in found.splitlines()[0]


def test_missing_file_and_folder(tmp_path):
    assert "does not exist" in error_of(tmp_path / "absent.toml")
    assert "is a folder" in error_of(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read everything")
def test_file_without_permission(write):
    path = write("")
    path.chmod(0)
    assert "Permission denied" in error_of(path)


def test_extends_is_relative_to_the_file_and_recursive(write):
    write("[train]\nepochs = 1\nseed = 1\n[split]\nfolds = 3", "lib/base.toml")
    write("extends = 'base.toml'\n[train]\nepochs = 2\n", "lib/middle.toml")
    path = write("extends = 'lib/middle.toml'\n[train]\nbatch_size = 8\n")
    assert read_recipe(path) == {"train": {"epochs": 2, "seed": 1, "batch_size": 8}, "split": {"folds": 3}}


def test_a_circle_of_files_is_named(write):
    write("extends = 'a.toml'", "b.toml")
    assert "a.toml -> b.toml -> a.toml" in error_of(write("extends = 'b.toml'", "a.toml"))


@pytest.mark.parametrize(
    ("base", "change", "merged"),
    [
        ({"use": "a/b", "x": 1}, {"use": "a/c", "y": 2}, {"use": "a/c", "y": 2}),
        ({"use": "a/b", "x": 1}, {"use": "a/b", "y": 2}, {"use": "a/b", "x": 1, "y": 2}),
        ({"use": "a/b", "x": 1}, {"y": 2}, {"use": "a/b", "x": 1, "y": 2}),
        ({"use": "a/b", "x": 1}, "a/c", {"use": "a/c"}),
        ({"use": "a/b", "x": 1}, "a/b", {"use": "a/b", "x": 1}),
        ("a/b", {"y": 2}, {"use": "a/b", "y": 2}),
        ("a/b", "a/c", "a/c"),
        ([1, 2], [3], [3]),
        ({"x": {"y": 1, "z": 2}}, {"x": {"y": 3}}, {"x": {"y": 3, "z": 2}}),
    ],
)
def test_merging_a_section(base, change, merged):
    assert merge({"loss": base}, {"loss": change}) == {"loss": merged}


# -- overrides --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("train.epochs=3", {"train": {"epochs": 3}}),
        ("train.epochs = 3 ", {"train": {"epochs": 3}}),
        ("model.drop_rate=0.2", {"model": {"use": "nn/x", "drop_rate": 0.2}}),
        ("model.pretrained=true", {"model": {"use": "nn/x", "pretrained": True}}),
        ("loss.use=loss/focal", {"loss": {"use": "loss/focal"}}),
        ("loss=loss/focal", {"loss": "loss/focal"}),
        ("loss='x'", {"loss": "x"}),
        ("dataset.root=C:\\data\\new", {"dataset": {"root": "C:\\data\\new"}}),
        ("dataset.root=a=b", {"dataset": {"root": "a=b"}}),
        ("dataset.root=", {"dataset": {"root": ""}}),
        ("observers=['a', 'b']", {"observers": ["a", "b"]}),
        ("model={use='nn/y'}", {"model": {"use": "nn/y"}}),
        ('a."b.c"=1', {"a": {"b.c": 1}}),
        ("name=1\nother=2", {"name": "1\nother=2"}),
    ],
)
def test_one_override(write, text, expected):
    path = write("model = 'nn/x'")
    assert read_recipe(path, [text]) == {"model": "nn/x"} | expected


def test_overrides_add_up_in_any_order(write):
    path = write("[loss]\nuse = 'loss/cross-entropy'\nlabel_smoothing = 0.1")
    expected = {"loss": {"use": "loss/focal", "gamma": 3}}
    assert read_recipe(path, ["loss.use=loss/focal", "loss.gamma=3"]) == expected
    assert read_recipe(path, ["loss.gamma=3", "loss.use=loss/focal"]) == expected
    assert read_recipe(path, ["loss=loss/focal", "loss.gamma=3"]) == expected


def test_all_bad_overrides_are_shown(write):
    path = write("[metrics]\nreport = ['metric/accuracy']")
    message = error_of(path, ["train.epochs", "=3", "a b=3", "metrics.report.0=x", "extends=x", "a=1\nb=2=3", "x\ny=3"])
    assert "--set train.epochs: no '=' in it" in message
    assert "'' is no TOML path" in message
    assert "'a b' is no TOML path" in message
    assert "metrics.report is an array, which can only be set whole: metrics.report=[...]" in message
    assert "'extends' can only stand in a recipe file" in message


# -- writing ----------------------------------------------------------------------------------------


@RELAXED
@given(
    st.dictionaries(
        st.text(max_size=8),
        st.recursive(
            st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text(max_size=8),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
            max_leaves=8,
        ),
        max_size=4,
    )
)
def test_what_is_written_is_read_back(table):
    assert tomllib.loads(to_toml(table)) == table


def test_none_is_left_out():
    assert tomllib.loads(to_toml({"a": None, "b": {"c": None, "d": [{"e": None, "f": 1}]}})) == {"b": {"d": [{"f": 1}]}}
