"""``python benchmarks/chaos.py --seed N --kills N``: kills processes of runs at random moments, and compares the ends.

Each kill has a run of its own, which then heals by itself or is started again by the same command, until it is
finished. Its out-of-fold and test probabilities must be, bit for bit, those of a run that nothing happened to, and no
process may be left. Needs Linux; full disks need root, and out-of-memory kills by the kernel a writable memory cgroup
(without one, SIGKILL stands for them, which is what the kernel sends).
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # for `python benchmarks/chaos.py`

from benchmarks.processes import ICF, list_descendants  # noqa: E402
from benchmarks.ray_cluster import RayCluster, list_marked, ray_cluster  # noqa: E402

SETTINGS = (
    "dataset.test_share=0.7",
    "split.folds=3",
    "train.batch_size=32",
    "train.epochs=8",
    "model.widths=[48, 96]",
    'compute={threads=1, precision="fp32", tune="off", max_failures=5, checkpoint_minutes=0.001}',
)
EPOCHS = 24
"""Of all folds; together they take some seconds."""

SCENES = [
    *[("worker", "process"), ("driver", "process")] * 3,
    *[("ctrl-c", "process"), ("oom", "process"), ("disk", "process")] * 2,
    *[("worker", "ray-task"), ("driver", "ray-task"), ("ctrl-c", "inline"), ("driver", "inline")],
    *[("node", "cluster"), ("head", "cluster"), ("node", "cluster-train"), ("worker", "cluster-train")],
]
"""What is killed, and where folds run: twenty kills of a round."""

KINDS = tuple(dict.fromkeys(kind for kind, _ in SCENES))
PRODUCTS = ("oof.parquet", "test.parquet")
WORKERS = {
    "process": "multiprocessing.forkserver",
    "ray-task": "ray::run_job",
    "cluster": "ray::run_job",
    "cluster-train": "RayTrainWorker",
}
"""How the command of a process that trains a fold can be told."""

PATIENCE = 300.0
ENDING = 30.0
"""Seconds until the processes of a run that has ended are gone."""


@dataclass
class Outcome:
    """How a run ended; ``starts`` is how often its command was typed."""

    finished: bool = False
    equal: bool = False
    starts: int = 1
    left: list[str] = field(default_factory=list)
    note: str = ""


class TooLate(Exception):  # noqa: N818 - not an error
    """The run was over before anything could happen to it."""


class Trial:
    """One run, in a folder of its own."""

    def __init__(self, place: str, folder: Path, cluster: RayCluster | None, moments: random.Random) -> None:
        self.place = place
        self.runs = folder / "runs"
        self.runs.mkdir(parents=True)
        self.cluster = cluster
        self.moments = moments
        self.mark = f"ICF_CHAOS={secrets.token_hex(8)}"
        self.starts = 0
        self._log = folder.with_suffix(".log").open("w+")  # beside the folder, whose disk may be full
        self.process = self.start()

    def start(self) -> subprocess.Popen[str]:
        """Type the command."""
        executor = {"cluster": "ray-task", "cluster-train": "ray-train"}.get(self.place, self.place)
        settings = [part for text in (*SETTINGS, f'compute.executor="{executor}"') for part in ("--set", text)]
        command = [*ICF, "run", str(ROOT / "recipes" / "digits.toml"), "--quiet", "--runs", str(self.runs), *settings]
        environment = {**os.environ, **(self.cluster.environment if self.cluster else {})}
        name, _, value = self.mark.partition("=")
        self.starts += 1
        return subprocess.Popen(
            command,
            env={**environment, name: value, "OMP_NUM_THREADS": "1"},
            stdout=self._log,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def find_workers(self) -> list[int]:
        """Return the processes that train folds now, the oldest first."""
        everyone = list_marked(self.mark) if self.cluster is None else list_descendants(self.cluster.server)
        found = sorted(process for process in everyone if WORKERS[self.place] in _read_command(process))
        return found[1:] if self.place == "process" else found  # the first is the server from which others are forked

    def wait_for_moment(self) -> bool:
        """Wait for a random moment; tell whether the run is not over by then."""
        if self.moments.random() < 0.25:
            self._wait(lambda: False, self.moments.uniform(0.2, 6.0))
        else:
            epochs = self.moments.randrange(EPOCHS)
            self._wait(lambda: self.count_epochs() >= epochs and any(self.runs.glob("*/*/folds")), PATIENCE)
            self._wait(lambda: False, self.moments.uniform(0.0, 0.4))
        return self.process.poll() is None

    def _wait(self, condition: Callable[[], bool], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while self.process.poll() is None and time.monotonic() < deadline and not condition():
            time.sleep(0.01)

    def wait_for_workers(self) -> list[int]:
        """Wait until a fold is being trained, and return the processes that do.

        Raises:
            TooLate: the run is over.
        """
        self._wait(lambda: bool(self.find_workers()), PATIENCE)
        if not (found := self.find_workers()):
            raise TooLate
        return found

    def count_epochs(self) -> int:
        """Return how many epochs of all folds are done."""
        histories = self.runs.glob("*/*/folds/*/history.csv")
        total = 0
        for path in histories:
            with contextlib.suppress(OSError):
                total += len(path.read_text().splitlines()) - 1
        return total

    def finish(self, *, by_itself: bool) -> bool:
        """See the run to its end, with the same command if that is needed; tell whether it got there."""
        for _ in range(1 if by_itself else 3):
            if self._wait_for_end() == 0:
                return True
            self.process = self.start()
        return self._wait_for_end() == 0 and not by_itself

    def _wait_for_end(self) -> int | None:
        try:
            return self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            return None

    def read_output(self) -> str:
        """Return what all starts have printed."""
        self._log.seek(0)
        return self._log.read()

    def end(self) -> list[str]:
        """Wait until the run's processes are gone; kill what is left, and return its commands."""
        self._log.close()
        deadline = time.monotonic() + ENDING
        while (left := self._list_left()) and time.monotonic() < deadline:
            time.sleep(0.1)
        commands = [_read_command(process) for process in left]
        for process in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        return commands

    def _list_left(self) -> list[int]:
        return [process for process in list_marked(self.mark) if _read_command(process)]


