"""``icf preview``: a picture of what the network sees."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from icf.cli.options import NoPlugin, Overrides, PluginFiles, RecipeFile
from icf.errors import IcfError, UsageError
from icf.formats import format_count
from icf.memory import keep_memory
from icf.plan import load_plan


def preview(
    recipe: RecipeFile,
    overrides: Overrides = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE.png", help="Picture to write; by default preview-RECIPE.png.")
    ] = None,
    rows: Annotated[int, typer.Option("--rows", min=1, max=200, help="Images to show, of all classes in turn.")] = 8,
    draws: Annotated[int, typer.Option("--draws", min=1, max=20, help="Random versions of each image.")] = 3,
    seed: Annotated[int, typer.Option("--seed", min=0, max=2**32 - 1, help="Which images, and which versions.")] = 0,
    no_plugin: NoPlugin = None,
    plugin: PluginFiles = None,
) -> None:
    """Draw what the network sees: images of training as their files have them, prepared, augmented, mixed, in views.

    Only the images that are shown are decoded, and nothing is trained. What is normalised, last of all, is not shown.
    """
    keep_memory()
    plan = load_plan(recipe, overrides or [], no_plugin or [], plugin or [])
    path = out or Path(f"preview-{plan.name}.png")
    if path.suffix.lower() != ".png":
        raise UsageError(f"--out {path}: the picture is a PNG file; name it so, such as {path.with_suffix('.png')}")
    from icf.pipeline.preview import write_preview

    try:
        found = write_preview(plan, path, rows, draws, seed)
    except OSError as error:
        raise IcfError(f"can't write {path}: {error.strerror or error}") from error
    print(f"{format_count(len(found.ids), 'image')} in {path}")
