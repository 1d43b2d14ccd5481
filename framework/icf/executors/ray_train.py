"""Executor "ray-train": one TorchTrainer per fold, started from threads behind a capacity gate."""

from __future__ import annotations

import math
import queue
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import Any

from icf.errors import IcfError
from icf.executors.inline import explain
from icf.executors.ray_check import require_cluster
from icf.executors.ray_room import describe_need, find_places
from icf.executors.ray_session import ray_session
from icf.memory import memory_variables
from icf.pipeline.files import read_json, write_json
from icf.pipeline.jobs import Failure, FoldJob, Placement
from icf.pipeline.mirror import open_fold_mirror
from icf.sections import Compute


class RayTrainExecutor:
    """Trains folds on whatever CPUs and GPUs the cluster has; folds without a place wait in order."""

    def __init__(self, placement: Placement, compute: Compute) -> None:
        self._placement = placement
        self._limit = compute.max_concurrent_folds
        self._max_failures = compute.max_failures

    def run(self, jobs: Sequence[FoldJob]) -> Mapping[int, Failure]:
        """Run min(capacity, folds) trainers at a time."""
        placement = self._placement
        gpus = math.ceil(placement.concurrent * placement.workers * placement.gpus)
        with ray_session(num_cpus=placement.cpus, num_gpus=gpus) as ray:
            require_cluster(ray, jobs)
            failed: dict[int, Failure] = {}
            # The last folds may have more threads; they wait until there is room for that, in one group of their own.
            for threads, group in groupby(jobs, key=lambda job: job.threads):
                together = list(group)
                places = find_places(ray, describe_need(placement, threads), placement.workers)
                failed |= self._run_queue(together, min(places, len(together), self._limit or places))
            return failed

    def _run_queue(self, jobs: Sequence[FoldJob], places: int) -> dict[int, Failure]:
        waiting: queue.SimpleQueue[FoldJob] = queue.SimpleQueue()
        for job in jobs:
            waiting.put(job)
        failed: dict[int, Failure] = {}

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

    def _fit(self, job: FoldJob) -> Failure | None:
        """Train a fold, and again where workers died: Ray Train itself gives up after an out-of-memory kill."""
        _failure_file(job).unlink(missing_ok=True)
        _read_failure(job)  # one of an earlier run
        problem: Failure | None = None
        for _ in range(1 + self._max_failures):
            try:
                self._make_trainer(job).fit()
                return _read_failure(job)
            # Ray raises what killed the workers, in many types.
            except Exception as error:  # noqa: BLE001
                found = _read_failure(job)
                problem = found or explain(error)
                if found:
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
                resources_per_worker=describe_need(self._placement, job.threads),
            ),
            run_config=RunConfig(  # type: ignore[call-arg] # types are those of the older of two classes
                # The key is in the name: Ray would silently resume another run of the same name.
                name=f"fold-{job.fold}-{job.key}",
                storage_path=str(job.run_dir / "ray"),
                worker_runtime_env={"env_vars": memory_variables()},
                failure_config=FailureConfig(max_failures=0),
            ),
        )


def train_in_worker(config: dict[str, Any]) -> None:
    """Train a fold in one worker of a Ray Train group."""
    import torch

    from icf.pipeline.training.attempt import SupersededError
    from icf.pipeline.training.fit import fit_fold
    from icf.pipeline.training.network import choose_device
    from icf.pipeline.training.team import DistributedTeam, Team

    job: FoldJob = config["job"]
    if _failure_file(job).exists():
        return  # Ray started the workers again, but a mistake would be the same mistake again
    device = choose_device(job.device)
    alone = not torch.distributed.is_initialized() or torch.distributed.get_world_size() == 1
    try:
        fit_fold(job, Team() if alone else DistributedTeam(device))
    # Whatever a plugin raises costs its own fold only.
    except (Exception, SystemExit) as error:
        # In a team, another kind of error may only say that a partner's process died, which Ray mends.
        superseded = isinstance(error, SupersededError)  # what it says is nothing to the attempt that took over
        if (alone or isinstance(error, IcfError)) and not superseded:
            _report_failure(job, explain(error))
        if superseded or not alone:
            raise  # frees the partners, who may be waiting


def _failure_file(job: FoldJob) -> Path:
    return job.run_dir / "ray" / f"fold-{job.fold}-{job.key}.failed"


def _report_failure(job: FoldJob, failure: Failure) -> None:
    write_json(_failure_file(job), asdict(failure))
    if mirror := open_fold_mirror(job):
        mirror.write_note(asdict(failure))


def _read_failure(job: FoldJob) -> Failure | None:
    path, mirror = _failure_file(job), open_fold_mirror(job)
    note = mirror.take_note() if mirror else None
    found = read_json(path) if path.exists() else note
    return Failure(**found) if found else None
