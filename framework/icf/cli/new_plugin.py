"""``icf new-plugin``: a package with working components, copied from the distribution in ``icf/template``."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from importlib import metadata
from pathlib import Path
from typing import Annotated

import typer

from icf.catalogue import NAME
from icf.components import KINDS
from icf.errors import IcfError, did_you_mean
from icf.formats import format_count
from icf.hookspecs import GROUP

TEMPLATE = Path(__file__).parents[1] / "template"
CHOICES = (*KINDS, "observer")
LONGEST = 40

MARK = re.compile(r"# -- (.+) --\n")
"""In the template, the line before what belongs to one kind; the next such line ends it."""

FALLBACKS = {
    "dataset": '[dataset]\nuse = "sklearn/digits"\n\n',
    "model": '[model]\nuse = "nn/sequential-cnn"\n\n',
}
"""What the recipe says instead, where it can't do without."""


def new_plugin(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The plugin's name in recipes, such as my-losses.")],
    kinds: Annotated[
        list[str] | None,
        typer.Option("--kind", metavar="KIND", help=f"{', '.join(CHOICES)}; repeatable, all if left out."),
    ] = None,
    into: Annotated[Path, typer.Option("--into", metavar="DIR", help="Where the folder icf-NAME is made.")] = Path(),
) -> None:
    """Write a plugin's package: a working component of each kind, its tests, a recipe, README and CI."""
    check_name(name)
    chosen = _check_kinds(kinds or CHOICES)
    folder = into / f"icf-{name}"
    files = dict(render(name, chosen))
    _write(folder, files)
    print(f"{format_count(len(files), 'file')} in {folder}")
    print(f"next: pip install -e {folder} && icf describe {name} && pytest {folder}")


def check_name(name: str) -> None:
    """Raise IcfError unless a new plugin can have this name."""
    if not NAME.fullmatch(name) or len(name) > LONGEST:
        raise IcfError(
            f"{name!r} can't be a plugin's name: it must be made of lower-case letters, digits and single hyphens,"
            f" at most {LONGEST}, such as 'my-losses'"
        )
    if name.startswith("icf-"):
        raise IcfError(f"'{name}': the package is named icf-NAME by itself; use '{name.removeprefix('icf-')}'")
    for point in metadata.entry_points(group=GROUP, name=name):
        owner = point.dist.name if point.dist else "another distribution"
        raise IcfError(f"{owner} has a plugin '{name}' already, and two of one name are both refused; use another")


def _check_kinds(kinds: Collection[str]) -> list[str]:
    for kind in kinds:
        if kind not in CHOICES:
            raise IcfError(f"there is no kind '{kind}'{did_you_mean(kind, CHOICES)}")
    return [kind for kind in CHOICES if kind in kinds]


def render(name: str, kinds: Collection[str]) -> Iterator[tuple[Path, str]]:
    """Yield the files of a plugin: path in its folder, and text."""
    for path in sorted(TEMPLATE.rglob("*")):
        place = path.relative_to(TEMPLATE)
        own_kind = path.stem.removeprefix("test_")
        # pip compiles what it installs, the template included; other tools leave such folders too.
        is_cache = any(part.strip("_").endswith("cache") for part in place.parts)
        if path.is_file() and not is_cache and (own_kind in kinds or own_kind not in CHOICES):
            text = _select(path.read_text(encoding="utf-8"), place, kinds)
            yield Path(_rename(place.as_posix(), name)), _rename(text, name)


def _select(text: str, place: Path, kinds: Collection[str]) -> str:
    """Leave out what belongs to other kinds: rows of the README, parts between marks, and then unused imports."""
    if place.name == "README.md":
        others = "|".join(kind for kind in CHOICES if kind not in kinds) or "-"
        return re.sub(rf"^\| (?:{others}) \|.*\n", "", text, flags=re.MULTILINE)
    head, *parts = MARK.split(text)
    if not parts:
        return text
    fallbacks = FALLBACKS if place.name == "recipe.toml" else {}
    pairs = zip(parts[::2], parts[1::2], strict=True)
    kept = [part if kind in kinds or kind not in CHOICES else fallbacks.get(kind, "") for kind, part in pairs]
    return _drop_unused_imports("".join([head, *kept]).rstrip() + "\n")


def _drop_unused_imports(text: str) -> str:
    for line, imported in re.findall(r"^(from (?!__future__)\S+ import (\w+)\n)", text, flags=re.MULTILINE):
        if len(re.findall(rf"\b{imported}\b", text)) == 1:
            # A line that stands alone goes with the blank line that follows it.
            text = text.replace(f"\n\n{line}\n", "\n\n").replace(line, "")
    return text


def _rename(text: str, name: str) -> str:
    identifier = name.replace("-", "_")
    return re.sub(r"\bexample\b", name, text.replace("icf_example", f"icf_{identifier}"))


def _write(folder: Path, files: dict[Path, str]) -> None:
    try:
        folder.mkdir(parents=True)
        for place, text in files.items():
            path = folder / place
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    except FileExistsError as error:
        raise IcfError(f"{folder} exists already, and nothing is overwritten; use another name or --into") from error
    except OSError as error:
        raise IcfError(f"can't write {folder}: {error.strerror}") from error
