"""What every node of a cluster has: asked before training, since a node that lacks a plugin would fail hours later."""

from __future__ import annotations

import importlib.metadata
import platform
import time
from collections.abc import Callable, Mapping
from typing import Any

import icf
from icf.errors import IcfError, PluginError, Problem, ProblemsError, one_line
from icf.local import restore_local_plugins
from icf.plan import Plan

ANSWER_SECONDS = 180.0
"""Longest wait for a node: it may have to install a wheel, and to import torch, before it answers."""


class NodesError(ProblemsError):
    """Nodes of the cluster do not have what the run needs."""


def require_plugins(ray: Any, plan: Plan) -> None:
    """Raise NodesError if a node lacks a plugin of the plan, or has another version of it or of icf."""
    report_lacks(ask_nodes(ray, list_lacks, plan.to_json()))


def report_lacks(lacks: Mapping[str, list[str]]) -> None:
    """Raise NodesError for what nodes, by their names, lack; nothing if no node lacks anything."""
    problems = [Problem(f"node {node}", line) for node, lines in lacks.items() for line in lines]
    if problems:
        title = (
            "the cluster does not have what the run needs; install the same versions on every node, or let"
            " `icf submit` bring a plugin from your disk (docs/cluster.md)"
        )
        raise NodesError(title, problems)


def ask_nodes(ray: Any, question: Callable[..., Any], *arguments: Any) -> dict[str, Any]:
    """Call a function once on every node that is alive; return its answers (plain data) by the nodes' names.

    It takes no CPU, so that it never waits for folds; a node that dies meanwhile is left out.

    Raises:
        IcfError: a node did not answer in time, or can't start a worker.
    """
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    pending = {
        ray.remote(num_cpus=0, max_retries=1)(question)
        .options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False))
        .remote(*arguments): node
        for node in ray.nodes()
        if node["Alive"]
    }
    answers: dict[str, Any] = {}
    deadline = time.monotonic() + ANSWER_SECONDS
    while pending:
        # A time-out keeps Ctrl-C prompt.
        for reference in ray.wait(list(pending), timeout=0.5)[0]:
            node = pending.pop(reference)
            try:
                answers[name_node(node)] = ray.get(reference)
            # Ray raises what went wrong on the node, in many types.
            except Exception as error:
                if _is_alive(ray, node):
                    raise IcfError(f"node {name_node(node)} can't start a worker: {one_line(error)[:1000]}") from error
        if pending and time.monotonic() > deadline:
            silent = ", ".join(map(name_node, pending.values()))
            raise IcfError(f"no answer from node {silent} within {ANSWER_SECONDS:.0f} s; see `ray status` on the head")
    return answers


def name_node(node: Mapping[str, Any]) -> str:
    """Return the name by which people know a node of ``ray.nodes()``: its address and host name."""
    address, host = node["NodeManagerAddress"], node["NodeManagerHostname"]
    return address if host in ("", address) else f"{address} ({host})"


def _is_alive(ray: Any, node: Mapping[str, Any]) -> bool:
    return any(found["Alive"] and found["NodeID"] == node["NodeID"] for found in ray.nodes())


def list_lacks(plan_json: str) -> list[str]:
    """Return what this machine lacks to run a plan, a line each: distributions by version, then what fails to import.

    A plugin that came as a bare module has no version here; the plan names its functions, and it need only import.
    """
    plan = Plan.from_json(plan_json)
    wanted = {("icf", "icf"): plan.icf_version}
    sources = [choice for choice in plan.choices() if not _is_local(plan, choice.distribution, choice.version)]
    wanted |= {(choice.ref.partition("/")[0], choice.distribution): choice.version for choice in sources}
    wanted |= {(observer.name, observer.distribution): observer.version for observer in plan.observers}
    lines = {key: line for key, version in wanted.items() if (line := _compare(*key, version))}
    known = {distribution for _, distribution in lines}
    return [*lines.values(), *_list_import_errors(plan, known)]


def _is_local(plan: Plan, distribution: str, version: str) -> bool:
    return any((plugin.title, plugin.version) == (distribution, version) for plugin in plan.local_plugins)


def _compare(plugin: str, distribution: str, version: str) -> str:
    try:
        found = icf.__version__ if distribution == "icf" else importlib.metadata.version(distribution)
    except (importlib.metadata.PackageNotFoundError, ValueError):
        return ""  # a bare module, or nothing: importing it tells
    if found == version:
        return ""
    what = "icf itself" if plugin == "icf" else f"plugin '{plugin}'"
    return f"{what}: {distribution} {found} is there instead of {version}"


def _list_import_errors(plan: Plan, known: set[str]) -> list[str]:
    try:
        restore_local_plugins(plan.local_plugins)
    except PluginError as error:
        return [str(error)]
    lines = {}
    for choice in plan.choices():
        if choice.distribution not in known:
            try:
                choice.resolve()
            except PluginError as error:
                plugin = choice.ref.partition("/")[0]
                lines[choice.distribution] = (
                    f"plugin '{plugin}': {choice.distribution} {choice.version} is needed, and {error}"
                )
    return list(lines.values())


def require_here(plan: Plan) -> None:
    """Raise NodesError if this machine lacks what a plan from another one needs."""
    report_lacks({platform.node(): list_lacks(plan.to_json())})
