"""Every built-in part of a training run, in a fold of the digits."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from icf.pipeline.files import read_json
from icf.plugins import load_plugins
from training import fit, read_history

KINDS = ("loss", "optimizer", "scheduler", "sampler")
PLUGINS = (*KINDS, "metric")
GIVEN = {"loss/arcface": ['model.head="cosine"']}
"""What a part needs beside itself."""


def list_choices(*kinds: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for entry in load_plugins(only=PLUGINS).entries():
        if entry.kind in kinds:
            for example in entry.descriptor.examples or ({},):
                yield entry.kind, entry.ref, dict(example)


def write_toml(value: Any) -> str:
    """Return a value as TOML has it within a line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {write_toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(write_toml, value)) + "]"
    return json.dumps(value)


pytestmark = pytest.mark.usefixtures("cache_of_test")


@pytest.mark.parametrize(("kind", "ref", "example"), list(list_choices(*KINDS)))
def test_a_fold_is_trained_with_every_part(kind: str, ref: str, example: dict[str, Any], tmp_path: Path) -> None:
    section = f"{kind}={write_toml({'use': ref, **example})}"
    job = fit(tmp_path, section, *GIVEN.get(ref, []), "train.epochs=3", "split.folds=2")
    history = read_history(job.folder)
    assert all(math.isfinite(value) for row in history for value in row.values())
    assert history[-1]["train_loss"] < history[0]["train_loss"]


def test_a_fold_is_scored_by_every_metric(tmp_path: Path) -> None:
    tables = [
        {"use": ref, "name": f"score-{number}", **example}
        for number, (_, ref, example) in enumerate(list_choices("metric"))
    ]
    job = fit(tmp_path, f"metrics.report={write_toml(tables)}", "train.epochs=1")
    scores = read_json(job.folder.metrics)["metrics"]
    assert scores.keys() == {"metric/macro-f1", *(table["name"] for table in tables)}
    assert all(math.isfinite(score) for score in scores.values())
