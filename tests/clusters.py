"""A real Ray head on this machine, and the command ``icf`` as a process that submits to it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import list_descendants

from processes import has_ended, read_command

PYTHON_FOLDER = str(Path(sys.executable).parent)


@dataclass(frozen=True)
class Head:
    """A head that runs: the address of its dashboard and of its control store, and its process."""

    url: str
    store: str
    process: int


def find_ports(count: int) -> list[int]:
    """Return ports on which nobody listens."""
    with tempfile.TemporaryDirectory():
        sockets = [socket.socket() for _ in range(count)]
        for found in sockets:
            found.bind(("127.0.0.1", 0))
        ports = [int(found.getsockname()[1]) for found in sockets]
        for found in sockets:
            found.close()
    return ports


def make_environment(home: Path, **changes: str) -> dict[str, str]:
    """Return the variables of a machine of its own: home, cache, no settings of Ray but those given."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "ICF_"))}
    own = {
        "HOME": str(home),
        "ICF_CACHE": str(home / "cache"),
        "OMP_NUM_THREADS": "1",
        "PATH": os.pathsep.join([PYTHON_FOLDER, kept.get("PATH", "")]),
    }
    return kept | own | changes


def write_token(home: Path, token: str) -> None:
    """Put a token where Ray looks for it."""
    (home / ".ray").mkdir(parents=True, exist_ok=True)
    (home / ".ray" / "auth_token").write_text(token)


@contextmanager
def run_ray(command: list[str], environment: Mapping[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run ``ray start --block`` while the block lasts; afterwards nothing of it is left."""
    with log.open("wb") as file:
        process = subprocess.Popen(command, env=dict(environment), stdout=file, stderr=file, start_new_session=True)
    try:
        yield process
    finally:
        seen = [process.pid, *list_descendants(process.pid)]
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=5)
        for found in seen:
            if not has_ended(found) and read_command(found):
                with suppress(ProcessLookupError):
                    os.kill(found, signal.SIGKILL)
        process.wait()


@contextmanager
def start_head(home: Path, **changes: str) -> Iterator[Head]:
    """Start a head on loopback, with two CPUs, whose token lies in ``home``."""
    store, dashboard, agent = find_ports(3)
    # A socket's path must not be longer than 107 bytes.
    with tempfile.TemporaryDirectory(prefix="icf-") as folder:
        environment = make_environment(
            home,
            RAY_TMPDIR=folder,
            RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER="0",
            RAY_USAGE_STATS_ENABLED="0",
            RAY_memory_monitor_refresh_ms="0",
            **changes,
        )
        command = ["ray", "start", "--head", "--block", "--num-cpus=2", "--object-store-memory=100000000"]
        command += ["--node-ip-address=127.0.0.1", f"--port={store}", "--dashboard-host=127.0.0.1"]
        command += [f"--dashboard-port={dashboard}", f"--dashboard-agent-listen-port={agent}"]
        log = home / "head.log"
        with run_ray(command, environment, log) as process:
            deadline = time.monotonic() + 90
            while "will now block" not in log.read_text(errors="replace"):
                assert process.poll() is None, log.read_text(errors="replace")
                assert time.monotonic() < deadline, log.read_text(errors="replace")
                time.sleep(0.2)
            yield Head(f"http://127.0.0.1:{dashboard}", f"127.0.0.1:{store}", process.pid)


def run_icf(*arguments: str, environment: Mapping[str, str], folder: Path, code: int = 0) -> str:
    """Run ``icf`` in a folder; return what it printed on both streams."""
    command = [sys.executable, "-m", "icf", *arguments]
    done = subprocess.run(
        command, env=dict(environment), cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stdout
    return done.stdout
