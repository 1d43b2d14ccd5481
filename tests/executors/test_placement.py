from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
import torch

from icf.errors import IcfError
from icf.executors import choose_executor
from icf.executors.fork_server import METHOD, may_fork, start_process, start_server
from icf.executors.inline import InlineExecutor
from icf.executors.placement import SHORT_WORK, Computing, check_request, choose_name, count_places
from icf.executors.process import ProcessExecutor
from icf.executors.ray_room import count_capacity, describe_shortage
from icf.executors.ray_task import RayTaskExecutor
from icf.executors.ray_train import RayTrainExecutor
from icf.pipeline.data.preprocess import Preprocessing
from icf.pipeline.jobs import Placement, Prediction, Workload
from icf.pipeline.training.output import Softmax
from icf.pipeline.training.tuning import Tuning
from icf.plan import Plan
from processes import sleep_long
from training import make_plan

LONG, SHORT = SHORT_WORK, SHORT_WORK - 1


@pytest.fixture(autouse=True)
def _two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr("icf.executors.placement.count_cores", lambda: 2)
    monkeypatch.setattr("icf.executors.placement.choose_compiling", lambda *_: (False, ""))
    monkeypatch.setattr("icf.executors.placement.choose_memory_format", lambda *_: ("channels-last", ""))
    monkeypatch.setattr("icf.executors.placement.is_serving", lambda: False)


def node(cpus: float, gpus: float = 0, *, alive: bool = True) -> dict[str, Any]:
    return {"Alive": alive, "Resources": {"CPU": cpus, "GPU": gpus} if gpus else {"CPU": cpus}}


@pytest.mark.parametrize(
    ("places", "workers", "gpus", "work", "name", "reason"),
    [
        (1, 1, 0, LONG, "inline", "one fold at a time"),
        (4, 1, 0, SHORT, "inline", "shorter than the start of other processes"),
        (4, 1, 0, LONG, "process", "4 folds fit side by side"),
        (1, 2, 0, SHORT, "ray-train", "2 workers train each fold"),
        (4, 1, 1.0, SHORT, "ray-train", "4 folds fit on the GPUs"),
        (2, 1, 0.5, LONG, "ray-train", "2 folds fit on the GPUs"),
        (1, 1, 1.0, LONG, "inline", "one fold at a time"),
    ],
)
def test_auto_chooses_by_places_and_work(
    places: int, workers: int, gpus: float, work: int, name: str, reason: str
) -> None:
    chosen, why = choose_name("auto", places, workers, gpus, work)
    assert chosen == name
    assert reason in why


@pytest.mark.parametrize("name", ["inline", "process", "ray-task", "ray-train"])
def test_the_recipe_decides(name: str) -> None:
    assert choose_name(name, 1, 1, 0, LONG) == (name, "the recipe says so")


def test_a_cluster_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert choose_name("auto", 1, 1, 0, SHORT)[0] == "ray-train"


@pytest.mark.parametrize(
    ("cores", "workers", "folds", "places"), [(2, 1, 5, 2), (8, 1, 5, 5), (8, 2, 5, 4), (1, 4, 5, 1), (2, 1, 1, 1)]
)
def test_places_on_a_processor(
    monkeypatch: pytest.MonkeyPatch, cores: int, workers: int, folds: int, places: int
) -> None:
    monkeypatch.setattr("icf.executors.placement.count_cores", lambda: cores)
    assert count_places("cpu", 0, workers, folds) == places


@pytest.mark.parametrize(
    ("there", "gpus", "workers", "folds", "places"),
    [
        (1, 1.0, 1, 5, 1),
        (4, 1.0, 1, 5, 4),
        (4, 1.0, 2, 5, 2),
        (1, 0.5, 1, 5, 2),
        (1, 0.1, 1, 20, 10),
        (2, 0.6, 1, 5, 2),
        (8, 2.0, 2, 5, 2),
    ],
)
def test_places_on_gpus(
    monkeypatch: pytest.MonkeyPatch, there: int, gpus: float, workers: int, folds: int, places: int
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: there)
    assert count_places("cuda", gpus, workers, folds) == places


