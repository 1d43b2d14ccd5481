"""What the tutorial of plugins quotes: a plugin in one file, and the package that ``icf new-plugin`` writes."""

from __future__ import annotations

import difflib
import io
from collections.abc import Callable
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path

from icf.cli.main import main
from icf.cli.new_plugin import render

NAME = "my-losses"
KINDS = ("loss",)
"""Kinds of the package that the tutorial begins with."""

GROWN = ("loss", "metric")
"""Kinds of the package after it has grown."""

FILES = Path(__file__).parents[1] / "plugins"
FILE = FILES / "my_loss.py"
LANGUAGES = {".py": "python", ".toml": "toml", ".yml": "yaml"}


def write_file(name: str) -> list[str]:
    """Quote a plugin in one file."""
    return _block("python", (FILES / name).read_text(encoding="utf-8"))


def write_description() -> list[str]:
    """Show what ``icf describe`` says of the plugin in one file."""
    output = io.StringIO()
    with redirect_stdout(output):
        code = main(["describe", "my-loss/poly", "--plugin", str(FILE)])
    if code:
        raise SystemExit(f"icf describe my-loss/poly --plugin {FILE}: exit code {code}")
    return _block("text", "\n".join(line.rstrip() for line in output.getvalue().splitlines()))


def write_tree() -> list[str]:
    """List the files of the package."""
    return _block("text", "\n".join([f"icf-{NAME}/", *(f"  {place}" for place in sorted(list_files(KINDS)))]))


def quote(place: str) -> list[str]:
    """Quote a file of the package."""
    return _block(LANGUAGES[Path(place).suffix], list_files(KINDS)[place])


def quote_addition(place: str) -> list[str]:
    """Quote what a file of the grown package has more than before."""
    before, after = list_files(KINDS).get(place, ""), list_files(GROWN)[place]
    added = [line[2:] for line in difflib.ndiff(before.splitlines(), after.splitlines()) if line.startswith("+ ")]
    return _block(LANGUAGES[Path(place).suffix], "\n".join(added).strip())


def list_files(kinds: tuple[str, ...]) -> dict[str, str]:
    """Return the files of a package with these kinds: place and text."""
    return {place.as_posix(): text for place, text in render(NAME, kinds)}


def _block(language: str, text: str) -> list[str]:
    return [f"```{language}", text.rstrip(), "```"]


PAGE = "plugins/writing.md"
PARTS: dict[str, tuple[str, Callable[[], list[str]]]] = {
    "my_loss.py": (PAGE, partial(write_file, "my_loss.py")),
    "my_model.py": (PAGE, partial(write_file, "my_model.py")),
    "my_penalty.py": (PAGE, partial(write_file, "my_penalty.py")),
    "icf describe my-loss/poly": (PAGE, write_description),
    "files of the package": (PAGE, write_tree),
    "pyproject.toml": (PAGE, partial(quote, "pyproject.toml")),
    "plugin.py": (PAGE, partial(quote, "src/icf_my_losses/plugin.py")),
    "loss.py": (PAGE, partial(quote, "src/icf_my_losses/loss.py")),
    "test_loss.py": (PAGE, partial(quote, "tests/test_loss.py")),
    "recipe.toml": (PAGE, partial(quote, "recipe.toml")),
    "more of plugin.py": (PAGE, partial(quote_addition, "src/icf_my_losses/plugin.py")),
    "metric.py": (PAGE, partial(quote_addition, "src/icf_my_losses/metric.py")),
    "test_metric.py": (PAGE, partial(quote_addition, "tests/test_metric.py")),
    "more of recipe.toml": (PAGE, partial(quote_addition, "recipe.toml")),
    "tests.yml": (PAGE, partial(quote, ".github/workflows/tests.yml")),
    "test_conformance.py": ("plugins/testing.md", partial(quote, "tests/test_conformance.py")),
}
"""Name of a generated part -> its page, and what writes it."""
