"""``icf submit`` from one host to a cluster of two others, one of which is cut off in the middle."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from clusters import make_environment, run_icf, run_ray
from hosts import Host, connect_hosts, explain_missing, list_spaces, start_cluster, wait_for
from runs import count_epochs, find_run
from training import DIGITS

pytestmark = pytest.mark.skipif(bool(explain_missing()), reason=explain_missing())

SETTINGS = (
    "split.folds=2",
    "train.batch_size=16",
    "train.epochs=80",
    "compute.threads=1",
    'compute.precision="fp32"',
    'compute.device="cpu"',
)
PRODUCTS = ("oof.parquet", "test.parquet", "submission.csv")


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[dict[str, Host]]:
    with connect_hosts(tmp_path, {"head": True, "node": True, "user": False}) as found:
        yield found
    assert not list_spaces() & {host.space for host in found.values()}


def test_a_node_that_is_cut_off_costs_time_only(hosts: dict[str, Host], tmp_path: Path) -> None:
    head, node, user = hosts["head"], hosts["node"], hosts["user"]
    user.write("digits.toml", DIGITS.read_text())
    settings = [part for text in SETTINGS for part in ("--set", text)]
    submit = ["submit", "digits.toml", *settings, "--address", f"http://{head.address}:8265"]
    command = user.command([sys.executable, "-m", "icf.cli.main", *submit, "--cluster-runs", "/tmp/shared/runs"])
    shared, log = tmp_path / "shared" / "runs", tmp_path / "submit.log"
    with ExitStack() as stack:
        start_cluster(stack, head, node)
        job = stack.enter_context(run_ray(command, user.environment(), log))
        wait_for(lambda: bool(list(shared.glob("*/*/plan.json"))), job, log, 240)
        folds = [find_run(shared) / "folds" / str(number) for number in range(2)]
        wait_for(lambda: min(map(count_epochs, folds)) >= 5, job, log, 240)
        assert not any((fold / "metrics.json").exists() for fold in folds), "a fold ended before the other had begun"
        attempts = [(fold / "attempt.txt").read_text() for fold in folds]
        begun = [(fold / "augmented.png").stat().st_mtime_ns for fold in folds]
        node.cut_off()
        node.signal("RayTrainWorker", signal.SIGSTOP)  # or it might end its fold before it is given up
        lost = list(map(count_epochs, folds))

        def list_moved() -> list[int]:
            return [n for n in range(2) if (folds[n] / "attempt.txt").read_text() != attempts[n]]

        moving = wait_for(lambda: bool(list_moved()), job, log, 300)
        (moved,) = list_moved()
        node.signal("RayTrainWorker", signal.SIGCONT)
        assert job.wait(timeout=300) == 0, log.read_text()
        print(f"fold {moved} was cut off after epoch {lost[moved]}, and went on elsewhere after {moving:.1f} s")
    assert list_moved() == [moved]
    # A picture is drawn only by an attempt that begins with nothing.
    assert [(fold / "augmented.png").stat().st_mtime_ns for fold in folds] == begun
    brought = find_run(user.folder / "runs")
    assert (brought / "report.html").exists()
    assert not list(node.folder.rglob("oof.parquet"))  # nothing was on its own disk
    alone = make_environment(tmp_path / "home")
    run_icf("run", str(DIGITS), *settings, "--runs", "alone", environment=alone, folder=tmp_path)
    for name in PRODUCTS:
        assert (find_run(tmp_path / "alone") / name).read_bytes() == (brought / name).read_bytes()
