"""When the folds of a run were trained, and where the time of its places went; no measuring, only arithmetic."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, order=True)
class Span:
    """The time of a fold, in seconds of time.time()."""

    begin: float
    end: float

    @property
    def seconds(self) -> float:
        """How long it is."""
        return self.end - self.begin


@dataclass(frozen=True)
class Division:
    """The seconds that a run takes, from the command to its end; the parts add up to it.

    ``ideal`` is what the folds take by themselves, divided by the places.
    """

    ideal: float
    contention: float
    """Folds take longer beside each other: they share cores, memory, disk."""
    uneven: float
    """Places have nothing to do while the last folds are trained."""
    handover: float
    """Places wait for their first fold, or the next one: processes start, results are collected."""
    start: float
    """From the command to the first fold: imports, data, split."""
    end: float
    """From the last fold to the end: joined predictions, scores, report."""

    @property
    def total(self) -> float:
        """The whole run."""
        return float(sum(asdict(self).values()))

    @property
    def efficiency(self) -> float:
        """The ideal as a share of the time in which folds are trained."""
        return self.ideal / (self.total - self.start - self.end)


def read_spans(run: Path) -> list[Span]:
    """Return the times of all folds of a finished run, in the order of the folds."""
    spans = []
    for number in range(len(list((run / "folds").glob("*/metrics.json")))):
        parts = json.loads((run / "folds" / str(number) / "metrics.json").read_text())["seconds"]
        end = (run / "stages" / f"fold-{number}.json").stat().st_mtime
        spans.append(Span(end - sum(parts.values()), end))
    return spans


def divide(run: Span, folds: Sequence[Span], places: int, alone: float) -> Division:
    """Tell where the time of a run went; ``alone`` are the seconds that all its folds take one after the other."""
    first, last = min(fold.begin for fold in folds), max(fold.end for fold in folds)
    ends = find_ends(folds, places, first)
    busy = sum(fold.seconds for fold in folds)
    uneven = sum(last - end for end in ends)
    handover = places * (last - first) - busy - uneven
    return Division(
        ideal=alone / places,
        contention=(busy - alone) / places,
        uneven=uneven / places,
        handover=handover / places,
        start=first - run.begin,
        end=run.end - last,
    )


def find_ends(folds: Sequence[Span], places: int, first: float) -> list[float]:
    """Return when each place ended its last fold; one that never had a fold ended at ``first``.

    A fold is taken to have had the place that was free for longest.
    """
    ends = [first] * places
    for fold in sorted(folds):
        place = min(range(places), key=lambda number: ends[number])
        ends[place] = fold.end
    return ends
