"""Checks of schedules."""

from __future__ import annotations

import copy
import json
import math

from icf.components import Schedule, SchedulerContext
from icf.testing.case import Case, expect

STEPS = 3
SCORES = (0.2, 0.5, 0.6, 0.6, 0.6, 0.59, 0.6, 0.6, 0.7, 0.7, 0.7, 0.7, 0.7, 0.7, 0.7, 0.7)
"""The score of each epoch: it rises, and then there are two plateaus."""


def build_schedule(case: Case) -> Schedule:
    """Build the schedule of as many epochs as there are scores."""
    schedule: Schedule = case.build(SchedulerContext(steps_per_epoch=STEPS, epochs=len(SCORES)))
    return schedule


def follow(schedule: Schedule, start: int = 0, end: int = len(SCORES)) -> list[float]:
    """Train from epoch ``start`` to ``end``; return the factor of each step."""
    factors = []
    for epoch in range(start, end):
        factors += [schedule.factor(epoch * STEPS + step) for step in range(STEPS)]
        schedule.observe(SCORES[epoch])
    return factors


def check_factors(case: Case) -> None:
    """The factor of every step is a finite number from 0 up, and not always 0."""
    factors = follow(build_schedule(case))
    for step, factor in enumerate(factors):
        valid = isinstance(factor, int | float) and math.isfinite(factor) and factor >= 0
        expect(valid, f"the factor of step {step} is {factor!r}")
    expect(any(factors), "the factor is always 0")


def check_repeatable(case: Case) -> None:
    """The same step has the same factor, however often it is asked for."""
    schedule = build_schedule(case)
    for epoch, score in enumerate(SCORES):
        step = epoch * STEPS
        first, second = schedule.factor(step), schedule.factor(step)
        expect(first == second, f"step {step}: the factor is {first}, and {second} when asked again")
        schedule.observe(score)


def check_resume(case: Case) -> None:
    """A schedule that is stopped after any epoch and restored goes on as if it had not been."""
    whole = follow(build_schedule(case))
    for stop in range(1, len(SCORES)):
        interrupted, resumed = build_schedule(case), build_schedule(case)
        follow(interrupted, end=stop)
        resumed.load_state_dict(copy.deepcopy(interrupted.state_dict()))
        expect(follow(resumed, start=stop) == whole[stop * STEPS :], f"resumed after epoch {stop - 1}, factors differ")


def check_plain_state(case: Case) -> None:
    """The state holds plain numbers, strings, lists and tables."""
    schedule = build_schedule(case)
    follow(schedule)
    state = schedule.state_dict()
    try:
        same = json.loads(json.dumps(state)) == state
    except TypeError as error:
        same, state = False, {"error": str(error)}
    expect(same, f"the state is not plain: {state}")


SCHEDULER_CHECKS = (check_factors, check_repeatable, check_resume, check_plain_state)
