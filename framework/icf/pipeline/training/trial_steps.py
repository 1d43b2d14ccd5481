"""Training steps on made-up images, to be timed."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from icf.components import OptimizerContext
from icf.pipeline.jobs import Workload
from icf.pipeline.results.products import build
from icf.pipeline.training.head_dropout import repeat_targets
from icf.pipeline.training.measured import use_threads
from icf.pipeline.training.memory_format import make_contiguous
from icf.pipeline.training.network import build_model, needs_closure, set_training_mode
from icf.pipeline.training.number_format import autocast
from icf.pipeline.training.parameters import group_parameters
from icf.pipeline.training.trimming import trim_kernels
from icf.plan import Plan

SECONDS = 0.1
"""How long a timing lasts at least; one step, if that takes longer."""


class TrialSteps:
    """Model, loss, optimizer and a batch of one fold, as in training; calling it does one step on the CPU.

    ``network`` is what the ``images`` go through: the model, until it is compiled.
    """

    def __init__(self, plan: Plan, work: Workload) -> None:
        train, spec = plan.recipe.train, work.preprocessing
        self.images_per_step = -(-train.batch_size // train.accumulate)
        self._model = build_model(plan, work.output, spec, fold=0, pretrained=False)
        if plan.recipe.compute.memory_format == "contiguous":
            make_contiguous(self._model)
        counts = np.full(work.num_classes, self.images_per_step, dtype=np.int64)
        self._criterion = work.output.build_criterion(plan, counts, seed=0)
        context = OptimizerContext(parameter_groups=group_parameters(self._model))
        self._optimizer: torch.optim.Optimizer = build(plan.optimizer, context)
        trim_kernels(self._model, self._optimizer, (spec.channels, *spec.image_size))
        set_training_mode(self._model)
        for group in self._optimizer.param_groups:
            group["lr"] = 0.0  # noise teaches nothing, and must not end in infinities
        shape = (self.images_per_step, spec.channels, *spec.image_size)
        self.images = torch.randn(shape).to(memory_format=torch.channels_last)
        self.network = self._model
        targets = self._draw_targets(work)
        self._targets = repeat_targets(targets, plan.recipe.model.dropout_samples)

    def _draw_targets(self, work: Workload) -> torch.Tensor:
        classes = np.arange(self.images_per_step) % work.num_classes
        if work.output.targets == "labels":
            return work.output.expect(np.eye(work.num_classes, dtype=np.int64)[classes], {})
        return work.output.expect(classes, {})

    def __call__(self, precision: torch.dtype | None) -> None:
        """Do one step."""

        def compute_gradients() -> torch.Tensor:
            self._optimizer.zero_grad(set_to_none=True)
            with autocast(torch.device("cpu"), precision):
                loss: torch.Tensor = self._criterion(self.network(self.images), self._targets)
            loss.backward()  # type: ignore[no-untyped-call]
            return loss

        compute_gradients()
        if needs_closure(self._optimizer):
            self._optimizer.step(compute_gradients)  # type: ignore[arg-type] # torch says float, and takes what it gets
        else:
            self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)


def time_steps(copies: Sequence[TrialSteps], precision: torch.dtype | None, threads: int) -> float:
    """Return images per second of all copies together, each stepping in a thread of its own with ``threads`` threads.

    OpenMP's number of threads is one of the calling thread, and torch lets others compute meanwhile, so this is what
    processes side by side would do, but for the part of a step that is Python.
    """
    start = threading.Barrier(len(copies))

    def step(copy: TrialSteps) -> float:
        torch.set_num_threads(threads)
        start.wait()
        began, steps = time.perf_counter(), 0
        while not steps or time.perf_counter() - began < SECONDS:
            copy(precision)
            steps += 1
        return steps * copy.images_per_step / (time.perf_counter() - began)

    # What a thread sets for itself is also what torch gives to threads that begin later.
    with use_threads(threads), ThreadPoolExecutor(len(copies)) as pool:
        return sum(pool.map(step, copies))
