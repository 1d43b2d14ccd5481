"""Hosts on one machine: network namespaces with addresses of their own, and mount namespaces that share no disk.

Only the folder ``/tmp/shared`` of hosts that ask for it is common to them. Programs are read from this machine, of
whose disk a host can write nothing but its own ``/tmp``.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from clusters import PYTHON_FOLDER, run_ray, write_token
from processes import read_command

TOKEN = "0123456789abcdef" * 4
CLUSTER = {
    "RAY_AUTH_MODE": "token",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_memory_monitor_refresh_ms": "0",
    # A node that is silent for 4 seconds is given up; without these it takes about half a minute.
    "RAY_health_check_initial_delay_ms": "0",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "1000",
    "RAY_health_check_failure_threshold": "3",
}

ENTER = """
set -e
mount --make-rprivate /
if [ -n "$3" ]; then mount --bind "$3" "$2/shared"; fi
mount --rbind "$2" /tmp
mount -t tmpfs none /dev/shm
echo "127.0.0.1 localhost $1" > /tmp/hosts
mount --bind /tmp/hosts /etc/hosts
mount -o remount,bind,ro /
hostname "$1"
cd /tmp
shift 3
exec "$@"
"""


@dataclass(frozen=True)
class Host:
    """A host: its name, address, network namespace, the folder that is its ``/tmp``, and what it shares."""

    name: str
    address: str
    space: str
    folder: Path
    shared: Path | None

    def command(self, arguments: Sequence[str]) -> list[str]:
        """Return what executes a command on this host."""
        inside = ["sh", "-c", ENTER, "sh", self.name, str(self.folder), str(self.shared or ""), *arguments]
        return ["ip", "netns", "exec", self.space, "unshare", "--mount", "--uts", *inside]

    def environment(self, **changes: str) -> dict[str, str]:
        """Return the variables of a program on this host."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "ICF_"))}
        path = os.pathsep.join([PYTHON_FOLDER, kept.get("PATH", "")])
        own = {"HOME": "/tmp/home", "TMPDIR": "/tmp", "OMP_NUM_THREADS": "1", "PATH": path}
        return kept | own | changes

    def cut_off(self) -> None:
        """Pull the plug of this host's network."""
        _ip("-n", self.space, "link", "set", "eth0", "down")

    def signal(self, title: str, number: signal.Signals) -> None:
        """Send a signal to this host's processes whose command holds a text; there must be some."""
        found = [process for process in list_processes(self.space) if title in read_command(process)]
        assert found, f"{self.name}: no process with {title} in its command"
        for process in found:
            os.kill(process, number)

    def write(self, name: str, text: str) -> Path:
        """Write a file below this host's ``/tmp``."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path


def explain_missing() -> str:
    """Return why there can be no hosts here; empty if there can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if missing := [name for name in ("ip", "unshare") if shutil.which(name) is None]:
        return f"needs the programs ip (Debian: iproute2) and unshare; missing: {', '.join(missing)}"
    probe = subprocess.run(
        ["unshare", "--net", "--mount", "--uts", "true"], capture_output=True, text=True, check=False
    )
    return f"no namespaces here: {probe.stderr.strip()}" if probe.returncode else ""


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, (arguments, done.stderr)


def list_processes(space: str) -> list[int]:
    """Return the processes in a network namespace."""
    found = subprocess.run(["ip", "netns", "pids", space], capture_output=True, text=True, check=False)
    return [int(number) for number in found.stdout.split()]


def list_spaces() -> set[str]:
    """Return the names of all network namespaces."""
    return {path.name for path in Path("/run/netns").glob("*")}


def remove_space(space: str) -> None:
    """Kill what runs in a network namespace, and remove it; its devices and mounts go with it."""
    deadline = time.monotonic() + 30
    while running := list_processes(space):
        assert time.monotonic() < deadline, f"{space}: {running} can't be killed"
        for process in running:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        time.sleep(0.1)
    subprocess.run(["ip", "netns", "delete", space], capture_output=True, check=False)


@contextmanager
def connect_hosts(folder: Path, sharing: Mapping[str, bool]) -> Iterator[dict[str, Host]]:
    """Yield hosts by name, connected by a switch; those of ``sharing`` that say so see one ``/tmp/shared``."""
    tag = f"icf{secrets.token_hex(2)}"
    switch = f"{tag}-switch"
    shared = folder / "shared"
    shared.mkdir()
    spaces = [switch]
    try:
        _ip("netns", "add", switch)
        _ip("-n", switch, "link", "add", "switch", "type", "bridge")
        _ip("-n", switch, "link", "set", "switch", "up")
        hosts = {}
        for number, (name, shares) in enumerate(sharing.items(), start=1):
            space = f"{tag}-{name}"
            _ip("netns", "add", space)
            spaces.append(space)
            address = f"10.77.0.{number}"
            _ip("-n", space, "link", "add", "eth0", "type", "veth", "peer", "name", f"port{number}", "netns", switch)
            _ip("-n", switch, "link", "set", f"port{number}", "master", "switch", "up")
            _ip("-n", space, "address", "add", f"{address}/24", "dev", "eth0")
            for device in ("lo", "eth0"):
                _ip("-n", space, "link", "set", device, "up")
            own = folder / name
            (own / "shared").mkdir(parents=True)
            hosts[name] = Host(name, address, space, own, shared if shares else None)
            write_token(own / "home", TOKEN)
        yield hosts
    finally:
        for space in spaces:
            remove_space(space)


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[bytes], log: Path, seconds: float) -> float:
    """Wait for something that a process brings about while it runs; return how long that took."""
    started = time.monotonic()
    while not condition():
        assert process.poll() is None, log.read_text(errors="replace")
        assert time.monotonic() < started + seconds, log.read_text(errors="replace")
        time.sleep(0.1)
    return time.monotonic() - started


def start_cluster(stack: ExitStack, head: Host, node: Host, **variables: str) -> None:
    """Start Ray with one CPU on each host, and these variables."""
    common = ["--block", "--num-cpus=1", "--object-store-memory=100000000"]
    leading = ["ray", "start", "--head", f"--node-ip-address={head.address}", f"--dashboard-host={head.address}"]
    joining = ["ray", "start", f"--address={head.address}:6379", f"--node-ip-address={node.address}"]
    for host, command in ((head, leading), (node, joining)):
        log = host.folder / "ray.log"
        ray = stack.enter_context(
            run_ray(host.command([*command, *common]), host.environment(**CLUSTER, **variables), log)
        )
        wait_for(lambda log=log: "will now block" in log.read_text(errors="replace"), ray, log, 90)  # type: ignore[misc]
