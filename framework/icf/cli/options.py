"""Arguments and options that several commands share, and the consoles they write to."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

RecipeFile = Annotated[Path, typer.Argument(metavar="RECIPE", help="Recipe file, such as recipes/digits.toml.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override one value: --set train.epochs=3. Repeatable."),
]
Runs = Annotated[Path, typer.Option("--runs", metavar="DIR", envvar="ICF_RUNS", help="Folder that holds run folders.")]
NoPlugin = Annotated[
    list[str] | None, typer.Option("--no-plugin", metavar="NAME", help="Do not import this plugin. Repeatable.")
]

PluginFiles = Annotated[
    list[Path] | None,
    typer.Option("--plugin", metavar="PATH", help="Use the code of this .py file or folder. Repeatable."),
]


def name_run(recipe: Path, overrides: Sequence[str] | None, plugin: Sequence[Path] | None, *others: str) -> str:
    """Return the command line that runs a recipe, to be typed in a shell."""
    settings = [part for text in overrides or [] for part in ("--set", text)]
    plugins = [part for path in plugin or [] for part in ("--plugin", str(path))]
    return shlex.join(["icf", "run", str(recipe), *settings, *plugins, *others])


def make_console(*, stderr: bool = False) -> Console:
    """Return a console that writes text as it is: a recipe's words are not rich's markup."""
    from rich.console import Console

    return Console(stderr=stderr, markup=False, highlight=False, emoji=False)


def make_table(header_style: str = "bold") -> Table:
    """Return a table without lines, whose columns are still to be added."""
    from rich.table import Table

    return Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style=header_style)


def can_redraw(console: Console) -> bool:
    """Tell whether lines can be drawn again; rich believes FORCE_COLOR, but a file stays a file."""
    return console.file.isatty() and not console.is_dumb_terminal


def to_json(content: Any) -> str:
    """Return indented JSON; numbers that JSON can't say (NaN, infinity) become null."""
    return json.dumps(_finite(content), indent=2, ensure_ascii=False, allow_nan=False, default=str)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
