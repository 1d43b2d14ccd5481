"""A Ray cluster of several raylets on this machine, in processes of its own that can be killed one by one."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.processes import ROOT, list_descendants

SERVER = """
import json, os, sys
from ray.cluster_utils import Cluster
options = {"include_dashboard": False, "object_store_memory": 80_000_000, "node_ip_address": "127.0.0.1"}
cluster = Cluster(initialize_head=True, head_node_args={**options, "num_cpus": 0})
nodes = []
def find(node, name):
    return node.all_processes[name][0].process.pid
def add():
    nodes.append(cluster.add_node(**{**options, "num_cpus": 2}))
    print(json.dumps({"raylet": find(nodes[-1], "raylet")}), flush=True)
head = [find(cluster.head_node, name) for name in ("gcs_server", "raylet")]
print(json.dumps({"address": cluster.address, "head": head}), flush=True)
for line in sys.stdin:
    add()
"""
"""Told to add a node by a line; answers with a JSON object for each node."""


class RayCluster:
    """A head without CPUs, and nodes with two each; what is killed of it is not started again by itself."""

    def __init__(self, nodes: int, environment: Mapping[str, str]) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="icf-", ignore_cleanup_errors=True)
        self.environment = {
            **environment,
            "RAY_TMPDIR": self._folder.name,
            "RAY_AUTH_MODE": "disabled",
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_memory_monitor_refresh_ms": "0",
            # How long a driver waits for a head that is gone; one minute if left out.
            "RAY_gcs_rpc_server_reconnect_timeout_s": "5",
        }
        self._process = subprocess.Popen(
            [sys.executable, "-c", SERVER],
            cwd=ROOT,
            env={**os.environ, **self.environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.server = self._process.pid
        started = self._read()
        self.environment["RAY_ADDRESS"] = started["address"]
        self._head: list[int] = started["head"]
        self.raylets: list[int] = []
        for _ in range(nodes):
            self.add_node()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("{"):
                found: dict[str, Any] = json.loads(line)
                return found
        raise RuntimeError("the Ray cluster did not start")

    def add_node(self) -> None:
        """Start one more raylet, and wait for it."""
        assert self._process.stdin is not None
        self._process.stdin.write("add\n")
        self._process.stdin.flush()
        self.raylets.append(self._read()["raylet"])

    def kill_node(self, index: int) -> None:
        """Kill a raylet; its workers end when they notice."""
        os.kill(self.raylets.pop(index), signal.SIGKILL)

    def kill_head(self) -> None:
        """Kill the head's processes."""
        for process in self._head:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)

    def stop(self) -> None:
        """Kill whatever is left of it."""
        family = [*list_descendants(self._process.pid), self._process.pid]
        for process in family:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        self._process.wait()
        self._folder.cleanup()


@contextlib.contextmanager
def ray_cluster(nodes: int, environment: Mapping[str, str]) -> Iterator[RayCluster]:
    """Run a cluster for the time of the block."""
    cluster = RayCluster(nodes, environment)
    try:
        yield cluster
    finally:
        cluster.stop()


def list_marked(marker: str) -> list[int]:
    """Return the processes whose environment holds a marker, such as ``NAME=value``: also those of dead parents."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if marker.encode() in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
    return found
