from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks.processes import list_descendants

from icf.cli.main import main
from icf.executors.inline import InlineExecutor
from icf.executors.process import ProcessExecutor
from icf.executors.ray_session import ray_session
from icf.executors.ray_task import RayTaskExecutor
from icf.executors.ray_train import RayTrainExecutor
from icf.pipeline.files import read_json
from icf.pipeline.jobs import Executor, Failure, FoldJob, Placement
from icf.pipeline.listener import Listener
from icf.pipeline.run import run_pipeline
from processes import has_ended, is_loopback, list_listening, read_command
from runs import find_run, finish, isolated, start_run, wait_until
from training import (
    DIGITS,
    TOY,
    TOY_PARTS,
    choose_spite,
    make_jobs,
    make_plan,
    place_inline,
    read_history,
    read_oof,
    without_speed,
)

TINY = (
    "dataset.test_share=0.9",
    "split.folds=2",
    "train.batch_size=32",
    "train.epochs=2",
    "compute.threads=1",
    'compute.precision="fp32"',
)

PLAIN = (
    'model="toy/hidden"',
    'optimizer={use="optimizer/sgd", lr=0.1, momentum=0.0, nesterov=false, weight_decay=0.0}',
    "train.batch_size=15",
)
"""No batch statistics: then the work of two processes adds up to that of one."""


