"""``icf submit`` and ``icf jobs`` against a real Ray head, on the loopback address, with a token."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from benchmarks.processes import list_descendants

from clusters import Head, make_environment, run_icf, start_head, write_token
from processes import is_loopback, list_listening
from runs import find_run
from samples import save_photo

TOKEN = "0123456789abcdef" * 4

BASE = """
model = "nn/sequential-cnn"
[dataset]
use = "images/folder"
root = "faces"
[transforms]
image_size = 16
[train]
epochs = 2
batch_size = 8
[split]
folds = 2
[compute]
threads = 1
device = "cpu"
precision = "fp32"
"""

RECIPE = """
extends = "base.toml"
[loss]
use = "toy/plain"
scale = 2.0
[metrics]
select = "my-metric/share"
report = []
"""

TOY = """
    import icf

    class PlainParams(icf.Params):
        scale: float = 1.0

    @icf.hookimpl
    def icf_losses():
        yield icf.Loss(name="plain", factory="toy:plain", params=PlainParams, summary="Scaled cross entropy")

    def plain(params, ctx):
        import torch

        class Plain(torch.nn.CrossEntropyLoss):
            def forward(self, logits, targets):
                return params.scale * super().forward(logits, targets)

        return Plain()
"""

METRIC = """
    import icf

    @icf.hookimpl
    def icf_metrics():
        yield icf.Metric(name="share", factory=":share", summary="Share of rows that are right")

    def share(params, ctx):
        return lambda probabilities, targets: float((probabilities.argmax(1) == targets).mean())
"""

PROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[project]
name = "toy"
version = "1.0"
requires-python = ">=3.11"
[project.entry-points.icf]
toy = "toy"
[tool.hatch.build.targets.wheel]
packages = ["toy.py"]
"""


def install_toy(site: Path, version: str, project: Path | None = None) -> str:
    """Lay plugin ``toy`` down as pip does; return the folder."""
    info = site / f"toy-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: toy\nVersion: {version}\n")
    (info / "entry_points.txt").write_text("[icf]\ntoy = toy\n")
    if project:
        (info / "direct_url.json").write_text(json.dumps({"url": project.as_uri(), "dir_info": {"editable": True}}))
    (site / "toy.py").write_text(textwrap.dedent(TOY))
    return str(site)


