"""What is odd in a data set, but stops nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from icf.components import DatasetContent, Samples
from icf.pipeline.data.labels import count_rows
from icf.pipeline.pixels.cache import PixelCache
from icf.pipeline.pixels.decode import has_wrong_suffix

if TYPE_CHECKING:
    from icf.pipeline.data.prepare import Rows


def find_warnings(content: DatasetContent, train: Rows, test: Rows | None) -> list[str]:
    """Return a sentence for each thing that is odd in the data, but stops nothing."""
    found = []
    counts = count_rows(train.targets, len(content.classes))
    empty = [content.classes[index] for index in np.flatnonzero(counts == 0)]
    if empty:
        found.append(f"classes without a training row, which can never be learned: {', '.join(empty)}")
    found += _find_contradictions(train)
    found += _find_lying_suffixes(content.train, train.cache)
    found += _find_lying_suffixes(content.test, test.cache) if content.test and test else []
    return found + sorted({rows.cache.note for rows in (train, test) if rows is not None and rows.cache.note})


def _find_contradictions(train: Rows) -> list[str]:
    _, first, image_of = np.unique(train.digests, return_index=True, return_inverse=True)
    differing = (train.targets != train.targets[first][image_of]).reshape(len(train), -1).any(axis=1)
    twisted = np.unique(image_of[differing])
    if not len(twisted):
        return []
    example = train.ids[first[twisted].min()]
    return [f"{len(twisted)} images occur more than once with different labels, for example {example!r}"]


def _find_lying_suffixes(samples: Samples, cache: PixelCache) -> list[str]:
    if isinstance(samples.images, np.ndarray):
        return []
    pairs = zip(samples.images, cache.formats, strict=True)
    lying = [(path, true) for path, true in pairs if has_wrong_suffix(path, true)]
    if not lying:
        return []
    path, true = lying[0]
    return [f"{len(lying)} files have the suffix of another format (read all the same): {path.name} is {true}"]
