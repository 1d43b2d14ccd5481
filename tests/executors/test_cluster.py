"""Several raylets on this machine; a node with a disk of its own has a mount namespace."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from benchmarks.processes import ICF, list_descendants
from benchmarks.ray_cluster import RayCluster, ray_cluster

from processes import has_ended
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


@contextmanager
def node_with_its_own_disk(folder: Path, cluster: RayCluster) -> Iterator[None]:
    """Add a node that sees an empty disk where others see a folder."""
    join = f"ray start --address={cluster.environment['RAY_ADDRESS']} --node-ip-address=127.0.0.1 --num-cpus=1 --block"
    script = f"mount -t tmpfs -o size=1m tmpfs {folder} && exec {Path(sys.executable).parent}/{join}"
    command = ["unshare", "--mount", "sh", "-c", script]
    with (folder.parent / "node.log").open("w+") as log:
        # Ray on loopback takes itself for one that must stay alone.
        environment = {**os.environ, **cluster.environment, "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "1"}
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
        try:
            wait_until(lambda: "Ray runtime started" in (folder.parent / "node.log").read_text(), process)  # type: ignore[arg-type]
            yield
        finally:
            family = [process.pid, *list_descendants(process.pid)]
            for found in family:
                if not has_ended(found):
                    os.kill(found, 9)
            process.wait()


def test_a_node_that_does_not_share_the_folder_stops_the_run_at_the_start(tmp_path: Path, cluster: RayCluster) -> None:
    if os.geteuid():
        pytest.skip("only root can give a node a disk of its own")
    runs = tmp_path / "runs"
    runs.mkdir()
    with node_with_its_own_disk(runs, cluster):
        started = time.monotonic()
        done = run_command(runs, cluster.environment, 'compute.executor="ray-task"')
        assert time.monotonic() - started < 100
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert f"the run folder {find_run(runs)} is not shared by all nodes" in lines[0]
    assert [line.startswith("  node 127.0.0.1") and "No such file" in line for line in lines[1:-1]] == [True]
    assert "compute.storage = " in lines[-1]
    assert not list(runs.rglob(".probe*"))
    assert not list(runs.rglob("history.csv"))
