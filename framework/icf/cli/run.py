"""``icf run``: the main job."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import icf
from icf.cli.options import NoPlugin, Overrides, PluginFiles, RecipeFile, Runs, can_redraw, make_console, name_run
from icf.errors import FailedFoldsError, FoldError, UsageError
from icf.memory import collect_later, keep_memory
from icf.plan import Plan, load_plan

if TYPE_CHECKING:
    from icf.cli.display import Display

INTERRUPTED = 130
"""Exit code of a process that Ctrl-C has ended."""

ENDING_SECONDS = 5.0
"""After a first Ctrl-C, in which a second one would only cut short the ending of other processes."""


def run(
    recipe: RecipeFile,
    overrides: Overrides = None,
    runs: Runs = Path("runs"),
    fresh: Annotated[bool, typer.Option("--fresh", help="Begin anew, even if a run can be continued.")] = False,
    retry: Annotated[bool, typer.Option("--retry", help="Train folds that failed in this run once more.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Only warnings, notes and the score.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Write the result as one JSON object.")] = False,
    no_plugin: NoPlugin = None,
    plugin: PluginFiles = None,
) -> None:
    """Do what a recipe says: prepare, split, train, ensemble, predict and report.

    An interrupted run continues when the same command is typed again. Folds that failed are left as they are, and the
    others are finished; --retry trains what failed once more.

    With --json: {"run_dir", "metrics", "notes", "warnings", "skipped", "submission", "report", "seconds"},
    where "metrics" is the content of metrics.json.
    """
    if fresh and retry:
        raise UsageError("--fresh begins anew, and --retry continues: only one of them can be given")
    keep_memory()
    open_plan = partial(load_plan, recipe, overrides or [], no_plugin or [], plugin or [])
    plan = _open(recipe, open_plan, silent=quiet or as_json)
    again = name_run(recipe, overrides, plugin, *_name_places(runs, no_plugin or []))
    try:
        with _interruptible():
            with collect_later():
                from icf.executors.fork_server import may_fork, start_server

                if may_fork(plan):
                    start_server(plan)  # it imports torch while this process does
                from icf.executors import choose_executor
                from icf.pipeline.run import run_pipeline

                chosen = _choose_display(quiet=quiet, as_json=as_json)
            with chosen as display:
                run_pipeline(plan, runs, choose_executor, display, fresh=fresh, retry=retry)
    except FailedFoldsError as error:
        command = f"{again} --retry" if error.lasting else again
        raise FoldError(f"{error}; to train the rest, type: {command}") from error
    except KeyboardInterrupt:
        print(f"interrupted; to continue, type: {again}", file=sys.stderr)
        # SystemExit, because click would answer typer.Exit with a second message.
        raise SystemExit(INTERRUPTED) from None


def _name_places(runs: Path, no_plugin: list[str]) -> list[str]:
    """Return the options that must be the same for a run to continue, besides those of its recipe."""
    blocked = [part for name in no_plugin for part in ("--no-plugin", name)]
    return blocked if runs == Path("runs") else [*blocked, "--runs", str(runs)]


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Let Ctrl-C end the block in order, even if the key is pressed again and again."""
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or before is not signal.default_int_handler:
        yield  # another program decides what Ctrl-C does, or it is ignored, as under nohup
        return
    last = float("-inf")

    def interrupt(number: int, frame: object) -> None:
        nonlocal last
        del number, frame
        if time.monotonic() - last > ENDING_SECONDS:
            last = time.monotonic()
            raise KeyboardInterrupt

    signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process ends now, and with its own exit code
        raise
    except BaseException:
        signal.signal(signal.SIGINT, before)
        raise
    signal.signal(signal.SIGINT, before)


def _open(recipe: Path, open_plan: Callable[[], Plan], *, silent: bool) -> Plan:
    """Read the recipe and show what it asks, before anything is imported that takes seconds."""
    if silent:
        return open_plan()
    console = make_console()
    console.print(f"icf {icf.__version__}: {recipe.stem}", style="bold")
    plan = open_plan()
    from icf.cli.plan_table import print_plan

    print_plan(console, plan)
    return plan


def _choose_display(*, quiet: bool, as_json: bool) -> Display:
    from icf.cli.display import JsonDisplay, LiveDisplay, PlainDisplay, QuietDisplay

    console, errors = make_console(), make_console(stderr=True)
    if as_json:
        return JsonDisplay(console, errors)
    if quiet:
        return QuietDisplay(console, errors)
    return LiveDisplay(console, errors) if can_redraw(console) else PlainDisplay(console, errors)
