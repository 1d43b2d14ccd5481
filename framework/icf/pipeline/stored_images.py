"""The images of a plan's data set as pixels: stored by the main process, opened again by workers anywhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from icf.components import DatasetContent, DatasetContext, PixelArray
from icf.errors import IcfError
from icf.pipeline.cache import cache_dir
from icf.pipeline.content import check_content
from icf.pipeline.pixels.cache import PixelCache, fill_cache
from icf.pipeline.pixels.fill import Progress
from icf.pipeline.pixels.sources import MappedPixels, PixelSource
from icf.pipeline.preprocess import Preprocessing
from icf.pipeline.products import build
from icf.plan import Plan


def read_content(plan: Plan) -> DatasetContent:
    """Return what the plan's data set consists of.

    Raises:
        DataError: the data set is empty, or contradicts itself.
        PluginError: its component failed.
    """
    context = DatasetContext(seed=plan.recipe.train.seed, cache_dir=cache_dir())
    content: DatasetContent = build(plan.dataset, context)
    check_content(content)
    return content


def store_images(
    plan: Plan, images: Sequence[Path] | PixelArray, spec: Preprocessing, progress: Progress
) -> PixelCache:
    """Decode images into the cache of this machine, if they are not there yet and the plan wants them there."""
    return fill_cache(images, spec, cache_dir() / "pixels", progress, plan.recipe.cache)


def describe_source(cache: PixelCache) -> dict[str, str | None]:
    """Return what ``open_sources`` needs."""
    return {"key": cache.key, "path": None if cache.path is None else str(cache.path)}


def open_sources(
    plan: Plan, spec: Preprocessing, described: Mapping[str, Mapping[str, str | None]]
) -> dict[str, PixelSource]:
    """Return the pixels of "train", and of "test" if there are any; fill this machine's cache if it lacks them.

    Raises:
        IcfError: the images on this machine are others than those that the run began with.
    """
    found = {part: _find_stored(facts["path"]) for part, facts in described.items()}
    sources = {part: source for part, source in found.items() if source is not None}
    if len(sources) < len(found):
        content = read_content(plan)
        for part in found.keys() - sources.keys():
            sources[part] = _store_again(plan, content, spec, part, described[part]["key"])
    return sources


def _find_stored(path: str | None) -> PixelSource | None:
    try:
        return None if path is None else MappedPixels(Path(path))
    except FileNotFoundError:  # another machine, or removed since
        return None


def _store_again(plan: Plan, content: DatasetContent, spec: Preprocessing, part: str, key: Any) -> PixelSource:
    samples = content.train if part == "train" else content.test
    cache = None if samples is None else store_images(plan, samples.images, spec, lambda _done, _total: None)
    if cache is None or cache.key != key:
        raise IcfError(
            f"the {part} images on this machine are not those that the run was prepared with;"
            " give every machine the same files and the same version of icf, or run the recipe again"
        )
    return cache.source
