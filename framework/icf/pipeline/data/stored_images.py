"""The images of a plan's data set as pixels: stored by the main process, opened again by workers anywhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from icf.components import DatasetContent, DatasetContext, IntArray
from icf.errors import IcfError
from icf.pipeline.cache import cache_dir
from icf.pipeline.data.content import check_content
from icf.pipeline.data.preprocess import Preprocessing
from icf.pipeline.pixels.cache import PixelCache, fill_cache
from icf.pipeline.pixels.part import Progress
from icf.pipeline.pixels.reader import Images
from icf.pipeline.pixels.sources import MappedPixels, PixelSource, TwoSizes
from icf.pipeline.results.products import build, build_transform
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
    plan: Plan,
    images: Images,
    spec: Preprocessing,
    progress: Progress,
    scale: float = 1.0,
    boxes: IntArray | None = None,
) -> PixelCache:
    """Decode images into the cache of this machine, if they are not there yet and the plan wants them there.

    With a ``scale`` above 1 they are stored in a larger size, too, which transforms of training have asked for.
    """
    fill = partial(fill_cache, images, folder=cache_dir() / "pixels", progress=progress, section=plan.recipe.cache)
    cache = fill(spec=spec, boxes=boxes)
    if scale == 1:
        return cache
    large = fill(spec=spec.enlarge(scale), boxes=boxes)
    source = TwoSizes(cache.source, large.source)
    return replace(cache, source=source, large=large, note=cache.note or large.note)


def find_scale(plan: Plan, spec: Preprocessing) -> float:
    """Return how many times larger the transforms of training want their images.

    Raises:
        PluginError: a transform can't be built, or asks for something else than a sensible number.
    """
    transforms = [build_transform(choice, spec.context()) for choice in plan.train_transforms]
    return max((float(transform.input_scale) for transform in transforms), default=1.0)


def describe_source(cache: PixelCache) -> dict[str, str | None]:
    """Return what ``open_sources`` needs: keys, and paths unless pixels are not stored."""
    described = {"key": cache.key, "path": None if cache.path is None else str(cache.path)}
    if cache.large is None:
        return described
    large = describe_source(cache.large)
    return {**described, "large_key": large["key"], "large_path": large["path"]}


def open_sources(
    plan: Plan, spec: Preprocessing, described: Mapping[str, Mapping[str, str | None]]
) -> dict[str, PixelSource]:
    """Return the pixels of "train", and of "test" if there are any; fill this machine's cache if it lacks them.

    Raises:
        IcfError: the images on this machine are others than those that the run began with.
    """
    found = {part: _find_stored(facts) for part, facts in described.items()}
    sources = {part: source for part, source in found.items() if source is not None}
    if len(sources) < len(found):
        content = read_content(plan)
        for part in found.keys() - sources.keys():
            sources[part] = _store_again(plan, content, spec, part, described[part])
    return sources


def _find_stored(facts: Mapping[str, str | None]) -> PixelSource | None:
    paths = [path for name, path in facts.items() if name in ("path", "large_path")]
    try:
        sources = [MappedPixels(Path(path)) for path in paths if path is not None]
    except FileNotFoundError:  # another machine, or removed since
        return None
    if len(sources) < len(paths):
        return None
    return sources[0] if len(sources) == 1 else TwoSizes(*sources)


def _store_again(plan: Plan, content: DatasetContent, spec: Preprocessing, part: str, facts: Any) -> PixelSource:
    samples = content.train if part == "train" else content.test
    scale = find_scale(plan, spec) if "large_key" in facts else 1.0
    cache = None
    if samples is not None:
        cache = store_images(plan, samples.images, spec, lambda _done, _total: None, scale, samples.boxes)
    if cache is None or describe_source(cache)["key"] != facts["key"]:
        raise IcfError(
            f"the {part} images on this machine are not those that the run was prepared with;"
            " give every machine the same files and the same version of icf, or run the recipe again"
        )
    return cache.source
