"""``icf run`` on a cluster of two hosts that share nothing but an address: no folder, cache or home."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from clusters import make_environment, run_icf, run_ray
from hosts import CLUSTER, Host, connect_hosts, explain_missing, list_spaces, start_cluster, wait_for
from runs import count_epochs, find_run
from stores import BUCKET, VARIABLES
from training import DIGITS

pytestmark = pytest.mark.skipif(bool(explain_missing()), reason=explain_missing())

SETTINGS = (
    "split.folds=2",
    "train.batch_size=16",
    "compute.threads=1",
    'compute.precision="fp32"',
    'compute.device="cpu"',
)
STORAGE = f'compute.storage="s3://{BUCKET}/runs"'
PRODUCTS = ("oof.parquet", "test.parquet", "submission.csv")
CREATE = f"""
from icf.pipeline.store import open_store
open_store("s3://{BUCKET}?allow_bucket_creation=true").files.base_fs.create_dir("{BUCKET}")
"""
LIST = f"""
import json
from icf.pipeline.store import open_store
print(json.dumps(open_store("s3://{BUCKET}/runs").list(recursive=True)))
"""


@dataclass(frozen=True)
class Cluster:
    """A head and a node that run Ray, and the variables with which a program on them finds Ray and the store."""

    head: Host
    node: Host
    variables: Mapping[str, str]

    def start(self, *settings: str) -> tuple[list[str], dict[str, str]]:
        """Return the command that runs the digits on the head, and its variables."""
        options = [part for text in (*SETTINGS, *settings, STORAGE) for part in ("--set", text)]
        command = self.head.command([sys.executable, "-m", "icf.cli.main", "run", "digits.toml", *options])
        return command, self.head.environment(**CLUSTER, **self.variables, RAY_ADDRESS=f"{self.head.address}:6379")

    def execute(self, program: str) -> str:
        """Return what a program in Python prints on the head."""
        command = self.head.command([sys.executable, "-c", program])
        environment = self.head.environment(**self.variables)
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with connect_hosts(tmp_path, {"head": False, "node": False, "store": False}) as found, ExitStack() as stack:
        head, node, store = found["head"], found["node"], found["store"]
        log = store.folder / "server.log"
        serve = store.command([sys.executable, "-m", "moto.server", "-H", store.address, "-p", "5000"])
        server = stack.enter_context(run_ray(serve, store.environment(**VARIABLES), log))
        wait_for(lambda: "Running on" in log.read_text(errors="replace"), server, log, 60)
        variables = VARIABLES | {"AWS_ENDPOINT_URL": f"http://{store.address}:5000"}
        made = Cluster(head, node, variables)
        made.execute(CREATE)
        head.write("digits.toml", DIGITS.read_text())
        start_cluster(stack, head, node, **variables)
        yield made
    assert not list_spaces() & {host.space for host in found.values()}


def read_history(fold: Path) -> list[dict[str, str]]:
    with (fold / "history.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_node_that_is_cut_off_costs_time_only(cluster: Cluster, tmp_path: Path) -> None:
    head, node, log = cluster.head, cluster.node, tmp_path / "run.log"
    settings = ("train.epochs=150", 'compute.executor="ray-task"')
    with ExitStack() as stack:
        command, environment = cluster.start(*settings)
        run = stack.enter_context(run_ray(command, environment, log))
        wait_for(lambda: bool(list((node.folder / "runs").glob("*/*/folds/*/checkpoint"))), run, log, 120)
        far = next((find_run(node.folder / "runs") / "folds").glob("[0-9]/checkpoint")).parent
        near = find_run(head.folder / "runs") / "folds" / far.name
        # The head sees of this fold what the node has put into the store.
        wait_for(lambda: count_epochs(near) >= 5, run, log, 120)
        node.cut_off()
        node.signal("run_job", signal.SIGSTOP)  # or it might end its fold before it is given up
        known = read_history(near)
        assert not (near / "checkpoint").exists(), "the fold has ended, or is on the head"
        moving = wait_for((near / "checkpoint").exists, run, log, 120)
        started = time.monotonic()
        assert run.wait(timeout=200) == 0, log.read_text()
        ending = time.monotonic() - started
    print(f"cut off after epoch {len(known)}; on the head {moving:.1f} s later, which took {ending:.1f} s")
    # An epoch that is run again has another speed.
    assert read_history(near)[: len(known)] == known
    found = find_run(head.folder / "runs")
    assert (found / "report.html").exists()
    stored = json.loads(cluster.execute(LIST))
    assert {f"digits/{found.name}/{name}" for name in (*PRODUCTS, "report.html")} <= set(stored)
    assert not [name for name in stored if ".folds" in name]
    alone = make_environment(tmp_path / "home")
    options = [part for text in (*SETTINGS, settings[0]) for part in ("--set", text)]
    run_icf("run", str(DIGITS), *options, "--runs", "alone", environment=alone, folder=tmp_path)
    for name in PRODUCTS:
        assert (find_run(tmp_path / "alone") / name).read_bytes() == (found / name).read_bytes()


def test_two_hosts_train_one_fold_together(cluster: Cluster, tmp_path: Path) -> None:
    log = tmp_path / "run.log"
    command, environment = cluster.start("train.epochs=2", "compute.workers_per_fold=2")
    with run_ray(command, environment, log) as run:
        assert run.wait(timeout=240) == 0, log.read_text()
    found = find_run(cluster.head.folder / "runs")
    assert (found / "report.html").exists()
    for fold in range(2):
        assert len(read_history(found / "folds" / str(fold))) == 2
    # Both hosts have read the split, which one of them has made.
    assert (find_run(cluster.node.folder / "runs") / "split.parquet").exists()
