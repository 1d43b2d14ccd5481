"""Executor "ray-task": one plain Ray task per fold, for many short single-worker folds on one machine."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from icf.executors.inline import explain
from icf.executors.ray_check import require_cluster
from icf.executors.ray_room import describe_need, find_places
from icf.executors.ray_session import ray_session
from icf.memory import memory_variables
from icf.pipeline.jobs import Failure, FoldJob, Placement
from icf.sections import Compute


class RayTaskExecutor:
    """Ray's own queue holds the folds that find no place."""

    def __init__(self, placement: Placement, compute: Compute) -> None:
        self._placement = placement
        self._limit = compute.max_concurrent_folds
        self._max_failures = compute.max_failures

    def run(self, jobs: Sequence[FoldJob]) -> Mapping[int, Failure]:
        """Submit all jobs in order, and at once unless the recipe limits that."""
        placement = self._placement
        gpus = math.ceil(placement.concurrent * placement.gpus)
        with ray_session(num_cpus=placement.cpus, num_gpus=gpus) as ray:
            # A worker that is killed starts again, and continues after its last checkpoint.
            task = ray.remote(num_gpus=placement.gpus, max_retries=self._max_failures)(run_job)
            require_cluster(ray, jobs)
            for threads in {job.threads for job in jobs}:
                find_places(ray, describe_need(placement, threads), workers=1)
            return self._run_queue(ray, task, jobs)

    def _run_queue(self, ray: Any, task: Any, jobs: Sequence[FoldJob]) -> dict[int, Failure]:
        waiting, pending = deque(jobs), dict[Any, int]()
        failed: dict[int, Failure] = {}
        while waiting or pending:
            while waiting and len(pending) < (self._limit or len(jobs)):
                job = waiting.popleft()
                pending[task.options(**_describe_worker(job)).remote(job)] = job.fold
            # A time-out keeps Ctrl-C prompt.
            ready, _ = ray.wait(list(pending), timeout=0.5)
            for reference in ready:
                fold = pending.pop(reference)
                try:
                    problem: Failure | None = ray.get(reference)
                # Ray raises what killed the worker, in many types.
                except Exception as error:  # noqa: BLE001
                    problem = explain(error)
                if problem is not None:
                    failed[fold] = problem
        return failed


def _describe_worker(job: FoldJob) -> dict[str, Any]:
    variables = {"OMP_NUM_THREADS": str(job.threads), **memory_variables()}
    return {"num_cpus": job.threads, "runtime_env": {"env_vars": variables}}


def run_job(job: FoldJob) -> Failure | None:
    """Train a fold in a Ray worker; return its failure as plain data: exceptions of plugins may not pickle."""
    from icf.executors.inline import InlineExecutor

    return InlineExecutor().run([job]).get(job.fold)
