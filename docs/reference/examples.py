"""The recipes that come with icf."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]


def write_examples() -> list[str]:
    """Show every recipe: its header as text, the rest as it stands."""
    lines: list[str] = []
    for path in sorted((ROOT / "recipes").glob("*.toml")):
        header, body = _split_header(path.read_text(encoding="utf-8"))
        lines += [f"## {path.stem}", "", *header, "", "```toml", body.strip(), "```", ""]
    return lines[:-1]


def _split_header(text: str) -> tuple[list[str], str]:
    """Return the comment at the top, its indented command as a block of code, and what follows."""
    lines = text.splitlines()
    length = next(number for number, line in enumerate(lines) if not line.startswith("#"))
    header: list[str] = []
    for line in (line.removeprefix("#").removeprefix(" ") for line in lines[:length]):
        header += ["```sh", line.strip(), "```"] if line.startswith("  ") else [line]
    return header, "\n".join(lines[length:])


def write_terminal() -> list[str]:
    """Show what README.md shows of a terminal."""
    _, found, rest = (ROOT / "README.md").read_text(encoding="utf-8").partition("```text\n")
    if not found:
        raise SystemExit("README.md shows no terminal: there is no block of text")
    return ["```text", rest.partition("\n```")[0], "```"]
