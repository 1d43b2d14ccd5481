"""What is odd in a data set, but stops nothing."""

from __future__ import annotations

from collections.abc import Hashable
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
    targets = train.targets.tolist() if train.targets.ndim == 1 else map(tuple, train.targets.tolist())
    labels: dict[bytes, set[Hashable]] = {}
    names: dict[bytes, str] = {}
    for name, key, target in zip(train.ids, train.digests.tolist(), targets, strict=True):
        labels.setdefault(key, set()).add(target)
        names.setdefault(key, name)
    twisted = [names[key] for key, targets in labels.items() if len(targets) > 1]
    if not twisted:
        return []
    return [f"{len(twisted)} images occur more than once with different labels, for example {twisted[0]!r}"]


def _find_lying_suffixes(samples: Samples, cache: PixelCache) -> list[str]:
    if isinstance(samples.images, np.ndarray):
        return []
    pairs = zip(samples.images, cache.formats, strict=True)
    lying = [(path, true) for path, true in pairs if has_wrong_suffix(path, true)]
    if not lying:
        return []
    path, true = lying[0]
    return [f"{len(lying)} files have the suffix of another format (read all the same): {path.name} is {true}"]