@pytest.fixture(scope="module")
def surroundings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The plugin ``toy`` and a cache, for this process and those that Ray starts."""
    site = tmp_path_factory.mktemp("site")
    info = site / "toy-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toy\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[icf]\ntoy = toy\n")
    for name, code in (("toy", TOY), ("toy_parts", TOY_PARTS)):
        (site / f"{name}.py").write_text(textwrap.dedent(code).replace("{module}", "toy"))
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(site)
        patch.setenv("PYTHONPATH", os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep))
        with isolated(patch, tmp_path_factory.mktemp("cache")):
            yield
    for name in ("toy", "toy_parts"):
        sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def session(surroundings: None) -> Iterator[Any]:
    """One Ray session for all tests; its CPUs are only numbers."""
    with ray_session(num_cpus=4) as ray:
        yield ray


@pytest.fixture(scope="module")
def inline_jobs(surroundings: None, tmp_path_factory: pytest.TempPathFactory) -> list[FoldJob]:
    return run_folds("inline", tmp_path_factory.mktemp("inline"))


def make_executor(
    name: str, plan: Any, *, concurrent: int, workers: int, fold_threads: tuple[int, ...] = ()
) -> Executor:
    placement = Placement(name, "a test", concurrent, 1, "cpu", workers=workers, fold_threads=fold_threads)
    compute = plan.recipe.compute
    if name == "inline":
        return InlineExecutor()
    executors = {"process": ProcessExecutor, "ray-task": RayTaskExecutor, "ray-train": RayTrainExecutor}
    return executors[name](placement, compute)


def run_folds(name: str, runs: Path, *overrides: str, concurrent: int = 2, workers: int = 1) -> list[FoldJob]:
    """Train all folds of a tiny plan with one of the executors, the last of them with two threads."""
    plan = make_plan(*overrides, small=TINY)
    *others, last = make_jobs(plan, runs)
    jobs = [*others, replace(last, threads=2)]
    threads = tuple(job.threads for job in jobs)
    assert make_executor(name, plan, concurrent=concurrent, workers=workers, fold_threads=threads).run(jobs) == {}
    return jobs


def assert_same_numbers(jobs: Sequence[FoldJob], others: Sequence[FoldJob]) -> None:
    for job, other in zip(jobs, others, strict=True):
        assert without_speed(read_history(job.folder)) == without_speed(read_history(other.folder))
        for product in ("oof.parquet", "test.parquet"):
            assert (job.folder.path / product).read_bytes() == (other.folder.path / product).read_bytes()


@pytest.mark.usefixtures("session")
@pytest.mark.parametrize("name", ["process", "ray-task", "ray-train"])
def test_every_executor_gives_the_same_bits(name: str, tmp_path: Path, inline_jobs: list[FoldJob]) -> None:
    assert_same_numbers(run_folds(name, tmp_path), inline_jobs)


@contextmanager
def watch_listening() -> Iterator[dict[str, str]]:
    """Collect on which addresses processes that this one started listen while the block lasts."""
    found: dict[str, str] = {}
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.1):
            for address, owner in list_listening(list_descendants(os.getpid())).items():
                # A process that is about to end still listens, and has lost its name.
                found[address] = owner or found.get(address, "")

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield found
    finally:
        done.set()
        thread.join()


@pytest.mark.usefixtures("session")
@pytest.mark.parametrize(
    "setting", ['train.average="none"', 'train.average="ema"', 'train.average="soup"', "model.unfreeze=[1]"]
)
def test_two_processes_train_a_fold_like_one(tmp_path: Path, setting: str) -> None:
    # Parts of 8 and 7 rows, cut into 8 pieces: the second process has one piece less than the first.
    settings = (*PLAIN, setting, "train.accumulate=8")
    alone = run_folds("inline", tmp_path / "alone", *PLAIN, setting)[0]
    plan = make_plan(*settings, small=TINY)
    jobs = make_jobs(plan, tmp_path / "team")[:1]
    with watch_listening() as listening:
        assert make_executor("ray-train", plan, concurrent=1, workers=2).run(jobs) == {}
    assert any("RayTrainWorker" in owner for owner in listening.values())
    assert {address: owner for address, owner in listening.items() if not is_loopback(address)} == {}
    np.testing.assert_allclose(read_oof(jobs[0].folder), read_oof(alone.folder), atol=1e-5)
    for row, other in zip(read_history(jobs[0].folder), read_history(alone.folder), strict=True):
        assert without_speed([row])[0] == pytest.approx(without_speed([other])[0], abs=1e-5)


@pytest.mark.usefixtures("session")
@pytest.mark.parametrize("name", ["process", "ray-task"])
def test_folds_without_a_place_wait_for_one(name: str, tmp_path: Path) -> None:
    jobs = run_folds(name, tmp_path, "split.folds=6", "train.epochs=1", concurrent=2)
    assert all(job.folder.oof.exists() for job in jobs)


def run_command(name: str, runs: Path, *overrides: str, retry: bool = False) -> int:
    """Run ``icf run`` in this process; return its exit code."""
    settings = [*TINY, "train.epochs=1", f'compute.executor="{name}"', *overrides]
    options = [part for text in settings for part in ("--set", text)]
    return main(["run", str(DIGITS), "--runs", str(runs), *options, *["--retry"] * retry])


@pytest.mark.usefixtures("session")
@pytest.mark.parametrize(("name", "folds"), [("inline", 3), ("process", 3), ("ray-task", 3), ("ray-train", 2)])
def test_a_fold_that_fails_fails_alone(
    name: str, folds: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    grudge = tmp_path / "grudge"
    grudge.touch()
    settings = (f"split.folds={folds}", choose_spite(1, grudge))
    assert run_command(name, tmp_path / "runs", *settings) == 1
    message = capsys.readouterr().err
    assert f"1 of {folds} folds failed" in message
    assert "fold 1: loss 'toy/spiteful' (toy 1.0) failed in training: ValueError: this fold is not to my" in message
    assert "to train the rest, type: icf run " in message
    assert message.endswith(" --retry\n")
    folder = find_run(tmp_path / "runs") / "folds"
    others = [folder / str(fold) / "oof.parquet" for fold in range(folds) if fold != 1]
    times = [path.stat().st_mtime_ns for path in others]
    assert not (folder / "1" / "metrics.json").exists()
    grudge.unlink()
    attempt = (folder / "1" / "attempt.txt").read_text()
    assert run_command(name, tmp_path / "runs", *settings) == 1
    assert capsys.readouterr().err == message  # it is told again, and not tried again
    assert (folder / "1" / "attempt.txt").read_text() == attempt
    # The second start need not be by the same executor: all give the same numbers.
    assert run_command("inline", tmp_path / "runs", *settings, retry=True) == 0
    assert not (folder / "1.failed.json").exists()
    assert [path.stat().st_mtime_ns for path in others] == times
    assert read_json(folder.parent / "metrics.json")["rows"] == 180


def slow_settings(executor: str) -> tuple[str, ...]:
    return (*TINY, "dataset.test_share=0.5", "train.epochs=6", f'compute={{executor="{executor}", threads=1}}')


def wait_for_two_epochs(runs: Path, process: subprocess.Popen[str]) -> None:
    histories = (runs / "digits").glob
    wait_until(
        lambda: any(len(path.read_text().splitlines()) > 2 for path in histories("*/folds/*/history.csv")), process
    )


def assert_all_end(processes: Iterable[int]) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and not all(has_ended(found) for found in processes):
        time.sleep(0.1)
    assert [read_command(found) for found in processes if not has_ended(found)] == []


def assert_same_as_undisturbed(runs: Path, alone: Path, settings: Sequence[str]) -> None:
    run_pipeline(make_plan(*settings, small=()), alone, place_inline, Listener())
    for product in ("oof.parquet", "test.parquet", "submission.csv"):
        assert (find_run(runs) / product).read_bytes() == (find_run(alone) / product).read_bytes()


@pytest.mark.parametrize(
    ("executor", "command"), [("process", "multiprocessing.forkserver"), ("ray-task", "ray::run_job")]
)
def test_a_killed_worker_is_replaced_and_nothing_is_open_or_left(
    executor: str, command: str, tmp_path: Path, surroundings: None
) -> None:
    slow = slow_settings(executor)
    with start_run(tmp_path / "killed", *slow) as process:
        wait_for_two_epochs(tmp_path / "killed", process)
        seen = list_descendants(process.pid)
        listening = list_listening([process.pid, *seen])
        workers = sorted(found for found in seen if command in read_command(found))
        os.kill(workers[-1], signal.SIGKILL)  # the first is the server, where there is one
        finish(process)
    assert {address: owner for address, owner in listening.items() if not is_loopback(address)} == {}
    assert bool(listening) == (executor == "ray-task")  # the others have no need to listen
    assert_all_end(seen)
    assert_same_as_undisturbed(tmp_path / "killed", tmp_path / "alone", slow)


def test_processes_end_with_the_run_that_started_them(tmp_path: Path, surroundings: None) -> None:
    slow = slow_settings("process")
    with start_run(tmp_path / "killed", *slow) as process:
        wait_for_two_epochs(tmp_path / "killed", process)
        seen = list_descendants(process.pid)
        process.kill()
    assert len(seen) > 2
    assert_all_end(seen)
    with start_run(tmp_path / "killed", *slow) as process:
        finish(process)
    assert_same_as_undisturbed(tmp_path / "killed", tmp_path / "alone", slow)


def test_a_process_that_always_dies_is_given_up_and_its_last_words_are_kept(tmp_path: Path, surroundings: None) -> None:
    deadly = ('loss="toy/deadly"', "compute.max_failures=1")
    plan = make_plan(*deadly, small=TINY)
    jobs = make_jobs(plan, tmp_path)
    failed = make_executor("process", plan, concurrent=2, workers=1).run(jobs)
    assert set(failed) == {0, 1}
    assert failed[0] == Failure(f"the fold's process ended with exit code 7, 2 times; see {jobs[0].folder.log}")
    assert jobs[0].folder.log.read_text() == "last words\n" * 2


def test_a_script_without_a_guard_is_not_executed_again(tmp_path: Path, surroundings: None) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(
            f"""
            from pathlib import Path
            from icf.executors.placement import choose_executor
            from icf.pipeline.listener import Listener
            from icf.pipeline.run import run_pipeline
            from icf.plan import load_plan

            print("script")
            plan = load_plan(Path({str(DIGITS)!r}), {list(slow_settings("process"))!r})
            run_pipeline(plan, Path({str(tmp_path / "runs")!r}), choose_executor, Listener())
            """
        )
    )
    result = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=120, check=True)
    assert result.stdout == "script\n"
    assert (find_run(tmp_path / "runs") / "metrics.json").exists()
    assert "script" not in "".join(path.read_text() for path in (tmp_path / "runs").rglob("*.log"))
