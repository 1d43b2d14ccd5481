"""Chooses the executor, and how many folds run side by side with how many threads."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection

import torch

from icf.errors import IcfError
from icf.executors.fork_server import is_serving, start_process
from icf.executors.ray_room import Nodes, choose_cluster_device, count_capacity, count_most, count_shares, read_nodes
from icf.pipeline.cache import count_cores
from icf.pipeline.jobs import Executor, Placement, Prediction, Workload
from icf.pipeline.training.compiling import choose_compiling
from icf.pipeline.training.network import choose_device
from icf.pipeline.training.prediction_trial import choose_prediction
from icf.pipeline.training.tuning import SHORT_WORK, choose_memory_format, find_obstacle, tune, with_compute
from icf.plan import Plan
from icf.sections import Compute


def choose_executor(plan: Plan, work: Workload) -> tuple[Placement, Executor]:
    """Return where to run the folds of a plan, measured where the recipe leaves it open.

    Number format and threads do not depend on the executor, so that every executor gives the same numbers; those of
    an interrupted run stay as they were.

    Raises:
        IcfError: the recipe asks for what this machine does not have.
    """
    compute = plan.recipe.compute
    nodes = _read_cluster(compute, work)
    device = choose_device(compute.device).type if nodes is None else choose_cluster_device(compute.device, nodes)
    gpus = compute.gpus_per_worker
    if gpus is None:
        gpus = 1.0 if device == "cuda" else 0.0
    check_request(plan, device, gpus)
    if nodes is None:
        places = count_places(device, gpus, compute.workers_per_fold, work.folds)
        computing = recall_computing(work, device) or measure_computing(plan, work, device, places)
        if device == "cpu":
            places = min(places, max(1, count_cores() // (computing.threads * compute.workers_per_fold)))
    else:
        need = {"CPU": float(compute.threads or 1), "GPU": gpus}
        places = min(work.folds, max(1, count_capacity(nodes, need, compute.workers_per_fold)))
        computing = recall_computing(work, device) or choose_cluster_computing(compute, work, nodes)
    name, reason = choose_name(compute.executor, places, compute.workers_per_fold, gpus, work.pixels)
    placement = Placement(
        executor=name,
        reason="; ".join(filter(None, [reason, computing.reason])),
        concurrent=1 if name == "inline" else min(places, compute.max_concurrent_folds or places),
        threads=computing.threads,
        device=device,
        workers=compute.workers_per_fold,
        gpus=gpus,
        precision=computing.precision,
        fold_threads=computing.fold_threads,
        prediction=computing.prediction,
        compiled=computing.compiled,
        memory_format=computing.memory_format,
    )
    return placement, make_executor(placement, compute)


def _read_cluster(compute: Compute, work: Workload) -> Nodes | None:
    """Return the nodes of the cluster on which folds will run; None if they run on this machine."""
    heads_only = work.pixels == 0 and compute.workers_per_fold == 1 and compute.executor == "auto"
    if not os.environ.get("RAY_ADDRESS") or compute.executor in ("inline", "process") or heads_only:
        return None
    return read_nodes()


@dataclass(frozen=True)
class Computing:
    """What a fold's numbers depend on, down to the last digit; ``fold_threads`` as in Placement."""

    precision: str
    threads: int
    fold_threads: tuple[int, ...]
    reason: str
    prediction: Prediction | None = None
    compiled: bool = False
    memory_format: str = "auto"


def recall_computing(work: Workload, device: str) -> Computing | None:
    """Return what an interrupted run computed with; None if there was none, or on another device."""
    earlier = work.earlier
    if earlier is None or earlier.device != device or len(earlier.fold_threads) not in (0, work.folds):
        return None
    reason = "number format, memory format, threads and predictions as before"
    chosen = (earlier.precision, earlier.threads, earlier.fold_threads)
    return Computing(*chosen, reason, earlier.prediction, earlier.compiled, earlier.memory_format)


