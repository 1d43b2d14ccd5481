"""What is compared, and the arithmetic of a comparison: pairs of runs in turn, and the median of their ratios."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from benchmarks.workspace import Workspace


@dataclass(frozen=True)
class Outcome:
    """What one run of one side took, in seconds and (where it is compared) peak MB, and how well it predicts."""

    seconds: float
    megabytes: float | None = None
    accuracy: float | None = None


@dataclass(frozen=True)
class Aim:
    """A bound of a ratio.

    "at least": the reference's cost divided by icf's, so many times cheaper icf is; "at most": icf's divided by the
    reference's.
    """

    kind: Literal["at least", "at most"]
    bound: float

    def __str__(self) -> str:
        return f"{self.kind} {self.bound:g}"

    def divide(self, icf: float, reference: float) -> float:
        """Return the ratio of two costs that the aim speaks of."""
        return reference / icf if self.kind == "at least" else icf / reference

    def is_met(self, ratio: float) -> bool:
        """Tell whether a ratio is good enough."""
        return ratio >= self.bound if self.kind == "at least" else ratio <= self.bound


@dataclass(frozen=True)
class Contest:
    """The two sides of a row; each call is one run from the beginning, with nothing left by the last one."""

    icf: Callable[[], Outcome]
    reference: Callable[[], Outcome]


@dataclass(frozen=True)
class Row:
    """A line of the table: ``prepare`` writes the data and returns what is run in turn."""

    name: str
    summary: str
    aim: Aim
    prepare: Callable[[Workspace], Contest]
    compares: Literal["seconds", "megabytes"] = "seconds"


@dataclass(frozen=True)
class Pair:
    """Two runs, one soon after the other."""

    icf: Outcome
    reference: Outcome


@dataclass(frozen=True)
class Result:
    """A measured row."""

    row: Row
    pairs: Sequence[Pair]

    @property
    def ratios(self) -> list[float]:
        """The ratio of each pair: what slows the machine for a while slows both sides of it."""
        return [self.row.aim.divide(self._cost(pair.icf), self._cost(pair.reference)) for pair in self.pairs]

    @property
    def ratio(self) -> float:
        """The median of the ratios."""
        return statistics.median(self.ratios)

    def _cost(self, outcome: Outcome) -> float:
        cost = outcome.seconds if self.row.compares == "seconds" else outcome.megabytes
        if cost is None:
            raise ValueError(f"row {self.row.name}: {self.row.compares} were not measured")
        return cost

    def medians(self, name: Literal["seconds", "megabytes", "accuracy"]) -> dict[str, float] | None:
        """Return the median of both sides, or None where it was not measured."""
        sides = {
            "icf": [getattr(pair.icf, name) for pair in self.pairs],
            "reference": [getattr(pair.reference, name) for pair in self.pairs],
        }
        if any(value is None for values in sides.values() for value in values):
            return None
        return {side: statistics.median(values) for side, values in sides.items()}

    def to_json(self) -> dict[str, Any]:
        """Return plain data; "low" and "high" are the smallest and the largest ratio of a pair."""
        return {
            "row": self.row.name,
            "ratio": self.ratio,
            "low": min(self.ratios),
            "high": max(self.ratios),
            "aim": str(self.row.aim),
            "meets_aim": self.row.aim.is_met(self.ratio),
            "seconds": self.medians("seconds"),
            "megabytes": self.medians("megabytes"),
            "accuracy": self.medians("accuracy"),
            "pairs": len(self.pairs),
        }


def measure(row: Row, workspace: Workspace, repeats: int, tell: Callable[[str], None]) -> Result:
    """Run both sides in turn, ``repeats`` times; each side begins every other pair."""
    tell(f"{row.name}: writing the data")
    contest = row.prepare(workspace)
    pairs: list[Pair] = []
    for number in range(repeats):
        tell(f"{row.name}: pair {number + 1} of {repeats}")
        if number % 2:
            reference = contest.reference()
            pairs.append(Pair(contest.icf(), reference))
        else:
            pairs.append(Pair(contest.icf(), contest.reference()))
    return Result(row, pairs)
