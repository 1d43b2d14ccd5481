"""``icf check-plugin``: does a plugin keep what icf promises of its components?"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import icf
from icf.cli.options import PluginFiles, make_console, to_json
from icf.errors import Problem, RecipeError, UsageError
from icf.overrides import parse_overrides
from icf.testing import Outcome, Result, run_checks

if TYPE_CHECKING:
    from rich.table import Table

STYLES = {Outcome.ok: "green", Outcome.failed: "bold red", Outcome.expected: "yellow", Outcome.skipped: "dim"}

WIDTH_OF_A_FILE = 240
"""Characters per line where the output is no terminal."""


def check_plugin(
    name: Annotated[
        str,
        typer.Argument(metavar="PLUGIN", help="An installed plugin, such as loss, or a path: ./my_loss.py."),
    ],
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KIND/NAME.KEY=VALUE", help="A parameter: --set dataset/folder.root=photos. Repeatable."
        ),
    ] = None,
    expected: Annotated[
        list[str] | None,
        typer.Option("--expect", metavar="CHECK=REASON", help="A check that is known to fail, and why. Repeatable."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Write what was found as one JSON object.")] = False,
    plugin: PluginFiles = None,
) -> None:
    """Check every component of a plugin against the contract; exit with 1 if a check fails.

    --plugin names a folder of code for an adapter: icf check-plugin baseline --plugin ./team --set
    model/model.name=MyModel.

    With --json: {"icf": version, "plugin", "passed", "checks": [{"component", "check", "outcome", "reason",
    "sentence"}]}. An outcome is ok, failed, expected failure or skipped.
    """
    with tempfile.TemporaryDirectory(prefix="icf-check-plugin-") as folder:
        found = run_checks(
            name,
            Path(folder),
            expected_failures=_parse_expected(expected or []),
            examples=_parse_examples(settings or []),
            plugin_files=plugin or (),
        )
        results = list(found)
    failed = [result for result in results if result.outcome is Outcome.failed]
    if as_json:
        checks = [asdict(result) for result in results]
        print(to_json({"icf": icf.__version__, "plugin": name, "passed": not failed, "checks": checks}))
    else:
        _print_report(name, results)
    if failed:
        raise typer.Exit(1)


def _parse_examples(settings: list[str]) -> Mapping[str, Mapping[str, Any]]:
    # A slash stands in no bare TOML key.
    split = ((text, *text.partition(".")) for text in settings)
    quoted = [f'"{ref}".{rest}' if "/" in ref else text for text, ref, _, rest in split]
    examples = parse_overrides(quoted, {})
    for ref, example in examples.items():
        if not isinstance(example, dict):
            raise RecipeError("parameters can't be used", [Problem(f"--set {ref}", "write KIND/NAME.KEY=VALUE")])
    return examples


def _parse_expected(texts: list[str]) -> Mapping[str, str]:
    expected = {}
    for text in texts:
        check, equals, reason = text.partition("=")
        if not (equals and reason.strip()):
            raise UsageError(f"--expect {text}: write CHECK=REASON, such as loss/poly:mean='a sum on purpose'")
        expected[check.strip()] = reason.strip()
    return expected


def _print_report(name: str, results: list[Result]) -> None:
    console = make_console()
    if not console.is_terminal:
        console.width = WIDTH_OF_A_FILE
    console.print(_make_table(results))
    for line in _explain_failures(results):
        console.print(line, soft_wrap=True)
    counts = Counter(result.outcome for result in results)
    told = ", ".join(f"{counts[outcome]} {outcome}" for outcome in Outcome if counts[outcome])
    style = STYLES[Outcome.failed if counts[Outcome.failed] else Outcome.ok]
    console.print(f"\nplugin '{name}': {len(results)} checks: {told}", style=style, soft_wrap=True)


def _make_table(results: list[Result]) -> Table:
    """Return a table with a row for all checks of a component that came out alike; failures are explained below it."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column in ("component", "outcome", "checks", "reason"):
        table.add_column(column, overflow="fold")
    groups: dict[tuple[str, Outcome, str], list[str]] = {}
    for result in results:
        reason = "" if result.outcome is Outcome.failed else result.reason
        groups.setdefault((result.component, result.outcome, reason), []).append(result.check)
    previous = None
    for (component, outcome, reason), checks in groups.items():
        shown = (component or "the plugin") if component != previous else ""
        previous = component
        table.add_row(shown, Text(outcome, STYLES[outcome]), ", ".join(checks), reason)
    return table


def _explain_failures(results: list[Result]) -> Iterator[str]:
    for result in results:
        if result.outcome is Outcome.failed:
            check = f"{result.component}:{result.check}".lstrip(":")
            yield f"\n{check}\n  promised: {result.sentence}\n  found: {result.reason}"
