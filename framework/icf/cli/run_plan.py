"""``icf run-plan``: what a job of ``icf submit`` executes on the cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from icf.cli.options import Runs, make_console
from icf.errors import IcfError
from icf.memory import keep_memory
from icf.plan import Plan


def run_plan(
    plan_file: Annotated[Path, typer.Argument(metavar="PLAN", help="A plan.json.")],
    runs: Runs = Path("runs"),
    fresh: Annotated[bool, typer.Option("--fresh", help="Begin anew, even if a run can be continued.")] = False,
) -> None:
    """Run a plan that was made on another machine, and print its small products as lines."""
    keep_memory()
    try:
        plan = Plan.from_json(plan_file.read_text(encoding="utf-8"))
    except OSError as error:
        raise IcfError(f"{plan_file} can't be read: {error.strerror}") from error
    from icf.cli.display import PlainDisplay
    from icf.cli.products import describe_left_out, pack_products, write_lines
    from icf.executors import choose_executor
    from icf.executors.ray_nodes import require_here
    from icf.pipeline.run import run_pipeline

    require_here(plan)
    with PlainDisplay(make_console(), make_console(stderr=True)) as display:
        result = run_pipeline(plan, runs, choose_executor, display, fresh=fresh)
        content, left_out = pack_products(result.run_dir)
        if left_out:
            display.warn(describe_left_out(left_out, result.run_dir))
    for line in write_lines(content, result.run_dir):
        print(line, flush=True)