def choose_cluster_computing(compute: Compute, work: Workload, nodes: Nodes) -> Computing:
    """Return the recipe's number format, and threads so that all folds are spread over the nodes."""
    together = -(-work.folds * compute.workers_per_fold // max(1, len(nodes)))
    threads = compute.threads or max(1, int(count_most(nodes, "CPU")) // together)
    reason = "not measured: only folds on this machine's processor are"
    return Computing(compute.precision, threads, (), reason, compiled=compute.compile == "on")


def measure_computing(plan: Plan, work: Workload, device: str, places: int) -> Computing:
    """Return number format and threads; measured in a process of its own, if folds will have such, too.

    So the memory that measuring takes is free again when folds train.
    """
    if not is_serving() or find_obstacle(plan, work, device, places):
        return choose_computing(plan, work, device, places)
    process, answer = start_process("icf-measurement", _answer, plan, work, device, places)
    try:
        found: Computing = answer.recv()
    except EOFError:  # killed, most likely because the memory was full
        untuned = choose_computing(with_compute(plan, tune="off"), work, device, places)
        return replace(untuned, reason="not measured: the process that measured was killed")
    finally:
        process.kill()  # after Ctrl-C, which it ignores; else it has answered, or is gone
        process.join()
    return found


def _answer(plan: Plan, work: Workload, device: str, places: int, answer: Connection) -> None:
    answer.send(choose_computing(plan, work, device, places))


def choose_computing(plan: Plan, work: Workload, device: str, places: int) -> Computing:
    """Return number format, memory format and threads, measured where that pays."""
    compute = plan.recipe.compute
    tuning = tune(plan, work, device, places)
    threads = compute.threads or max(1, count_cores() // (tuning.places * compute.workers_per_fold))
    rest = work.folds % tuning.places
    wide = count_cores() // rest if rest else 0
    widens = tuning.widens and not compute.threads and wide > threads
    fold_threads = (*[threads] * (work.folds - rest), *[wide] * rest) if widens else ()
    chosen = Computing(tuning.precision, threads, fold_threads, tuning.reason, compiled=compute.compile == "on")
    if find_obstacle(plan, work, device, places):
        return chosen
    prediction, measured = choose_prediction(plan, work, tuning.precision, threads)
    memory_format, ordering = choose_memory_format(plan, work, tuning.precision, threads)
    ordered = with_compute(plan, memory_format=memory_format)
    compiled, compiling = choose_compiling(ordered, work, tuning.precision, threads, tuning.places)
    reason = "; ".join(filter(None, [tuning.reason, ordering, measured, compiling]))
    return replace(chosen, reason=reason, prediction=prediction, compiled=compiled, memory_format=memory_format)


def check_request(plan: Plan, device: str, gpus: float) -> None:
    """Raise IcfError for combinations that can't work."""
    compute = plan.recipe.compute
    if compute.workers_per_fold > 1 and compute.executor in ("inline", "process", "ray-task"):
        raise IcfError(
            f'compute.executor = "{compute.executor}" trains a fold with one worker;'
            f' compute.workers_per_fold = {compute.workers_per_fold} needs "ray-train" (or "auto")'
        )
    if compute.workers_per_fold > 1 and 0 < gpus < 1:
        raise IcfError(
            f"compute.gpus_per_worker = {gpus} with compute.workers_per_fold = {compute.workers_per_fold}:"
            " two workers of one fold can't share a GPU; use a whole one each"
        )
    if compute.executor == "process" and gpus and torch.cuda.device_count() > 1:
        raise IcfError('compute.executor = "process" knows of one GPU; for several, use "ray-train" (or "auto")')
    if gpus > 1 and gpus != int(gpus):
        raise IcfError(f"compute.gpus_per_worker = {gpus}: give a whole number, or a fraction below 1")
    if gpus and device != "cuda":
        raise IcfError(f"compute.gpus_per_worker = {gpus}, but the device is {device}; set it to 0 or remove it")


def count_places(device: str, gpus: float, workers: int, folds: int) -> int:
    """Return how many folds this machine can train side by side."""
    if device == "cuda" and gpus:
        room = count_shares(torch.cuda.device_count(), gpus) // workers
        if room == 0:
            raise IcfError(f"one fold needs {gpus * workers} GPUs, and there are {torch.cuda.device_count()}")
    else:
        room = max(1, count_cores() // workers)
    return min(room, folds)


def choose_name(wanted: str, places: int, workers: int, gpus: float, work: int) -> tuple[str, str]:
    """Return the executor's name and the reason for it."""
    if wanted != "auto":
        return wanted, "the recipe says so"
    if work == 0 and workers == 1:
        return "inline", "heads on embeddings train in no time"
    if os.environ.get("RAY_ADDRESS"):
        return "ray-train", "a Ray cluster is there (RAY_ADDRESS)"
    if workers > 1:
        return "ray-train", f"{workers} workers train each fold"
    if gpus and places > 1:
        return "ray-train", f"{places} folds fit on the GPUs side by side"
    if places == 1:
        return "inline", "one fold at a time"
    if work < SHORT_WORK:
        return "inline", "the work is shorter than the start of other processes"
    return "process", f"{places} folds fit side by side on this machine"


def make_executor(placement: Placement, compute: Compute) -> Executor:
    """Return the executor of a placement; Ray is imported only here, and only if it is used."""
    if placement.executor == "inline":
        from icf.executors.inline import InlineExecutor

        return InlineExecutor()
    if placement.executor == "process":
        from icf.executors.process import ProcessExecutor

        return ProcessExecutor(placement, compute)
    if placement.executor == "ray-task":
        from icf.executors.ray_task import RayTaskExecutor

        return RayTaskExecutor(placement, compute)
    from icf.executors.ray_train import RayTrainExecutor

    return RayTrainExecutor(placement, compute)
