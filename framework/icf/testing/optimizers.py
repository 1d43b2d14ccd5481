"""Checks of optimizers."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from icf.components import OptimizerContext
from icf.testing.case import Case, expect

STEPS = 30


class Problem:
    """Least squares, which is convex: weights [3, 2], in a group of their own, and a bias [2] without decay."""

    def __init__(self, case: Case) -> None:
        generator = torch.Generator().manual_seed(2)
        self.inputs = torch.randn(20, 3, generator=generator)
        self.outputs = torch.randn(20, 2, generator=generator)
        self.weights = torch.zeros(3, 2, requires_grad=True)
        self.bias = torch.ones(2, requires_grad=True)
        groups: list[dict[str, Any]] = [{"params": [self.weights]}, {"params": [self.bias], "weight_decay": 0.0}]
        self.optimizer: torch.optim.Optimizer = case.build(OptimizerContext(parameter_groups=groups, seed=1))

    def loss(self) -> Tensor:
        """Return the mean squared error."""
        return (self.inputs @ self.weights + self.bias - self.outputs).square().mean()

    def step(self, steps: int) -> None:
        """Do optimizer steps."""
        for _ in range(steps):
            self.compute_gradients()
            self.update(self.compute_gradients)

    def compute_gradients(self) -> Tensor:
        """Compute the gradients of the loss, and return it."""
        self.optimizer.zero_grad()
        loss = self.loss()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    def update(self, compute_again: Callable[[], Tensor]) -> None:
        """Do one step with the gradients that there are; an optimizer that needs it computes them again."""
        if getattr(self.optimizer, "needs_closure", False):
            self.optimizer.step(compute_again)  # type: ignore[arg-type] # torch says float, and takes what it gets
        else:
            self.optimizer.step()


def check_groups(case: Case) -> None:
    """The factory returns a torch optimizer of the groups that it was given, each with a learning rate."""
    problem = Problem(case)
    found = type(problem.optimizer).__name__
    expect(isinstance(problem.optimizer, torch.optim.Optimizer), f"the factory returns {found}")
    groups = problem.optimizer.param_groups
    given = [{id(problem.weights)}, {id(problem.bias)}]
    expect([{id(item) for item in group["params"]} for group in groups] == given, "the groups are not those given")
    expect(all(group["lr"] > 0 for group in groups), "a group has no learning rate above 0")


def check_lowers_loss(case: Case) -> None:
    """A convex loss is lower after some steps."""
    problem = Problem(case)
    before = problem.loss().item()
    problem.step(STEPS)
    after = problem.loss().item()
    expect(after < before, f"the loss is {before:g} before and {after:g} after {STEPS} steps")


def check_decay(case: Case) -> None:
    """A group whose weight decay is 0 does not shrink."""
    problem = Problem(case)
    before = problem.bias.detach().clone()
    problem.weights.grad, problem.bias.grad = torch.zeros(3, 2), torch.zeros(2)
    problem.update(problem.loss)
    expect(torch.equal(problem.bias.detach(), before), "a parameter without gradient and weight decay is changed")


def check_resume(case: Case) -> None:
    """An optimizer that is saved, without pickle, and restored goes on as if nothing had been."""
    whole, restored = Problem(case), Problem(case)
    whole.step(STEPS)
    saved = io.BytesIO()
    torch.save(whole.optimizer.state_dict(), saved)
    saved.seek(0)
    with torch.no_grad():
        restored.weights.copy_(whole.weights)
        restored.bias.copy_(whole.bias)
    restored.optimizer.load_state_dict(torch.load(saved, weights_only=True))
    for problem in (whole, restored):
        problem.step(STEPS)
    expect(torch.equal(whole.weights, restored.weights), "the weights differ after the restored optimizer's steps")
    expect(torch.equal(whole.bias, restored.bias), "the bias differs after the restored optimizer's steps")


def check_elementwise(case: Case) -> None:
    """An optimizer with ``elementwise = True`` moves weights alike, with others beside them that have no gradients."""
    found = []
    for rows in (3, 5):
        weights = torch.linspace(-1, 1, 10).reshape(5, 2)[:rows].clone().requires_grad_()
        optimizer = case.build(OptimizerContext(parameter_groups=[{"params": [weights]}], seed=1))
        said = getattr(optimizer, "elementwise", False)
        expect(isinstance(said, bool), f"elementwise is {said!r}, not True or False")
        if not said:
            return
        for step in range(STEPS):
            weights.grad = torch.zeros_like(weights)
            weights.grad[:3] = torch.randn(3, 2, generator=torch.Generator().manual_seed(step))
            optimizer.step()
        found.append(weights.detach()[:3])
    difference = float((found[0] - found[1]).abs().max())
    expect(difference <= 1e-6, f"elementwise is True, but weights without gradients change others by {difference:g}")


OPTIMIZER_CHECKS = (check_groups, check_lowers_loss, check_decay, check_resume, check_elementwise)
