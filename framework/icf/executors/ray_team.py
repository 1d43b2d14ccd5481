"""How the workers of one fold find each other: like Ray Train's own way, but never listening on other addresses.

Ray Train lets torch open its rendezvous store, which listens on every interface of the machine and asks nobody who
they are. Here the store listens on the address that the node has in the cluster: loopback for an embedded session. So
does Gloo, which would take the address of the host's name: often loopback, where nobody on another host reaches it.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from datetime import timedelta
from importlib import import_module
from typing import Any

import torch.distributed as dist
from ray.train.backend import Backend
from ray.train.torch import TorchConfig
from torch.distributed import TCPStore  # type: ignore[attr-defined] # re-exported without being named

_STORES: list[TCPStore] = []
"""The store of this process, the first worker of a fold: it serves as long as somebody refers to it."""


@dataclass
class TeamConfig(TorchConfig):
    """What a TorchTrainer needs to know to connect its workers; a single worker is left alone."""

    @property
    def backend_cls(self) -> type[Backend]:
        """The class whose ``on_start`` connects the workers."""
        return TeamBackend


class TeamBackend(TorchConfig().backend_cls):  # type: ignore[misc] # the class has no public name
    """Connects the workers of a fold."""

    def on_start(self, worker_group: Any, backend_config: TorchConfig) -> None:
        """Make a process group of all workers: NCCL with GPUs, else Gloo."""
        import ray

        size = len(worker_group)
        if size == 1:
            return
        backend = "nccl" if worker_group.get_resources_per_worker().get("GPU", 0) else "gloo"
        host, port = worker_group.execute_single(0, open_store, size, backend_config.timeout_s)
        arguments = (size, backend, host, port, backend_config.timeout_s)
        ray.get([worker_group.execute_single_async(rank, join_team, rank, *arguments) for rank in range(size)])


def open_store(size: int, timeout_s: int) -> tuple[str, int]:
    """Open the store in the first worker; return where it listens."""
    import ray

    host: str = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.bind((host, 0))
    listener.listen()
    port = listener.getsockname()[1]
    _STORES[:] = [
        TCPStore(
            host,
            port,
            size,
            is_master=True,
            timeout=timedelta(seconds=timeout_s),
            wait_for_workers=False,
            master_listen_fd=listener.detach(),
        )
    ]
    return host, port


def join_team(rank: int, size: int, backend: str, host: str, port: int, timeout_s: int) -> None:
    """Enter the process group in one worker."""
    import ray

    node: str = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
    if interface := find_interface(node):
        os.environ.setdefault("GLOO_SOCKET_IFNAME", interface)
    timeout = timedelta(seconds=timeout_s)
    store = _STORES[0] if rank == 0 else TCPStore(host, port, size, is_master=False, timeout=timeout)
    dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=timeout)


def find_interface(address: str) -> str:
    """Return the name of this machine's network interface that has an address; empty if none has it."""
    found = import_module("psutil").net_if_addrs()  # Ray brings it along
    names = (name for name, entries in found.items() if address in {_strip_zone(entry.address) for entry in entries})
    return next(names, "")


def _strip_zone(address: str) -> str:
    return address.partition("%")[0]
