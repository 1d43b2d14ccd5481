"""Networks compiled by torch.compile, for trainings that are long enough: it takes a minute, and may gain nothing."""

from __future__ import annotations

import math
import time
from functools import partial
from typing import cast

import torch
from torch import nn

from icf.errors import one_line
from icf.pipeline.jobs import Workload
from icf.pipeline.training.measured import recall_or_measure, take_turns, use_threads
from icf.pipeline.training.number_format import PRECISIONS, autocast
from icf.pipeline.training.trial_steps import TrialSteps, time_steps
from icf.pipeline.training.tuning import list_causes
from icf.plan import Plan

LONG = 3600.0
"""Seconds of training from which on compiling is tried: trying takes one or two minutes."""


class UncompiledError(Exception):
    """Why a network can't be compiled."""


def compile_network(network: nn.Module, images: torch.Tensor, precision: torch.dtype | None) -> nn.Module:
    """Return a module that trains the same parameters with compiled code, for batches of any size.

    It is made in one step, forward and backward, on ``images`` [B, ...], so that a compiler that fails does so here.
    That step changes nothing: gradients, running statistics and torch's random generators are as before.

    Raises:
        UncompiledError: torch, or the compiler that it calls, could not do it.
    """
    buffers = [(buffer, buffer.clone()) for buffer in network.buffers()]
    devices = [images.device] if images.device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        try:
            compiled = torch.compile(network)
            # Or every size of batch, of which an epoch has two, would be compiled by itself.
            torch._dynamo.maybe_mark_dynamic(images, 0)
            with autocast(images.device, precision):
                output = compiled(images)
            output.float().square().mean().backward()
        # Compilers fail with errors of any kind; what the network itself raises comes again without them.
        except Exception as error:
            raise UncompiledError(one_line(error)) from error
        finally:
            network.zero_grad(set_to_none=True)
            with torch.no_grad():
                for buffer, before in buffers:
                    buffer.copy_(before)
    return cast("nn.Module", compiled)


def choose_compiling(plan: Plan, work: Workload, precision: str, threads: int, places: int) -> tuple[bool, str]:
    """Return whether to compile the network for training on this machine's processor, and why; "auto" is measured.

    It is compiled if what that saves, in the seconds of all folds, is more than compiling takes, once for each fold
    that a place trains. What was measured is kept, so that the next run of the same work computes in the same way.
    """
    if plan.recipe.compute.compile != "auto" or plan.recipe.model.unfreeze:
        return plan.recipe.compute.compile == "on", ""
    subject = ["compiling", *list_causes(plan, work), precision, threads]
    try:
        [speed] = recall_or_measure(subject, ["speed"], lambda: measure_speed(plan, work, precision, threads)).values()
        seconds = work.images / (speed * places)
        if seconds < LONG:
            return False, ""
        names = ["seconds", "plain", "compiled"]
        found = recall_or_measure(subject, names, lambda: measure_gain(plan, work, precision, threads))
    except UncompiledError as error:
        return False, f"not compiled: {error}"
    # Whatever a component raises, the folds will raise and explain.
    except (Exception, SystemExit) as error:  # noqa: BLE001
        return False, f"not compiled: {one_line(error)}"
    gain = found["compiled"] / found["plain"]
    pays = is_worthwhile(seconds, gain, found["seconds"] * math.ceil(work.folds / places))
    told = f"steps {gain:.2f} times as fast after {found['seconds']:.0f} s of compiling"
    return pays, f"{'compiled' if pays else 'not compiled'}: {told}"


def is_worthwhile(seconds: float, gain: float, compiling: float) -> bool:
    """Tell whether a training of so many seconds ends sooner if its steps are ``gain`` times as fast."""
    return seconds * (1 - 1 / gain) > compiling


def measure_speed(plan: Plan, work: Workload, precision: str, threads: int) -> dict[str, float]:
    """Return images per second of one fold, as "speed"."""
    steps = TrialSteps(plan, work)
    return take_turns({"speed": partial(_time, steps, precision, threads)})


def measure_gain(plan: Plan, work: Workload, precision: str, threads: int) -> dict[str, float]:
    """Return the "seconds" that compiling takes, and images per second "plain" and "compiled", measured in turn.

    Raises:
        UncompiledError: it failed.
    """
    plain, compiled = TrialSteps(plan, work), TrialSteps(plan, work)
    with use_threads(threads):  # code is compiled for a number of them
        started = time.perf_counter()
        compiled.network = compile_network(compiled.network, compiled.images, PRECISIONS[precision])
        seconds = time.perf_counter() - started
        steps = {"plain": plain, "compiled": compiled}
        speeds = take_turns({name: partial(_time, copy, precision, threads) for name, copy in steps.items()})
    return {"seconds": seconds, **speeds}


def _time(steps: TrialSteps, precision: str, threads: int) -> float:
    return time_steps([steps], PRECISIONS[precision], threads)