def test_too_few_gpus_are_an_error_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(IcfError, match=r"one fold needs 2\.0 GPUs, and there are 1"):
        count_places("cuda", 1.0, 2, 5)


@pytest.mark.parametrize(
    ("settings", "device", "gpus", "message"),
    [
        (['compute.executor="inline"', "compute.workers_per_fold=2"], "cpu", 0.0, 'needs "ray-train"'),
        (['compute.executor="ray-task"', "compute.workers_per_fold=2"], "cpu", 0.0, 'needs "ray-train"'),
        (["compute.workers_per_fold=2"], "cuda", 0.5, "can't share a GPU"),
        (["compute.gpus_per_worker=1"], "cpu", 1.0, "the device is cpu"),
        (["compute.gpus_per_worker=1.5"], "cuda", 1.5, "a whole number, or a fraction below 1"),
    ],
)
def test_what_cannot_work_is_refused(settings: list[str], device: str, gpus: float, message: str) -> None:
    with pytest.raises(IcfError, match=message):
        check_request(make_plan(*settings), device, gpus)


@pytest.mark.parametrize(("workers", "gpus"), [(1, 0.5), (2, 1.0), (2, 2.0)])
def test_what_can_work_is_not_refused(workers: int, gpus: float) -> None:
    check_request(make_plan(f"compute.workers_per_fold={workers}"), "cuda", gpus)


@pytest.mark.parametrize(
    ("nodes", "need", "workers", "capacity"),
    [
        ([node(4)], {"CPU": 1.0}, 1, 4),
        ([node(4)], {"CPU": 3.0}, 1, 1),
        ([node(4)], {"CPU": 5.0}, 1, 0),
        ([node(3), node(3)], {"CPU": 2.0}, 1, 2),
        ([node(3), node(3)], {"CPU": 2.0}, 2, 1),
        ([node(4), node(4, alive=False)], {"CPU": 1.0}, 1, 4),
        ([node(8, 2), node(8)], {"CPU": 1.0, "GPU": 1.0}, 1, 2),
        ([node(8, 1)], {"CPU": 1.0, "GPU": 0.25}, 1, 4),
        ([node(8, 1)], {"CPU": 1.0, "GPU": 0.1}, 1, 8),
        ([node(16, 1)], {"CPU": 1.0, "GPU": 0.1}, 1, 10),
        ([node(16, 2)], {"CPU": 1.0, "GPU": 0.6}, 1, 2),
        ([node(16, 4), node(2, 4)], {"CPU": 2.0, "GPU": 1.0}, 2, 2),
        ([node(4)], {"CPU": 1.0, "GPU": 0.0}, 1, 4),
        ([], {"CPU": 1.0}, 1, 0),
    ],
)
def test_capacity_counts_whole_workers_on_each_node(
    nodes: list[dict[str, Any]], need: dict[str, float], workers: int, capacity: int
) -> None:
    assert count_capacity(nodes, need, workers) == capacity


def test_a_shortage_says_what_is_needed_and_what_is_there() -> None:
    text = describe_shortage([node(4, 1), node(2), node(9, alive=False)], {"CPU": 8.0, "GPU": 1.0}, 2)
    assert "2 workers with 8 CPU, 1 GPU each" in text
    assert "the nodes have 4 CPU, 1 GPU; 2 CPU, 0 GPU." in text
    assert "Lower compute.workers_per_fold" in text


def make_work(folds: int = 3, pixels: int = LONG, earlier: Placement | None = None) -> Workload:
    spec = Preprocessing.model_construct(image_size=(1, 1), channels=1)
    return Workload(folds, pixels, 10, spec, Softmax(classes=10), earlier)


