"""``icf submit``: the same run on a Ray cluster."""

from __future__ import annotations

import datetime
import re
import secrets
import shlex
import tempfile
from pathlib import Path
from typing import Annotated

import typer

import icf
from icf.cli.jobs import Address, follow_job, print_commands
from icf.cli.options import NoPlugin, Overrides, PluginFiles, RecipeFile, Runs, make_console
from icf.cli.packing import PLAN, Parcel, pack
from icf.plan import Plan, load_plan


def submit(
    recipe: RecipeFile,
    address: Address,
    overrides: Overrides = None,
    runs: Runs = Path("runs"),
    cluster_runs: Annotated[
        str,
        typer.Option(
            "--cluster-runs",
            metavar="DIR",
            help="Folder for run folders on the cluster, which all its machines see under this path; without it, runs"
            " are in the job's own folder, which the cluster removes some time.",
        ),
    ] = "runs",
    fresh: Annotated[bool, typer.Option("--fresh", help="Begin anew, even if a run can be continued.")] = False,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Do not wait for the end of the job.")] = False,
    no_plugin: NoPlugin = None,
    plugin: PluginFiles = None,
    wheel: Annotated[
        list[Path] | None,
        typer.Option("--wheel", metavar="FILE", help="Bring this wheel of a plugin to every machine. Repeatable."),
    ] = None,
) -> None:
    """Run a recipe on a Ray cluster, follow it, and bring its scores, submission and report back.

    The recipe travels with all that it extends, with the code of --plugin, with wheels of plugins that were installed
    from a folder of this machine, and with data (at most 100 MB) that it names by a relative path. An absolute path is
    one that the cluster's machines see.
    """
    console = make_console()
    console.print(f"icf {icf.__version__}: {recipe.stem}", style="bold")
    plan = load_plan(recipe, overrides or [], no_plugin or [], plugin or [])
    from icf.cli.plan_table import make_grid, print_plan
    from icf.executors.ray_jobs import connect

    print_plan(console, plan)
    cluster = connect(address)
    name = make_name(plan)
    with tempfile.TemporaryDirectory(prefix="icf-job-") as folder:
        parcel = pack(plan, Path(folder), wheel or [])
        command = make_command(cluster_runs, fresh=fresh)
        cluster.submit(command, name, describe_environment(parcel, console.width), {"icf.recipe": plan.name})
    console.print(make_grid([("job", name), ("cluster", cluster.url), *describe_parcel(parcel)]))
    if no_wait:
        print_commands(console, name, cluster.url)
    else:
        follow_job(cluster, name, runs)


def make_name(plan: Plan) -> str:
    """Return a new name for a job, such as ``icf-digits-20260131-120000-a1b2``."""
    recipe = re.sub(r"[^A-Za-z0-9]+", "-", plan.name).strip("-") or "run"
    return f"icf-{recipe}-{datetime.datetime.now():%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


def make_command(cluster_runs: str, *, fresh: bool) -> str:
    """Return the shell command of the job."""
    return shlex.join(["python", "-m", "icf", "run-plan", PLAN, "--runs", cluster_runs, *["--fresh"] * fresh])


def describe_environment(parcel: Parcel, width: int) -> dict[str, object]:
    """Return Ray's runtime environment of the job."""
    environment: dict[str, object] = {
        "working_dir": str(parcel.archive),
        "env_vars": {"PYTHONUNBUFFERED": "1", "COLUMNS": str(width)},
    }
    if parcel.wheels:
        environment["py_modules"] = [str(wheel) for wheel in parcel.wheels]
    return environment


def describe_parcel(parcel: Parcel) -> list[tuple[str, str]]:
    """Return label and value of what travels."""
    data = ", ".join(f"{path} ({size / 1e6:.1f} MB)" for path, size in parcel.data.items())
    rows = [("data", f"{data} travels" if data else "none travels; it must be on the cluster")]
    if parcel.wheels:
        rows.append(("plugins", ", ".join(wheel.name for wheel in parcel.wheels)))
    return rows
