"""The command ``icf``: its subcommands, and what a person sees when something goes wrong.

Exit codes: 0 done; 1 the work could not be done; 2 the recipe or the command line is wrong; 70 a bug;
130 interrupted; 141 the reader of the output went away.
"""

from __future__ import annotations

import errno
import os
import sys
import tempfile
import traceback
from collections.abc import Sequence
from typing import Annotated

import typer

import icf
from icf.cli import jobs as job_commands
from icf.cli import plugins as plugin_commands
from icf.cli.check import check
from icf.cli.check_plugin import check_plugin
from icf.cli.compare import compare
from icf.cli.find_lr import find_lr
from icf.cli.new_plugin import new_plugin
from icf.cli.predict import predict
from icf.cli.run import run
from icf.cli.run_plan import run_plan
from icf.cli.submit import submit
from icf.errors import IcfError, RecipeError, UsageError
from icf.plugins import list_unknown_blocks

DEBUG_VARIABLE = "ICF_DEBUG"
"""Environment variable; when set, every error is shown with its traceback."""

app = typer.Typer(
    name="icf",
    help="Image classification, from a folder of images to a submission you can trust.",
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,
)

app.command("run")(run)
app.command("submit")(submit)
app.add_typer(job_commands.app, name="jobs")
app.command("run-plan", hidden=True)(run_plan)
app.command("check")(check)
app.command("find-lr")(find_lr)
app.command("predict")(predict)
app.command("compare")(compare)
app.command("list-plugins")(plugin_commands.list_plugins)
app.command("describe")(plugin_commands.describe)
app.command("check-plugin")(check_plugin)
app.command("new-plugin")(new_plugin)


@app.callback(invoke_without_command=True)
def _options(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False,
) -> None:
    if version:
        typer.echo(f"icf {icf.__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
    for line in list_unknown_blocks():
        _complain(f"warning: {line}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command with ``arguments``, by default those of the process; return its exit code."""
    try:
        code = app(args=arguments, prog_name="icf", standalone_mode=False)
        sys.stdout.flush()
    except BrokenPipeError:
        # Python flushes stdout once more at exit, which would fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except (KeyboardInterrupt, typer.Abort):
        code = 130
    except Exception as error:  # noqa: BLE001 - the last line of defence: no traceback reaches a person
        return _report(error)
    if code == 130:
        _complain("interrupted")
    return int(code or 0)


def _report(error: Exception) -> int:
    if os.environ.get(DEBUG_VARIABLE):
        traceback.print_exception(error)
    if isinstance(error, IcfError):
        _complain(f"error: {error}")
        return 2 if isinstance(error, RecipeError | UsageError) else 1
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        _complain(f"error: a disk is full: {error}; make room, and type the same command to continue")
        return 1
    # Typer brings its own copy of click or uses the installed one; only this method is common to both.
    if hasattr(error, "format_message"):
        return _report_usage(error)
    _complain(f"unexpected error: {type(error).__name__}: {' '.join(str(error).split())}")
    _complain(f"this is a bug in icf or a plugin; the traceback is in {_save_traceback(error)}")
    return 70


def _report_usage(error: Exception) -> int:
    context = getattr(error, "ctx", None)
    _complain(f"error: {error.format_message()}")  # type: ignore[attr-defined]
    if context is not None:
        _complain(f"try '{context.command_path} --help'")
    return 2


def _save_traceback(error: Exception) -> str:
    with tempfile.NamedTemporaryFile("w", prefix="icf-error-", suffix=".txt", delete=False, encoding="utf-8") as file:
        file.writelines(traceback.format_exception(error))
    return file.name


def _complain(text: str) -> None:
    print(text, file=sys.stderr)
