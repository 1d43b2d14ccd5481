"""``icf check``: finds in seconds what would otherwise be found after hours."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from icf.cli.options import NoPlugin, Overrides, PluginFiles, RecipeFile, can_redraw, make_console, name_run, to_json
from icf.memory import keep_memory
from icf.plan import Plan, load_plan

if TYPE_CHECKING:
    from rich.console import Console

    from icf.pipeline.check import CheckResult

SHOWN = 20
"""How many skipped images are named before the rest is only counted."""


def check(
    recipe: RecipeFile,
    overrides: Overrides = None,
    recipe_only: Annotated[
        bool, typer.Option("--recipe-only", help="Check the recipe alone: no data, no model, no waiting.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Write what was found as one JSON object.")] = False,
    no_plugin: NoPlugin = None,
    plugin: PluginFiles = None,
) -> None:
    """Check a recipe and its data: decode every image, split, and do one training step.

    With --json: {"recipe", "ready", "facts", "notes", "warnings", "skipped": [{"where", "message"}], "method",
    "folds", "weights", "step", "advice"}; with --recipe-only: {"recipe", "valid", "warnings", "filled"}.
    """
    keep_memory()
    plan = load_plan(recipe, overrides or [], no_plugin or [], plugin or [])
    if recipe_only:
        _report_recipe(plan, as_json)
        return
    result = _check_data(plan, as_json)
    if as_json:
        print(to_json({"recipe": plan.name, "ready": True, **asdict(result)}))
        return
    console = make_console()
    _print_result(console, result)
    console.print(f"ready: {name_run(recipe, overrides, plugin)}", style="bold green", soft_wrap=True)


def _report_recipe(plan: Plan, as_json: bool) -> None:
    if as_json:
        warnings = list(plan.warnings)
        print(to_json({"recipe": plan.name, "valid": True, "warnings": warnings, "filled": plan.filled_recipe()}))
        return
    from icf.cli.plan_table import print_plan

    console = make_console()
    print_plan(console, plan, full=True)
    _print_warnings(console, plan.warnings)
    console.print(f"recipe '{plan.name}' is valid; its data was not looked at", style="bold green")


def _check_data(plan: Plan, as_json: bool) -> CheckResult:
    from icf.cli.display import Display, LiveDisplay

    console = make_console()
    shows = can_redraw(console) and not as_json
    with LiveDisplay(console, make_console(stderr=True)) if shows else Display() as display:
        from icf.pipeline.check import check_plan

        return check_plan(plan, display)


def _print_result(console: Console, result: CheckResult) -> None:
    from icf.cli.display import list_facts
    from icf.cli.plan_table import make_grid

    sizes = ", ".join(f"{size:,}" for size in result.folds)
    rows: list[tuple[str, Any]] = [
        *list_facts(result.facts),
        ("split", f"{result.method}; validation rows per fold: {sizes}"),
        ("weights", result.weights),
        ("trial step", result.step),
    ]
    console.print(make_grid(rows))
    for note in result.notes:
        console.print(f"note: {note}", style="bold magenta", soft_wrap=True)
    for line in result.advice:
        console.print(f"advice: {line}", style="cyan", markup=False, highlight=False, soft_wrap=True)
    _print_warnings(console, result.warnings)
    for problem in result.skipped[:SHOWN]:
        console.print(f"skipped: {problem}", style="yellow", soft_wrap=True)
    if len(result.skipped) > SHOWN:
        console.print(f"... and {len(result.skipped) - SHOWN} more skipped images", style="yellow")


def _print_warnings(console: Console, warnings: tuple[str, ...]) -> None:
    for warning in warnings:
        console.print(f"warning: {warning}", style="yellow", soft_wrap=True)
