"""``icf jobs``: the jobs of a Ray cluster."""

from __future__ import annotations

import datetime
import re
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from icf.cli.options import Runs, make_console, make_table, to_json
from icf.errors import IcfError
from icf.formats import format_path, format_seconds

if TYPE_CHECKING:
    from rich.console import Console

    from icf.executors.ray_jobs import Job, JobCluster

INTERRUPTED = 130
CONTROL = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""What could do more to a terminal than write to it."""

Address = Annotated[
    str,
    typer.Option(
        "--address",
        metavar="URL",
        envvar="RAY_API_SERVER_ADDRESS",
        help="The dashboard of the cluster's head, such as http://head:8265.",
    ),
]
JobName = Annotated[str, typer.Argument(metavar="JOB", help="Name of the job, as `icf jobs list` shows it.")]

app = typer.Typer(help="List, follow, stop and fetch the jobs of a Ray cluster.", rich_markup_mode=None)


@app.command("list")
def list_jobs(
    address: Address,
    as_json: Annotated[bool, typer.Option("--json", help="Write the jobs as a JSON array.")] = False,
) -> None:
    """List the jobs of a cluster, the newest last.

    With --json: [{"name", "status", "message", "recipe", "started", "ended"}], times in seconds since 1970.
    """
    jobs = _connect(address).list_jobs()
    if as_json:
        print(to_json([asdict(job) for job in jobs]))
        return
    table = make_table()
    for header in ("job", "recipe", "status", "started", "time"):
        table.add_column(header, overflow="fold")
    for job in jobs:
        table.add_row(*describe_job(job))
    make_console().print(table if jobs else "no jobs")


@app.command("follow")
def follow(job: JobName, address: Address, runs: Runs = Path("runs")) -> None:
    """Show the log of a job until it ends, and bring its scores, submission and report back."""
    follow_job(_connect(address), job, runs)


@app.command("stop")
def stop(job: JobName, address: Address) -> None:
    """End a job; what it has finished stays, and the same `icf submit --cluster-runs` continues it."""
    stopped = _connect(address).stop(job)
    make_console().print(f"{job} is being stopped" if stopped else f"{job} had ended before")


@app.command("fetch")
def fetch(job: JobName, address: Address, runs: Runs = Path("runs")) -> None:
    """Bring the scores, submission and report of a job back, without showing its log."""
    from icf.cli.products import ProductReader

    cluster = _connect(address)
    reader = ProductReader()
    for line in cluster.read_log(job):
        reader.take(line)
    folder = reader.save(runs)
    if folder is None:
        raise IcfError(f"job {job} has brought no products (its status is {cluster.find(job).status})")
    _print_files(folder)


def follow_job(cluster: JobCluster, name: str, runs: Path) -> None:
    """Print the log of a job until it ends, then save its products below ``runs``.

    Raises:
        IcfError: the job failed or was stopped, or the cluster is gone.
    """
    from rich.text import Text

    from icf.cli.products import ProductReader

    console = make_console()
    reader = ProductReader()
    try:
        for line in cluster.follow(name):
            if not reader.take(line):
                console.print(Text(CONTROL.sub("", line)), soft_wrap=True)
    except KeyboardInterrupt:
        console.print("the job goes on without you", style="bold")
        print_commands(console, name, cluster.url)
        # SystemExit, because click would answer typer.Exit with a second message.
        raise SystemExit(INTERRUPTED) from None
    job = cluster.find(name)
    if job.status != "SUCCEEDED":
        reason = CONTROL.sub("", job.message.partition(", last available logs")[0])[:1000]
        raise IcfError(f"job {name} {job.status.lower()}: {reason}")
    folder = reader.save(runs)
    if folder is not None:
        _print_files(folder)


def print_commands(console: Console, name: str, url: str) -> None:
    """Print what to type next, unbroken, so that it can be copied."""
    for label, command in (("follow it", "follow"), ("stop it", "stop")):
        _print_pair(console, label, f"icf jobs {command} {name} --address {url}")


def describe_job(job: Job) -> list[str]:
    """Return the cells of a job's row."""
    started = seconds = ""
    if job.started is not None:
        begin = datetime.datetime.fromtimestamp(job.started)
        started = f"{begin:%Y-%m-%d %H:%M:%S}"
        end = job.ended or datetime.datetime.now().timestamp()
        seconds = format_seconds(max(0.0, end - job.started))
    return [CONTROL.sub("", cell) for cell in (job.name, job.recipe, job.status.lower(), started, seconds)]


def _connect(address: str) -> JobCluster:
    from icf.executors.ray_jobs import connect

    return connect(address)


def _print_files(folder: Path) -> None:
    console = make_console()
    console.print("brought back", style="bold")
    named = [("run folder", folder), ("submission", folder / "submission.csv"), ("report", folder / "report.html")]
    for label, path in named:
        if path.exists():
            _print_pair(console, label, format_path(path))


def _print_pair(console: Console, label: str, value: str) -> None:
    from rich.text import Text

    from icf.cli.plan_table import LABEL_WIDTH

    console.print(Text.assemble((f"{label:<{LABEL_WIDTH}}  ", "cyan"), value), soft_wrap=True)
