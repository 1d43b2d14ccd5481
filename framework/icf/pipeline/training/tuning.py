"""Chooses number format, memory format and packing of folds by timing a few steps, where a recipe leaves them open.

What is fastest depends on the network and on the processor: depthwise networks want float32 on CPUs, dense ones
bfloat16; folds side by side, with a thread each, mostly beat one fold after the other with all threads, but not always.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch

from icf.errors import one_line
from icf.pipeline.cache import count_cores
from icf.pipeline.jobs import Workload
from icf.pipeline.training.measured import ROUNDS, recall_or_measure, take_turns
from icf.pipeline.training.network import build_model
from icf.pipeline.training.number_format import PRECISIONS, choose_precision, has_fast_bf16
from icf.pipeline.training.trial_steps import TrialSteps, time_steps
from icf.plan import Plan

SHORT_WORK = 10_000_000
"""Pixels times epochs of all folds; below it, training ends about when processes of its own would have started."""

START_SECONDS = 4.0
"""Until folds train in processes of their own: they import torch again."""

ADVANTAGE = 1.1
"""How many times as fast something must be to replace what the rules say, so that noise does not decide."""

SHARE = 10
"""A training is timed beforehand if it has so many times as many steps as the timing."""


class Candidate(NamedTuple):
    """A number format, and how many folds train side by side; they share the cores."""

    precision: str
    places: int


Speeds = Mapping[Candidate, float]
"""Training images per second, of all folds together."""

Measure = Callable[[Plan, Workload, Sequence[Candidate]], Speeds]


@dataclass(frozen=True)
class Tuning:
    """What was chosen and why; ``widens`` tells that a fold that is alone gains by having all threads."""

    precision: str
    places: int
    reason: str
    widens: bool = False


def tune(plan: Plan, work: Workload, device: str, places: int, measure: Measure | None = None) -> Tuning:
    """Return number format and packing for folds of which ``places`` fit side by side; measured once, then remembered.

    Speeds are kept in the cache folder, so that the next run of the same work on this machine costs nothing and gives
    the same numbers. A recipe's own precision and threads are never changed.
    """
    default = Candidate(_apply_rule(plan, work, device), places)
    obstacle = find_obstacle(plan, work, device, places)
    candidates = list_candidates(plan, default)
    if obstacle or len(candidates) == 1:
        return Tuning(*default, obstacle)

    def measure_named() -> dict[str, float]:
        speeds = (measure or measure_speeds)(plan, work, candidates)
        return {_describe(candidate): speed for candidate, speed in speeds.items()}

    try:
        named = recall_or_measure(list_causes(plan, work), [_describe(one) for one in candidates], measure_named)
    # Whatever a component raises, the folds will raise and explain.
    except (Exception, SystemExit) as error:  # noqa: BLE001
        return Tuning(*default, f"not measured: {one_line(error)}")
    return choose(default, {candidate: named[_describe(candidate)] for candidate in candidates}, work.images)


def find_obstacle(plan: Plan, work: Workload, device: str, places: int) -> str:
    """Return why nothing is to be measured, or an empty text. It depends on no measurement: runs must not differ."""
    steps = work.images / plan.recipe.train.batch_size
    if plan.recipe.compute.tune == "off":
        return 'not measured: compute.tune = "off"'
    if device != "cpu" or plan.recipe.compute.workers_per_fold > 1 or os.environ.get("RAY_ADDRESS"):
        return "not measured: only folds on this machine's processor are"
    if plan.recipe.model.freeze != "none":
        return "not measured: layers are frozen"
    if work.pixels < SHORT_WORK or steps < SHARE * ROUNDS * 2 * (places + 1):
        return "not measured: the training is short"
    return ""


def list_candidates(plan: Plan, default: Candidate) -> list[Candidate]:
    """Return what can be chosen, the default first."""
    compute = plan.recipe.compute
    formats = [default.precision]
    if compute.precision == "auto" and has_fast_bf16():
        formats += {"fp32": ["bf16"], "bf16": ["fp32"]}.get(default.precision, [])
    packings = [default.places] if compute.threads or default.places == 1 else [default.places, 1]
    return [Candidate(precision, places) for precision in formats for places in packings]


def choose(default: Candidate, speeds: Speeds, images: int) -> Tuning:
    """Return what trains ``images`` images first, the start of processes included, or the default if it is near."""

    def estimate(candidate: Candidate) -> float:
        return images / speeds[candidate] + START_SECONDS * (candidate.places > 1)

    best = min(speeds, key=estimate)
    chosen = best if estimate(default) > ADVANTAGE * estimate(best) else default
    alone = speeds.get(Candidate(chosen.precision, 1), 0.0)
    described = ", ".join(f"{_describe(candidate)} {speed:,.0f}" for candidate, speed in speeds.items())
    widens = alone > ADVANTAGE * speeds[chosen] / chosen.places
    return Tuning(*chosen, f"measured images/s: {described}", widens)


def _describe(candidate: Candidate) -> str:
    packing = "one fold at a time" if candidate.places == 1 else f"{candidate.places} side by side"
    return f"{candidate.precision} {packing}"


def measure_speeds(plan: Plan, work: Workload, candidates: Sequence[Candidate]) -> Speeds:
    """Time training steps of every candidate; it takes about two seconds for a small network."""
    cores = count_cores()
    copies = [TrialSteps(plan, work) for _ in range(max(candidate.places for candidate in candidates))]

    def measure(candidate: Candidate) -> float:
        threads = plan.recipe.compute.threads or max(1, cores // candidate.places)
        return time_steps(copies[: candidate.places], PRECISIONS[candidate.precision], threads)

    found = take_turns({_describe(candidate): partial(measure, candidate) for candidate in candidates})
    return {candidate: found[_describe(candidate)] for candidate in candidates}


def choose_memory_format(plan: Plan, work: Workload, precision: str, threads: int) -> tuple[str, str]:
    """Return the order in memory in which folds train, and why: channels-last, unless the other is clearly faster."""
    wanted = plan.recipe.compute.memory_format
    if wanted != "auto":
        return wanted, ""
    names = ["channels-last", "contiguous"]
    subject = ["memory format", *list_causes(plan, work), precision, threads]
    try:
        found = recall_or_measure(
            subject, names, lambda: _measure_memory_formats(plan, work, precision, threads, names)
        )
    # Whatever a component raises, the folds will raise and explain.
    except (Exception, SystemExit):  # noqa: BLE001
        return "channels-last", ""
    gain = found["contiguous"] / found["channels-last"]
    if gain > ADVANTAGE:
        return "contiguous", f"contiguous memory {gain:.2f} times as fast as channels-last"
    return "channels-last", f"channels-last memory {1 / gain:.2f} times as fast as contiguous"


def _measure_memory_formats(
    plan: Plan, work: Workload, precision: str, threads: int, names: Sequence[str]
) -> dict[str, float]:
    copies = {name: TrialSteps(with_compute(plan, memory_format=name), work) for name in names}
    return take_turns(
        {name: partial(time_steps, [copy], PRECISIONS[precision], threads) for name, copy in copies.items()}
    )


def with_compute(plan: Plan, **fields: str) -> Plan:
    """Return the plan with other values in its recipe's section [compute]."""
    compute = plan.recipe.compute.model_copy(update=fields)
    return plan.model_copy(update={"recipe": plan.recipe.model_copy(update={"compute": compute})})


def _apply_rule(plan: Plan, work: Workload, device: str) -> str:
    """Return the number format that the fixed rule gives, or "auto" if the folds must find out what is wrong."""
    wanted = plan.recipe.compute.precision
    if wanted != "auto":
        return wanted
    if device == "cpu" and not has_fast_bf16():  # whatever the network is; building it takes a tenth of a second
        return "fp32"
    try:
        model = build_model(plan, work.output, work.preprocessing, fold=0, pretrained=False)
        dtype = choose_precision(wanted, model, torch.device(device))
    except (Exception, SystemExit):  # noqa: BLE001 - a plugin may raise anything; its fold tells it
        return "auto"
    return next(name for name, known in PRECISIONS.items() if known == dtype)


def list_causes(plan: Plan, work: Workload) -> list[object]:
    """Return what speeds depend on, besides machine and software."""
    parts = [choice.model_dump(mode="json") for choice in (plan.model, plan.loss, plan.optimizer)]
    spec, train = work.preprocessing, plan.recipe.train
    shape = [spec.channels, *spec.image_size, work.output.model_dump(mode="json"), train.batch_size, train.accumulate]
    compute = plan.recipe.compute
    return [parts, shape, count_cores(), compute.threads, compute.memory_format]
