"""Several raylets on this machine, as a cluster."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from benchmarks.processes import ICF
from benchmarks.ray_cluster import RayCluster, ray_cluster

from icf.errors import IcfError
from icf.executors import ray_storage
from runs import find_run, finish, start_run, wait_until
from training import DIGITS, SMALL

SETTINGS = (*SMALL, "train.epochs=6", "model.widths=[48, 96]", "compute.checkpoint_minutes=0.001")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayCluster]:
    with ray_cluster(2, {"ICF_CACHE": str(tmp_path_factory.mktemp("cache"))}) as found:
        yield found


def count_rows(runs: Path) -> int:
    return sum(len(path.read_text().splitlines()) for path in runs.glob("*/*/folds/*/history.csv"))


def run_command(runs: Path, environment: dict[str, str], *settings: str) -> subprocess.CompletedProcess[str]:
    options = [part for text in (*SETTINGS, *settings) for part in ("--set", text)]
    command = [*ICF, "run", str(DIGITS), "--quiet", "--runs", str(runs), *options]
    surroundings = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    return subprocess.run(command, env=surroundings, capture_output=True, text=True, timeout=120, check=False)


def test_a_run_moves_from_a_node_that_died_to_one_that_lives(tmp_path: Path, cluster: RayCluster) -> None:
    settings = (*SETTINGS, 'compute.executor="ray-task"')
    with start_run(tmp_path / "moved", *settings, environment=cluster.environment) as process:
        wait_until(lambda: count_rows(tmp_path / "moved") >= 3, process)
        cluster.kill_node(0)
        finish(process, timeout=240)
    alone = {"ICF_CACHE": cluster.environment["ICF_CACHE"]}
    with start_run(tmp_path / "alone", *SETTINGS, 'compute.executor="inline"', environment=alone) as process:
        finish(process)
    for product in ("oof.parquet", "test.parquet", "submission.csv"):
        found, expected = (find_run(tmp_path / name) / product for name in ("moved", "alone"))
        assert found.read_bytes() == expected.read_bytes()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (('compute.executor="ray-task"', "compute.threads=64"), "1 workers with 64 CPU each; the nodes have"),
        (('compute.executor="ray-train"', "compute.workers_per_fold=9"), "9 workers with 1 CPU each"),
        (('compute.device="cuda"',), "no node of the cluster has a GPU"),
    ],
)
def test_what_a_cluster_will_never_have_is_refused_at_once(
    settings: tuple[str, ...], message: str, tmp_path: Path, cluster: RayCluster
) -> None:
    done = run_command(tmp_path, cluster.environment, *settings)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_nodes_that_see_the_folder_pass_and_leave_nothing(tmp_path: Path, cluster: RayCluster) -> None:
    done = run_command(tmp_path, cluster.environment, 'compute.executor="ray-task"', "train.epochs=1")
    assert done.returncode == 0, done.stderr
    assert not list(tmp_path.rglob(".probe*"))


def test_a_node_that_does_not_share_the_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs, other = tmp_path / "runs", tmp_path / "other"
    runs.mkdir()
    other.mkdir()
    monkeypatch.setattr(ray_storage, "ATTEMPTS", 1)

    def ask(_ray: object, function: Callable[[str, str], str], path: str, nonce: str) -> dict[str, str]:
        """Let the second node see another disk, where the first sees the folder."""
        return {"10.0.0.1": function(path, nonce), "10.0.0.2": function(path.replace(str(runs), str(other)), nonce)}

    monkeypatch.setattr(ray_storage, "ask_nodes", ask)
    with pytest.raises(IcfError, match="is not shared by all nodes") as caught:
        ray_storage.require_shared_folder(None, runs)
    first, *nodes, advice = str(caught.value).splitlines()
    assert str(runs) in first
    assert [line.startswith("  node 10.0.0.2: No such file or directory") for line in nodes] == [True]
    assert "compute.storage" in advice
    assert not list(runs.iterdir())
