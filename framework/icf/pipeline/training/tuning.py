"""Chooses number format and packing of folds by timing a few training steps, where a recipe leaves them open.

What is fastest depends on the network and on the processor: depthwise networks want float32 on CPUs, dense ones
bfloat16; folds side by side, with a thread each, mostly beat one fold after the other with all threads, but not always.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch

from icf.errors import one_line
from icf.memory import release_memory
from icf.pipeline.cache import cache_dir, count_cores
from icf.pipeline.environment import read_processor
from icf.pipeline.files import digest, read_json, write_json
from icf.pipeline.jobs import Workload
from icf.pipeline.training.network import PRECISIONS, build_model, choose_precision, has_fast_bf16
from icf.pipeline.training.trial_steps import TrialSteps, time_steps
from icf.plan import Plan

SHORT_WORK = 10_000_000
"""Pixels times epochs of all folds; below it, training ends about when processes of its own would have started."""

START_SECONDS = 4.0
"""Until folds train in processes of their own: they import torch again."""

ADVANTAGE = 1.1
"""How many times as fast something must be to replace what the rules say, so that noise does not decide."""

ROUNDS = 4
"""Every candidate is timed so often, all in turn; the first time is for warming up."""

PATIENCE = 20.0
"""Seconds after which two rounds must be enough: steps are long, or the machine is busy."""

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
    path = cache_dir() / "tuning" / f"{_make_key(plan, work, candidates)}.json"
    speeds = _read_speeds(path, candidates)
    if speeds is None:
        try:
            speeds = (measure or measure_speeds)(plan, work, candidates)
        # Whatever a component raises, the folds will raise and explain.
        except (Exception, SystemExit) as error:  # noqa: BLE001
            return Tuning(*default, f"not measured: {one_line(error)}")
        _write_speeds(path, speeds)
    return choose(default, speeds, work.images)


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
    """Time training steps of every candidate, in turn, and return medians.

    Not the best times: other programs slow two threads that wait for each other far more than one, and are part of
    what a training will meet. Takes about two seconds for a small network.
    """
    cores, before = count_cores(), torch.get_num_threads()
    copies = [TrialSteps(plan, work) for _ in range(max(candidate.places for candidate in candidates))]
    found: dict[Candidate, list[float]] = {candidate: [] for candidate in candidates}
    started = time.monotonic()
    try:
        for done in range(ROUNDS):
            if done > 1 and time.monotonic() - started > PATIENCE:
                break
            for precision, places in candidates:
                threads = plan.recipe.compute.threads or max(1, cores // places)
                speed = time_steps(copies[:places], PRECISIONS[precision], threads)
                found[Candidate(precision, places)].append(speed)
    finally:
        torch.set_num_threads(before)
        release_memory()
    return {candidate: statistics.median(values[1:]) for candidate, values in found.items()}


def _apply_rule(plan: Plan, work: Workload, device: str) -> str:
    """Return the number format that the fixed rule gives, or "auto" if the folds must find out what is wrong."""
    wanted = plan.recipe.compute.precision
    if wanted != "auto":
        return wanted
    try:
        model = build_model(plan, work.output, work.preprocessing, fold=0, pretrained=False)
        dtype = choose_precision(wanted, model, torch.device(device))
    except (Exception, SystemExit):  # noqa: BLE001 - a plugin may raise anything; its fold tells it
        return "auto"
    return next(name for name, known in PRECISIONS.items() if known == dtype)


def _make_key(plan: Plan, work: Workload, candidates: Sequence[Candidate]) -> str:
    """Return a hash of everything that speeds depend on."""
    parts = [choice.model_dump(mode="json") for choice in (plan.model, plan.loss, plan.optimizer)]
    spec, train = work.preprocessing, plan.recipe.train
    shape = [spec.channels, *spec.image_size, work.output.model_dump(mode="json"), train.batch_size, train.accumulate]
    machine = [read_processor(), count_cores(), torch.__version__, plan.recipe.compute.threads]
    return digest(parts, shape, machine, candidates)


def _read_speeds(path: Path, candidates: Sequence[Candidate]) -> Speeds | None:
    try:
        found = {Candidate(row["precision"], row["places"]): float(row["speed"]) for row in read_json(path)}
    except (OSError, ValueError, TypeError, KeyError):  # not there, or damaged: it is measured again
        return None
    return {candidate: found[candidate] for candidate in candidates} if found.keys() >= set(candidates) else None


def _write_speeds(path: Path, speeds: Speeds) -> None:
    rows = [{**candidate._asdict(), "speed": speed} for candidate, speed in speeds.items()]
    with contextlib.suppress(OSError):  # what can't be remembered is measured again
        write_json(path, rows)