def _read_command(process: int) -> str:
    try:
        return (Path("/proc") / str(process) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def kill_worker(trial: Trial) -> None:
    """Kill a process that trains a fold; the run heals by itself."""
    os.kill(trial.moments.choice(trial.wait_for_workers()), signal.SIGKILL)


def exhaust_memory(trial: Trial) -> None:
    """Let the kernel kill a fold's process for want of memory: in a group that may have four megabytes more."""
    worker = trial.moments.choice(trial.wait_for_workers())
    group = Path("/sys/fs/cgroup/memory") / f"icf-chaos-{worker}"
    try:
        group.mkdir()
        (group / "memory.limit_in_bytes").write_text(str(4_000_000))
        (group / "cgroup.procs").write_text(str(worker))
    except OSError:
        os.kill(worker, signal.SIGKILL)
        return
    deadline = time.monotonic() + 20
    while _read_command(worker) and time.monotonic() < deadline:
        time.sleep(0.05)
    with contextlib.suppress(OSError):
        os.kill(worker, signal.SIGKILL)
    _remove_group(group)


def _remove_group(group: Path) -> None:
    """Remove a group of processes, which the kernel refuses until the last of them is gone for good."""
    deadline = time.monotonic() + 10
    while group.exists() and time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            group.rmdir()
        time.sleep(0.05)


def kill_driver(trial: Trial) -> None:
    """Kill the process that the person started."""
    trial.process.kill()
    trial.process.wait()


def press_ctrl_c(trial: Trial) -> None:
    """Send what a terminal sends to all processes of the run."""
    os.killpg(trial.process.pid, signal.SIGINT)
    pressed = time.monotonic()
    code = trial.process.wait(ENDING)
    if code == 0 and time.monotonic() - pressed < 1:
        raise TooLate  # all was done, but for the end of the process
    if code != 130 or "interrupted" not in trial.read_output():
        raise RuntimeError(f"Ctrl-C: exit code {code}: {trial.read_output()[-500:]}")


def kill_node(trial: Trial) -> None:
    """Kill a node on which folds are trained; the run heals by itself, on the other one."""
    trial.wait_for_workers()
    assert trial.cluster is not None
    trial.cluster.kill_node(trial.moments.randrange(len(trial.cluster.raylets)))


def kill_head(trial: Trial) -> None:
    """Kill the head, and start another cluster: the driver ends, and is started again."""
    assert trial.cluster is not None
    trial.cluster.kill_head()
    try:
        trial.process.wait(60)
    except subprocess.TimeoutExpired:
        trial.process.kill()  # as the machine of the head would, on which a job's driver is
        trial.process.wait()
    trial.cluster.stop()
    trial.cluster.__init__(2, {})  # type: ignore[misc] # the same cluster, started again


def fill_disk(trial: Trial) -> None:
    """Fill the disk of the run folder, wait for the run to end, and make room again."""
    ballast = trial.runs / "ballast"
    with contextlib.suppress(OSError), ballast.open("wb") as file:
        while True:
            file.write(bytes(65536))
            file.flush()
    try:
        code = trial.process.wait(PATIENCE)
    finally:
        ballast.unlink()
    if code and "no room" not in trial.read_output():
        raise RuntimeError(f"full disk: exit code {code}: {trial.read_output()[-500:]}")


EVENTS: dict[str, Callable[[Trial], None]] = {
    "worker": kill_worker,
    "oom": exhaust_memory,
    "node": kill_node,
    "driver": kill_driver,
    "head": kill_head,
    "ctrl-c": press_ctrl_c,
    "disk": fill_disk,
}
HEAL = ("worker", "oom", "node")
"""After these the run ends well without anybody's help."""


@contextlib.contextmanager
def small_disk(folder: Path, kind: str) -> Iterator[None]:
    """Mount a disk of 24 MB on a folder, for full disks."""
    if kind != "disk":
        yield
        return
    folder.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def strike(kind: str, place: str, folder: Path, moments: random.Random, expected: dict[str, bytes]) -> Outcome:
    """Start a run, let something happen to it, see it to its end, and compare."""
    for number in range(10):
        home = folder / str(number)
        surroundings = ray_cluster(2, {}) if place.startswith("cluster") else contextlib.nullcontext()
        with small_disk(home, kind), surroundings as cluster:
            trial = Trial(place, home, cluster, moments)
            try:
                if not trial.wait_for_moment():
                    raise TooLate
                EVENTS[kind](trial)
                outcome = Outcome(finished=trial.finish(by_itself=kind in HEAL), starts=trial.starts)
                outcome.equal = outcome.finished and read_products(trial.runs) == expected
                if not outcome.equal:
                    outcome.note = trial.read_output()[-1500:]
            except TooLate:
                trial.end()
                continue
            except (RuntimeError, subprocess.TimeoutExpired, ProcessLookupError) as error:
                outcome = Outcome(note=str(error))
            outcome.left = trial.end()
            return outcome
    return Outcome(note="ten runs were over before their moment came")


def read_products(runs: Path) -> dict[str, bytes]:
    """Return the products of the only run below a folder."""
    (plan,) = runs.glob("*/*/plan.json")
    return {name: (plan.parent / name).read_bytes() for name in PRODUCTS}


def run_undisturbed(folder: Path) -> dict[str, bytes]:
    """Return the products of a run that nothing happens to, in one process."""
    trial = Trial("inline", folder, None, random.Random(0))
    if trial.process.wait() or trial.end():
        raise SystemExit(f"the undisturbed run failed:\n{folder.with_suffix('.log').read_text()}")
    return read_products(trial.runs)


def choose_scenes(
    kills: int, moments: random.Random, kinds: Sequence[str], places: Sequence[str]
) -> list[tuple[str, str]]:
    """Return what to kill where: whole rounds, each in a random order."""
    wanted = [scene for scene in SCENES if scene[0] in kinds and (not places or scene[1] in places)]
    if os.geteuid():
        wanted = [scene for scene in wanted if scene[0] != "disk"]
    found: list[tuple[str, str]] = []
    while len(found) < kills:
        found += moments.sample(wanted, len(wanted))
    return found[:kills]


def main(arguments: Sequence[str] | None = None) -> int:
    """Kill, and count; return 1 if anything was lost or left."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="of what is killed, and when")
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--kinds", default=",".join(KINDS), help="separated by commas")
    parser.add_argument("--places", default="", help="process, inline, ray-task, cluster, cluster-train; default: all")
    chosen = parser.parse_args(arguments)
    # Shells let programs in the background ignore Ctrl-C, and these hand that on.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    moments = random.Random(chosen.seed)
    scenes = choose_scenes(chosen.kills, moments, chosen.kinds.split(","), list(filter(None, chosen.places.split(","))))
    finished = equal = left = 0
    with tempfile.TemporaryDirectory(prefix="icf-chaos-") as folder:
        os.environ |= {"ICF_CACHE": f"{folder}/cache", "RAY_AUTH_MODE": "disabled"}
        os.environ.pop("RAY_ADDRESS", None)
        expected = run_undisturbed(Path(folder) / "undisturbed")
        for number, (kind, place) in enumerate(scenes, 1):
            started = time.monotonic()
            outcome = strike(kind, place, Path(folder) / f"{number}", random.Random(moments.random()), expected)
            finished, equal, left = finished + outcome.finished, equal + outcome.equal, left + bool(outcome.left)
            how = "equal" if outcome.equal else "LOST"
            took = f"{outcome.starts} starts, {time.monotonic() - started:.0f} s"
            print(f"{number:3} {kind:8} {place:14} {how:6} {took} {' '.join(outcome.left)} {outcome.note}", flush=True)
            shutil.rmtree(Path(folder) / f"{number}", ignore_errors=True)
    print(f"processes left behind after {left} of them")
    print(f"kills {len(scenes)}, finished {finished}, equal {equal}, lost {len(scenes) - equal}")
    return int(equal < len(scenes) or left > 0)


if __name__ == "__main__":
    sys.exit(main())
