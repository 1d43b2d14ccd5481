"""Room for folds on a cluster: what its nodes have, and a refusal where a fold would wait for ever."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from icf.errors import IcfError
from icf.pipeline.jobs import Placement

Nodes = Sequence[Mapping[str, Any]]
"""As ``ray.nodes()`` gives them; only "Alive" and "Resources" are read."""

PATIENCE = 15.0
"""Seconds in which what an earlier driver held is free again, if it died."""


def read_nodes() -> Nodes:
    """Return the nodes of the cluster that RAY_ADDRESS names, as ``list_nodes`` does."""
    from icf.executors.ray_session import ray_session  # no work for runs without a cluster

    with ray_session(num_cpus=1) as ray:
        return list_nodes(ray)


def list_nodes(ray: Any) -> Nodes:
    """Return the nodes that are alive; of a cluster that grows, one with the most that it may ever have."""
    from ray._private.state import state

    most = state.get_max_resources_from_cluster_config()
    if most:
        return [{"Alive": True, "Resources": most}]
    return [node for node in ray.nodes() if node["Alive"]]


def count_most(nodes: Nodes, resource: str) -> float:
    """Return how much of a resource, such as "CPU", the node has that has most of it."""
    return max((float(node["Resources"].get(resource, 0)) for node in nodes), default=0.0)


def choose_cluster_device(wanted: str, nodes: Nodes) -> str:
    """Return "cuda" or "cpu" for compute.device, by what the nodes have: the driver may have no GPU.

    Raises:
        IcfError: a GPU is wanted, and no node has one.
    """
    gpus = count_most(nodes, "GPU")
    if wanted == "cuda" and not gpus:
        raise IcfError('compute.device = "cuda", but no node of the cluster has a GPU; use "auto" or "cpu"')
    return "cuda" if gpus and wanted != "cpu" else "cpu"


def describe_need(placement: Placement, threads: int) -> dict[str, float]:
    """Return what one worker of a fold needs of a node."""
    need = {"CPU": float(threads)}
    if placement.gpus:
        need["GPU"] = placement.gpus
    return need


def find_places(ray: Any, need: Mapping[str, float], workers: int) -> int:
    """Return how many folds fit on the cluster at a time.

    Raises:
        IcfError: not one ever will.
    """
    nodes = list_nodes(ray)
    places = count_capacity(nodes, need, workers)
    if places == 0:
        raise IcfError(describe_shortage(nodes, need, workers))
    _require_others(ray, need, workers)
    return places


def _require_others(ray: Any, need: Mapping[str, float], workers: int) -> None:
    """Raise IcfError if there is no room although nobody else is there: then this very job holds it."""
    deadline = time.monotonic() + PATIENCE
    while not count_capacity(_list_free(ray), need, workers):
        if _has_others(ray):
            return  # they will end
        if time.monotonic() > deadline:
            raise IcfError(
                "no fold fits on the cluster, although no other job is there: its own driver holds what it needs;"
                " submit it without --entrypoint-num-cpus, --entrypoint-num-gpus and --entrypoint-resources"
            )
        time.sleep(0.5)


def _list_free(ray: Any) -> Nodes:
    from ray._private.state import available_resources_per_node

    free = available_resources_per_node()  # type: ignore[no-untyped-call]
    return [{"Alive": True, "Resources": free.get(node["NodeID"], {})} for node in ray.nodes() if node["Alive"]]


def _has_others(ray: Any) -> bool:
    from ray._private.state import jobs

    own = ray.get_runtime_context().get_job_id()
    # The dashboard's own job starts the drivers of submitted ones.
    found = [job for job in jobs() if not job["IsDead"]]  # type: ignore[no-untyped-call]
    return any(job["JobID"] != own and "/ray/dashboard/" not in job["Entrypoint"] for job in found)


def count_capacity(nodes: Nodes, need: Mapping[str, float], workers: int) -> int:
    """Return how many folds fit at once: workers that fit on each node, summed, divided by workers per fold."""
    room = 0
    for node in nodes:
        if node["Alive"]:
            resources = node["Resources"]
            rooms = [int(resources.get("CPU", 0) / need["CPU"])]
            if need.get("GPU"):
                rooms.append(count_shares(resources.get("GPU", 0), need["GPU"]))
            room += min(rooms)
    return room // workers


def count_shares(there: float, amount: float) -> int:
    """Return how many workers with ``amount`` GPUs each fit on ``there``; a fraction lies on one GPU."""
    return int(there) * int(1 / amount) if amount < 1 else int(there / amount)


def describe_shortage(nodes: Nodes, need: Mapping[str, float], workers: int) -> str:
    """Say what one fold needs and what the cluster has."""
    have = [", ".join(f"{node['Resources'].get(name, 0):g} {name}" for name in need) for node in nodes if node["Alive"]]
    wanted = ", ".join(f"{amount:g} {name}" for name, amount in need.items())
    return (
        f"no fold fits on the cluster: a fold needs {workers} workers with {wanted} each; the nodes have"
        f" {'; '.join(have)}. Lower compute.workers_per_fold, compute.threads or compute.gpus_per_worker"
    )
