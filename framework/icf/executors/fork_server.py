"""The process from which folds are forked: it has imported torch and the plugins once, and computes nothing itself."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from multiprocessing import connection, get_context, parent_process
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from types import ModuleType

from icf.executors.preload import MODULES
from icf.memory import memory_variables
from icf.plan import Plan

METHOD = "forkserver" if sys.platform == "linux" else "spawn"
"""A process that has computed with several threads can't be forked safely; elsewhere, every fold imports anew."""


def open_context() -> BaseContext:
    """Return what starts processes, and tells that it has no server on this system."""
    return get_context(METHOD)


def start_server(plan: Plan) -> None:
    """Start the server, which then imports what the plan needs, and return at once; without effect if there is one.

    Folds that it forks start within a tenth of a second, and share the memory of what was imported.
    """
    if METHOD != "forkserver":
        return
    from multiprocessing import resource_tracker
    from multiprocessing.forkserver import ensure_running

    resource_tracker.ensure_running()  # which the server needs, and which would let interrupts through again
    open_context().set_forkserver_preload(["icf.executors.preload"])
    variables = {MODULES: ",".join(_list_modules(plan)), "OMP_NUM_THREADS": "1", **memory_variables()}
    with _environment(variables), hide_main(), _without_interrupts():
        ensure_running()


def is_serving() -> bool:
    """Tell whether there is a server."""
    from multiprocessing import forkserver

    return METHOD == "forkserver" and bool(getattr(forkserver._forkserver, "_forkserver_pid", None))


def start_process(name: str, work: Callable[..., object], *arguments: object) -> tuple[BaseProcess, Connection]:
    """Start a process that calls ``work(*arguments, answer)``, in this one's environment; return it, and the other
    end of the pipe ``answer``."""
    receiver, sender = open_context().Pipe(duplex=False)
    given = (dict(os.environ), work, *arguments, sender)
    process = open_context().Process(target=_work, args=given, name=name)  # type: ignore[attr-defined]
    with hide_main():
        process.start()
    sender.close()
    return process, receiver


def _work(environment: dict[str, str], work: Callable[..., object], *arguments: object) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # as in the server; elsewhere there is none
    os.environ.clear()  # the server's is as old as the server
    os.environ.update(environment)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    work(*arguments)


def _end_with_parent() -> None:
    """End this process when the one that started the run is gone: nobody would take its answer."""
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


def may_fork(plan: Plan) -> bool:
    """Tell whether folds of a plan will probably be forked; how much work they are is known only with the data."""
    compute = plan.recipe.compute
    return (
        compute.executor in ("auto", "process")
        and compute.device != "cuda"
        and compute.workers_per_fold == 1
        and compute.max_concurrent_folds != 1
        and plan.recipe.split.method != "group-holdout"
        and plan.recipe.model.freeze == "none"
        and not os.environ.get("RAY_ADDRESS")
        and (os.cpu_count() or 1) > 1
    )


def _list_modules(plan: Plan) -> list[str]:
    modules = dict.fromkeys(choice.factory.partition(":")[0] for choice in plan.choices())
    # torch imports its compiler when the first optimizer is made: for more than a second, in every fold.
    return ["icf.pipeline.training.fit", "torch._dynamo", *modules]


@contextlib.contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set variables for a process that starts in the block."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _without_interrupts() -> Iterator[None]:
    """Keep Ctrl-C from a process that starts in the block, which otherwise gets it before it can say that it ignores
    it; this process gets what came meanwhile after the block."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def hide_main() -> Iterator[None]:
    """Keep new processes from executing the program's main script again, which may be one that calls icf unguarded."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main
