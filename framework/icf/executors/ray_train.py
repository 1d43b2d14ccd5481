"""Executor "ray-train": one TorchTrainer per fold, started from threads behind a capacity gate."""

from __future__ import annotations

import math
import queue
import threading
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from icf.errors import IcfError
from icf.executors.inline import describe_failure
from icf.executors.placement import count_shares
from icf.executors.ray_session import ray_session
from icf.memory import memory_variables
from icf.pipeline.files import write_text
from icf.pipeline.jobs import FoldJob, Placement
from icf.sections import Compute

RETRIES = 2
"""An out-of-memory kill makes fit() raise although Ray Train may retry; the fold then starts again from here."""


class RayTrainExecutor:
    """Trains folds on whatever CPUs and GPUs the cluster has; folds without a place wait in order."""

    def __init__(self, placement: Placement, compute: Compute) -> None:
        self._placement = placement
        self._limit = compute.max_concurrent_folds
        self._max_failures = compute.max_failures

    def run(self, jobs: Sequence[FoldJob]) -> Mapping[int, str]:
        """Run min(capacity, folds) trainers at a time."""
        placement = self._placement
        gpus = math.ceil(placement.concurrent * placement.workers * placement.gpus)
        with ray_session(num_cpus=placement.cpus, num_gpus=gpus) as ray:
            failed: dict[int, str] = {}
            # The last folds may have more threads; they wait until there is room for that, in one group of their own.
            for threads, group in groupby(jobs, key=lambda job: job.threads):
                failed |= self._run_group(list(group), self._need(threads), ray.nodes())
            return failed

    def _run_group(
        self, jobs: Sequence[FoldJob], need: Mapping[str, float], nodes: Sequence[Mapping[str, Any]]
    ) -> dict[int, str]:
        capacity = count_capacity(nodes, need, self._placement.workers)
        if capacity == 0:
            raise IcfError(describe_shortage(nodes, need, self._placement.workers))
        return self._run_queue(jobs, min(capacity, len(jobs), self._limit or capacity))

    def _need(self, threads: int) -> dict[str, float]:
        need: dict[str, float] = {"CPU": float(threads)}
        if self._placement.gpus:
            need["GPU"] = self._placement.gpus
        return need

    def _run_queue(self, jobs: Sequence[FoldJob], places: int) -> dict[int, str]:
        waiting: queue.SimpleQueue[FoldJob] = queue.SimpleQueue()
        for job in jobs:
            waiting.put(job)
        failed: dict[int, str] = {}

        def work() -> None:
            while True:
                try:
                    job = waiting.get_nowait()
                except queue.Empty:
                    return
                problem = self._fit(job)
                if problem is not None:
                    failed[job.fold] = problem

        threads = [threading.Thread(target=work, daemon=True, name=f"icf-trainer-{n}") for n in range(places)]
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive():  # a time-out keeps Ctrl-C prompt
                thread.join(timeout=0.5)
        return failed

    def _fit(self, job: FoldJob) -> str | None:
        _failure_file(job).unlink(missing_ok=True)
        problem: str | None = None
        for _ in range(RETRIES):
            try:
                self._make_trainer(job).fit()
                return _read_failure(job)
            # Ray raises what killed the workers, in many types.
            except Exception as error:  # noqa: BLE001
                problem = _read_failure(job) or describe_failure(error)
            if _failure_file(job).exists():
                break
        return problem

    def _make_trainer(self, job: FoldJob) -> Any:
        from ray.train import FailureConfig, RunConfig, ScalingConfig
        from ray.train.torch import TorchTrainer

        from icf.executors.ray_team import TeamConfig

        return TorchTrainer(
            train_in_worker,
            train_loop_config={"job": job},
            torch_config=TeamConfig(),
            scaling_config=ScalingConfig(
                num_workers=self._placement.workers,
                use_gpu=bool(self._placement.gpus),
                resources_per_worker=self._need(job.threads),
            ),
            run_config=RunConfig(  # type: ignore[call-arg] # types are those of the older of two classes
                # The key is in the name: Ray would silently resume another run of the same name.
                name=f"fold-{job.fold}-{job.key}",
                storage_path=str(job.run_dir / "ray"),
                worker_runtime_env={"env_vars": memory_variables()},
                failure_config=FailureConfig(max_failures=self._max_failures),
            ),
        )


def train_in_worker(config: dict[str, Any]) -> None:
    """Train a fold in one worker of a Ray Train group."""
    import torch

    from icf.pipeline.training.fit import fit_fold
    from icf.pipeline.training.network import choose_device
    from icf.pipeline.training.team import DistributedTeam, Team

    job: FoldJob = config["job"]
    if _failure_file(job).exists():
        return  # Ray started the workers again, but a mistake would be the same mistake again
    device = choose_device(job.plan.recipe.compute.device)
    alone = not torch.distributed.is_initialized() or torch.distributed.get_world_size() == 1
    try:
        fit_fold(job, Team() if alone else DistributedTeam(device))
    # Whatever a plugin raises costs its own fold only.
    except (Exception, SystemExit) as error:
        # In a team, another kind of error may only say that a partner's process died, which Ray mends.
        if alone or isinstance(error, IcfError):
            write_text(_failure_file(job), describe_failure(error))
        if not alone:
            raise  # frees the partners, who may be waiting


def _failure_file(job: FoldJob) -> Path:
    return job.run_dir / "ray" / f"fold-{job.fold}-{job.key}.failed"


def _read_failure(job: FoldJob) -> str | None:
    path = _failure_file(job)
    return path.read_text(encoding="utf-8") if path.exists() else None


def count_capacity(nodes: Sequence[Mapping[str, Any]], need: Mapping[str, float], workers: int) -> int:
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


def describe_shortage(nodes: Sequence[Mapping[str, Any]], need: Mapping[str, float], workers: int) -> str:
    """Say what one fold needs and what the cluster has."""
    have = [", ".join(f"{node['Resources'].get(name, 0):g} {name}" for name in need) for node in nodes if node["Alive"]]
    wanted = ", ".join(f"{amount:g} {name}" for name, amount in need.items())
    return (
        f"no fold fits on the cluster: a fold needs {workers} workers with {wanted} each; the nodes have"
        f" {'; '.join(have)}. Lower compute.workers_per_fold, compute.threads or compute.gpus_per_worker"
    )