@pytest.fixture
def tuned(monkeypatch: pytest.MonkeyPatch) -> Callable[[Tuning], None]:
    """Lets the test say what tuning finds; predictions are not measured."""
    monkeypatch.setattr("icf.executors.placement.choose_prediction", lambda *_: (Prediction(), ""))
    return lambda found: monkeypatch.setattr("icf.executors.placement.tune", lambda *_: found)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("inline", InlineExecutor),
        ("process", ProcessExecutor),
        ("ray-task", RayTaskExecutor),
        ("ray-train", RayTrainExecutor),
    ],
)
def test_threads_do_not_depend_on_the_executor(name: str, kind: type, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("icf.executors.placement.count_cores", lambda: 8)
    plan = make_plan(f'compute={{executor="{name}", device="cpu"}}')
    placement, executor = choose_executor(plan, make_work())
    assert isinstance(executor, kind)
    assert [placement.threads_of(fold) for fold in range(3)] == [2, 2, 2]
    assert placement.concurrent == (1 if name == "inline" else 3)


def test_folds_at_a_time_can_be_limited() -> None:
    plan = make_plan('compute={executor="ray-task", max_concurrent_folds=1}')
    placement, _ = choose_executor(plan, make_work())
    assert placement.concurrent == 1


def test_what_was_measured_decides(tuned: Callable[[Tuning], None]) -> None:
    tuned(Tuning("bf16", 1, "measured images/s: bf16 one fold at a time 9"))
    placement, executor = choose_executor(make_plan(small=()), make_work())
    assert isinstance(executor, InlineExecutor)
    assert (placement.precision, placement.threads, placement.concurrent) == ("bf16", 2, 1)
    assert placement.reason == "one fold at a time; measured images/s: bf16 one fold at a time 9"


def test_all_else_is_measured_with_the_format_and_threads_of_training(
    tuned: Callable[[Tuning], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    tuned(Tuning("bf16", 1, "measured training"))
    asked = []

    def choose(_plan: Plan, _work: Workload, *rest: object) -> tuple[Prediction, str]:
        asked.append(rest)
        return Prediction(64, fused=True), "measured predictions"

    def order(_plan: Plan, _work: Workload, *rest: object) -> tuple[str, str]:
        asked.append(rest)
        return "contiguous", "measured order"

    def compile_it(plan: Plan, _work: Workload, *rest: object) -> tuple[bool, str]:
        asked.append((plan.recipe.compute.memory_format, *rest))
        return True, "compiled"

    monkeypatch.setattr("icf.executors.placement.choose_prediction", choose)
    monkeypatch.setattr("icf.executors.placement.choose_memory_format", order)
    monkeypatch.setattr("icf.executors.placement.choose_compiling", compile_it)
    placement, _ = choose_executor(make_plan('compute.device="cpu"', small=()), make_work())
    assert asked == [("bf16", 2), ("bf16", 2), ("contiguous", "bf16", 2, 1)]
    assert (placement.prediction, placement.compiled) == (Prediction(64, fused=True), True)
    assert placement.memory_format == "contiguous"
    assert placement.reason.endswith("measured training; measured order; measured predictions; compiled")
    placement, _ = choose_executor(make_plan('compute.tune="off"', small=()), make_work())
    assert len(asked) == 3
    assert not placement.compiled
    assert placement.memory_format == "auto"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Plan:
    """The plan of a long training, for whose folds there is a server to be forked from."""
    monkeypatch.setenv("ICF_CACHE", str(tmp_path))
    monkeypatch.setattr("icf.executors.placement.is_serving", lambda: True)
    plan = make_plan('compute.device="cpu"', "train.batch_size=2", small=())
    start_server(plan)
    return plan


@pytest.mark.skipif(METHOD != "forkserver", reason="folds are not forked on this system")
def test_what_is_measured_for_forked_folds_leaves_no_memory_here(server: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> Computing:
        raise AssertionError("measured in this process")

    monkeypatch.setattr("icf.executors.placement.choose_computing", fail)
    placement, _ = choose_executor(server, make_work())
    assert "; measured images/s: " in placement.reason
    assert multiprocessing.active_children() == []


@pytest.mark.skipif(METHOD != "forkserver", reason="folds are not forked on this system")
def test_rules_decide_where_the_process_that_measures_is_killed(server: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    def start_and_answer_nothing(name: str, *_: object) -> tuple[BaseProcess, Connection]:
        return start_process(name, print)

    monkeypatch.setattr("icf.executors.placement.start_process", start_and_answer_nothing)
    placement, _ = choose_executor(server, make_work())
    assert placement.reason.endswith("not measured: the process that measured was killed")
    assert (placement.threads, placement.concurrent) == (1, 2)


@pytest.mark.skipif(METHOD != "forkserver", reason="folds are not forked on this system")
def test_an_interrupt_does_not_wait_for_what_is_measured(server: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupted:
        def recv(self) -> Computing:
            raise KeyboardInterrupt

    def start(name: str, *_: object) -> tuple[BaseProcess, Interrupted]:
        return start_process(name, sleep_long)[0], Interrupted()

    monkeypatch.setattr("icf.executors.placement.start_process", start)
    with pytest.raises(KeyboardInterrupt):
        choose_executor(server, make_work())
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize(
    ("cores", "folds", "threads"),
    [
        (2, 5, [1, 1, 1, 1, 2]),
        (2, 4, [1] * 4),
        (4, 6, [1, 1, 1, 1, 2, 2]),
        (4, 7, [1] * 7),
        (8, 5, [1] * 5),
        (2, 1, [2]),
    ],
)
def test_the_last_folds_share_all_cores_where_they_gain(
    cores: int, folds: int, threads: list[int], monkeypatch: pytest.MonkeyPatch, tuned: Callable[[Tuning], None]
) -> None:
    monkeypatch.setattr("icf.executors.placement.count_cores", lambda: cores)
    tuned(Tuning("bf16", min(cores, folds), "", widens=True))
    placement, _ = choose_executor(make_plan('compute.executor="ray-task"', small=()), make_work(folds))
    assert [placement.threads_of(fold) for fold in range(folds)] == threads
    assert placement.cpus == max(min(cores, folds) * threads[0], *threads)
    tuned(Tuning("bf16", min(cores, folds), "", widens=False))
    placement, _ = choose_executor(make_plan(small=()), make_work(folds))
    assert placement.fold_threads == ()


def test_threads_of_the_recipe_are_those_of_every_fold(tuned: Callable[[Tuning], None]) -> None:
    tuned(Tuning("bf16", 2, "", widens=True))
    placement, _ = choose_executor(make_plan("compute.threads=1", small=()), make_work(5))
    assert [placement.threads_of(fold) for fold in range(5)] == [1] * 5


def test_folds_with_more_threads_than_their_share_are_fewer_at_a_time() -> None:
    placement, _ = choose_executor(make_plan("compute.threads=2", small=()), make_work(5))
    assert (placement.concurrent, placement.threads) == (1, 2)


def test_an_interrupted_run_computes_as_before(tuned: Callable[[Tuning], None]) -> None:
    prediction = Prediction(48, fused=True)
    earlier = Placement("inline", "?", 1, 1, "cpu", precision="bf16", fold_threads=(1, 1, 2), prediction=prediction)
    earlier = replace(earlier, compiled=True, memory_format="contiguous")
    tuned(Tuning("fp32", 1, "another measurement"))
    plan = make_plan('compute.device="cpu"', small=())
    placement, _ = choose_executor(plan, make_work(earlier=earlier))
    assert (placement.precision, placement.fold_threads, placement.concurrent) == ("bf16", (1, 1, 2), 2)
    assert (placement.prediction, placement.compiled) == (prediction, True)
    assert placement.memory_format == "contiguous"
    assert "as before" in placement.reason
    for other in (replace(earlier, device="cuda"), replace(earlier, fold_threads=(1, 1))):
        placement, _ = choose_executor(plan, make_work(earlier=other))
        assert (placement.precision, placement.threads) == ("fp32", 2)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ((), True),
        (('compute.executor="process"',), True),
        (('compute.executor="ray-task"',), False),
        (("compute.max_concurrent_folds=1",), False),
        (('split.method="group-holdout"',), False),
        (('model.freeze="backbone"',), False),
    ],
)
def test_a_server_is_started_early_only_where_folds_will_be_forked(
    overrides: tuple[str, ...], expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    assert may_fork(make_plan(*overrides)) == expected
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    assert not may_fork(make_plan(*overrides))


def test_one_process_per_fold_knows_of_one_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    plan = make_plan('compute.executor="process"')
    check_request(plan, "cpu", 0.0)
    with pytest.raises(IcfError, match="several, use"):
        check_request(plan, "cuda", 1.0)
