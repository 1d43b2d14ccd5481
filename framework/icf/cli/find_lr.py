"""``icf find-lr``: a learning rate to begin with, from a range test."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from icf.cli.options import NoPlugin, Overrides, PluginFiles, RecipeFile, Runs, can_redraw, make_console, to_json
from icf.errors import UsageError
from icf.memory import keep_memory
from icf.plan import Plan, load_plan

if TYPE_CHECKING:
    from icf.pipeline.find_rate import RateSearch


def find_lr(
    recipe: RecipeFile,
    overrides: Overrides = None,
    runs: Runs = Path("runs"),
    fold: Annotated[int, typer.Option("--fold", min=0, help="Fold whose rows are trained on.")] = 0,
    steps: Annotated[int, typer.Option("--steps", min=20, max=10_000, help="Optimizer steps, one at each rate.")] = 300,
    start: Annotated[float, typer.Option("--start", help="First learning rate.")] = 1e-6,
    end: Annotated[
        float, typer.Option("--end", help="Last learning rate, if the loss has not diverged before.")
    ] = 10.0,
    as_json: Annotated[bool, typer.Option("--json", help="Write what was found as one JSON object.")] = False,
    no_plugin: NoPlugin = None,
    plugin: PluginFiles = None,
) -> None:
    """Find a learning rate: train one fold for a few hundred steps at a rate that grows from step to step.

    The network, the loss, the optimizer, the batches and their augmentation are those of the recipe. Table and picture
    are written below the folder lr-finder of --runs; no run is touched.

    With --json: {"recipe", "steepest", "tenth", "steps", "csv", "svg"}.
    """
    if not 0 < start < end < float("inf"):
        raise UsageError(f"--start {start:g} --end {end:g}: rates are above 0, and the last is larger than the first")
    keep_memory()
    plan = load_plan(recipe, overrides or [], no_plugin or [], plugin or [])
    found = _search(plan, runs, (fold, steps, start, end), as_json)
    if as_json:
        print(to_json({"recipe": plan.name, **asdict(found)}))
        return
    console = make_console()
    console.print(f"{found.steps} steps; table {found.csv}, picture {found.svg}", soft_wrap=True)
    console.print(f"{found.steepest:.2g}  where the loss falls fastest", style="bold green")
    console.print(f"{found.tenth:.2g}  a tenth of where it is lowest", style="bold green")
    options = [*(f"--set {text}" for text in overrides or []), *(f"--plugin {file}" for file in plugin or [])]
    rate = f"--set optimizer.lr={found.steepest:.2g}" if "lr" in plan.optimizer.params else ""
    console.print(" ".join(filter(None, ["next: icf run", str(recipe), *options, rate])), soft_wrap=True)


def _search(plan: Plan, runs: Path, wanted: tuple[int, int, float, float], as_json: bool) -> RateSearch:
    from icf.cli.display import Display, LiveDisplay

    console = make_console()
    shows = can_redraw(console) and not as_json
    with LiveDisplay(console, make_console(stderr=True)) if shows else Display() as display:
        from icf.pipeline.find_rate import RateRange, find_rate

        return find_rate(plan, runs, RateRange(*wanted), display)