def with_site(site: str) -> str:
    return os.pathsep.join([site, os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    """A head that has an older version of the plugin."""
    home = tmp_path_factory.mktemp("head")
    write_token(home, TOKEN)
    site = install_toy(home / "site", "0.9")
    with start_head(home, RAY_AUTH_MODE="token", PYTHONPATH=with_site(site)) as started:
        yield started


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    (folder / "pyproject.toml").write_text(PROJECT)
    (folder / "toy.py").write_text(textwrap.dedent(TOY))
    return folder


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """The submitter's folder: a recipe that extends another, 24 images and a local plugin."""
    folder = tmp_path / "work"
    for number in range(24):
        save_photo(folder / "faces" / "train" / "ab"[number % 2] / f"{number}.png", number)
    (folder / "base.toml").write_text(BASE)
    (folder / "recipe.toml").write_text(RECIPE)
    (folder / "my_metric.py").write_text(textwrap.dedent(METRIC))
    return folder


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """The submitter's variables: the head's token, nothing else of the head's."""
    write_token(tmp_path / "home", TOKEN)
    return make_environment(tmp_path / "home")


def test_a_recipe_with_its_plugins_and_data_runs_on_a_cluster(
    head: Head, project: Path, work: Path, environment: dict[str, str]
) -> None:
    environment["PYTHONPATH"] = with_site(install_toy(work.parent / "site", "1.0", project))
    options = ("recipe.toml", "--plugin", "my_metric.py")
    output = run_icf("submit", *options, "--address", head.url, environment=environment, folder=work)
    assert "toy-1.0-py3-none-any.whl" in output
    assert "with ray-train" in output
    assert "epoch 2/2" in output
    assert "icf-products" not in output
    brought = find_run(work / "runs")
    assert {"metrics.json", "report.html", "oof.parquet", "recipe.toml", "folds"} <= {
        path.name for path in brought.iterdir()
    }
    listening = list_listening([head.process, *list_descendants(head.process)])
    assert len(listening) > 5
    assert {address: owner for address, owner in listening.items() if not is_loopback(address)} == {}

    (job,) = json.loads(run_icf("jobs", "list", "--json", "--address", head.url, environment=environment, folder=work))
    assert (job["recipe"], job["status"]) == ("recipe", "SUCCEEDED")
    fetch = ("jobs", "fetch", job["name"], "--address", head.url, "--runs", "fetched")
    run_icf(*fetch, environment=environment, folder=work)
    again = find_run(work / "fetched")
    run_icf("run", *options, "--runs", "here", environment=environment, folder=work)
    here = find_run(work / "here")
    assert here.name.rpartition("-")[2] == brought.name.rpartition("-")[2]
    for name in ("oof.parquet", "metrics.json"):
        assert (again / name).read_bytes() == (brought / name).read_bytes()
    assert (here / "oof.parquet").read_bytes() == (brought / "oof.parquet").read_bytes()


def test_another_version_of_a_plugin_is_told_before_training(
    head: Head, work: Path, environment: dict[str, str]
) -> None:
    # It is not known to lie on this disk, so it does not travel, and the cluster has 0.9.
    environment["PYTHONPATH"] = with_site(install_toy(work.parent / "site", "1.0"))
    command = ("submit", "recipe.toml", "--plugin", "my_metric.py", "--address", head.url)
    output = run_icf(*command, environment=environment, folder=work, code=1)
    assert "plugin 'toy': toy 0.9 is there instead of 1.0" in output
    assert "  node " in output
    assert "fold 0" not in output
    assert "failed: " in output
    assert not (work / "runs").exists()


def test_a_job_is_left_listed_followed_and_stopped(head: Head, work: Path, environment: dict[str, str]) -> None:
    settings = ("train.epochs=100000", "loss=loss/cross-entropy", "metrics.select=metric/accuracy")
    long = [part for text in settings for part in ("--set", text)]

    def icf(*arguments: str, code: int = 0) -> str:
        return run_icf(*arguments, environment=environment, folder=work, code=code)

    output = icf("submit", "recipe.toml", *long, "--no-wait", "--address", head.url)
    assert "epoch" not in output.partition("follow it")[2]
    environment["RAY_API_SERVER_ADDRESS"] = head.url
    environment["RAY_ADDRESS"] = "http://127.0.0.1:9"  # another cluster's
    jobs = json.loads(icf("jobs", "list", "--json"))
    name = jobs[-1]["name"]
    assert name in output
    assert name in icf("jobs", "list")
    command = [sys.executable, "-m", "icf", "jobs", "follow", name]
    with subprocess.Popen(command, env=environment, cwd=work, stdout=subprocess.PIPE, text=True) as follower:
        assert follower.stdout is not None
        assert any("training rows" in line for line in follower.stdout)
        follower.send_signal(signal.SIGINT)
        rest = follower.communicate(timeout=30)[0]
    assert follower.returncode == 130
    assert f"icf jobs stop {name} --address {head.url}" in rest
    assert "being stopped" in icf("jobs", "stop", name)
    assert f"job {name} stopped" in icf("jobs", "follow", name, code=1)
    assert "had ended before" in icf("jobs", "stop", name)
    no_products = icf("jobs", "fetch", name, code=1)
    assert "has brought no products (its status is STOPPED)" in no_products


def test_what_goes_wrong_is_told_in_words(head: Head, tmp_path: Path, environment: dict[str, str]) -> None:
    def list_jobs(address: str, variables: dict[str, str]) -> str:
        return run_icf("jobs", "list", "--address", address, environment=variables, folder=tmp_path, code=1)

    assert "nobody answers HTTP at http://127.0.0.1:9" in list_jobs("http://127.0.0.1:9", environment)
    assert "nobody answers HTTP" in list_jobs(f"http://{head.store}", environment)
    no_token = make_environment(tmp_path / "nobody")
    assert "asks for a token, and there is none here" in list_jobs(head.url, no_token)
    write_token(tmp_path / "stranger", "f" * 64)
    assert "refuses this machine's token" in list_jobs(head.url, make_environment(tmp_path / "stranger"))
    unknown = run_icf("jobs", "stop", "none", "--address", head.url, environment=environment, folder=tmp_path, code=1)
    assert f"there is no job none at {head.url}" in unknown
