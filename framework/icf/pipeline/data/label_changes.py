"""Labels that are changed for training alone: a table of corrections, and rules for border cases.

Scores, folds and submissions know only the labels of the data set.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from icf.choice import Frozen
from icf.components import IntArray, Samples
from icf.errors import Problem, RecipeError
from icf.pipeline.data.attributes import CLASS, ClassAttribute, find_attribute, find_class
from icf.sections import Targets, TrainOnly
from icf.tables import Report, Row, read_table

DROPPED = -1
"""What a row is trained on that is not trained on."""


class Override(Frozen):
    """A label that a table corrects: ``official`` is what scores go by."""

    id: str
    column: str
    official: str
    value: str
    reason: str


@dataclass(frozen=True)
class LabelChanges:
    """The class that each row is trained on, int64 [N], DROPPED for none; and what a person wants to know of it."""

    trained: IntArray
    overrides: tuple[Override, ...] = ()
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass
class _Draft:
    """Labels while they are being changed."""

    attributes: Sequence[ClassAttribute]
    samples: Samples
    official: IntArray
    trained: IntArray
    overrides: list[Override] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def swap(self, target: int, attribute: ClassAttribute, value: int) -> int | None:
        """Return the class that differs from another in the value of one attribute; None if there is none."""
        if attribute.name == CLASS:
            return value
        values = {item.name: item.of_class[target] for item in self.attributes if item.name != CLASS}
        return find_class(self.attributes, values | {attribute.name: value})


def change_labels(section: Targets, attributes: Sequence[ClassAttribute], samples: Samples) -> LabelChanges:
    """Return what rows are trained on: first the table's corrections, then each rule, in their order.

    Raises:
        BadImagesError: with every mistake in the table, each with its row.
        RecipeError: a rule names what the data set has not, or a class that does not exist.
    """
    official = np.asarray(samples.targets, dtype=np.int64)
    draft = _Draft(attributes, samples, official, official.copy())
    if section.overrides is not None:
        _override(draft, section.overrides)
    problems = [
        problem
        for place, rule in enumerate(section.train_only)
        for problem in _apply(draft, rule, f"targets.train_only[{place}]")
    ]
    if problems:
        raise RecipeError("[targets] does not fit the data set", problems)
    return LabelChanges(draft.trained, tuple(draft.overrides), tuple(draft.notes), tuple(draft.warnings))


def _override(draft: _Draft, path: Path) -> None:
    report = Report()
    table = read_table(path, report)
    table.require("id", "column", "value", "reason")
    places = {name: row for row, name in enumerate(draft.samples.ids)}
    seen: dict[tuple[str, str], str] = {}
    agreeing = 0
    for row in table.rows:
        first = seen.setdefault((row["id"], row["column"]), row.where)
        attribute = find_attribute(draft.attributes, row["column"], "")
        if first != row.where:
            report.add(row.where, f"{row['column']!r} of {row['id']!r} already stands in {first}")
        elif row["id"] not in places:
            report.add(row.where, f"{row['id']!r} is no id of a training row")
        elif isinstance(attribute, Problem):
            report.add(row.where, attribute.message)
        else:
            agreeing += _correct(draft, row, places[row["id"]], attribute, report)
    report.stop(f"The label overrides in {path} can't be used")
    count = len(draft.overrides)
    agree = f"; {agreeing} further labels agree with the data set already" if agreeing else ""
    draft.notes.append(f"{path}: {count} labels are corrected in training; scores keep the official labels{agree}")


def _correct(draft: _Draft, row: Row, place: int, attribute: ClassAttribute, report: Report) -> bool:
    """Change one label, and return whether it was so already; a mistake is reported."""
    value = attribute.find_value(row["value"], "")
    if isinstance(value, Problem):
        report.add(row.where, value.message)
        return False
    official = attribute.of_class[draft.official[place]]
    changed = draft.swap(int(draft.trained[place]), attribute, value)
    if changed is None:
        report.add(row.where, f"no class has {attribute.name} = {row['value']!r} and else what {row['id']!r} has")
        return False
    draft.trained[place] = changed
    if value == official:
        return True
    draft.overrides.append(
        Override(
            id=row["id"],
            column=attribute.name,
            official=attribute.values[official],
            value=row["value"],
            reason=row["reason"],
        )
    )
    return False


def _apply(draft: _Draft, rule: TrainOnly, where: str) -> Iterator[Problem]:
    """Change the rows of one rule; yield what is wrong with it."""
    attribute = find_attribute(draft.attributes, rule.attribute, f"{where}.attribute")
    if isinstance(attribute, Problem):
        yield attribute
        return
    value = None if rule.becomes is None else attribute.find_value(rule.becomes, f"{where}.becomes")
    chosen = _choose_rows(draft, rule, attribute, where)
    problems = [item for item in (value, chosen) if isinstance(item, Problem)]
    if problems or isinstance(value, Problem) or isinstance(chosen, Problem):
        yield from problems
        return
    before = draft.trained.copy()
    for target in np.unique(draft.trained[chosen]).tolist():
        changed = DROPPED if value is None else draft.swap(target, attribute, value)
        if changed is None:
            yield Problem(where, f"no class is like number {target} but for {rule.attribute} = {rule.becomes!r}")
            return
        draft.trained[chosen & (before == target)] = changed
    _describe(draft, rule, int(chosen.sum()), int((draft.trained != before).sum()))


def _choose_rows(
    draft: _Draft, rule: TrainOnly, attribute: ClassAttribute, where: str
) -> npt.NDArray[np.bool_] | Problem:
    """Return which rows, of those that are trained on, a rule is about."""
    chosen: npt.NDArray[np.bool_] = draft.trained != DROPPED
    if rule.equals is not None:
        value = attribute.find_value(rule.equals, f"{where}.equals")
        if isinstance(value, Problem):
            return value
        chosen = chosen & (np.asarray(attribute.of_class)[draft.trained] == value)
    if rule.at_least is None and rule.below is None:
        return chosen
    numbers = (draft.samples.numbers or {}).get(attribute.name)
    if numbers is None:
        return Problem(where, f"'at_least' and 'below' need a number of each row, and {attribute.name!r} has none")
    at_least = -np.inf if rule.at_least is None else rule.at_least
    below = np.inf if rule.below is None else rule.below
    return chosen & (numbers >= at_least) & (numbers < below)  # False for an unknown number


def _describe(draft: _Draft, rule: TrainOnly, chosen: int, changed: int) -> None:
    conditions = [
        f"is {rule.equals!r}" if rule.equals is not None else "",
        f"is at least {rule.at_least:g}" if rule.at_least is not None else "",
        f"is below {rule.below:g}" if rule.below is not None else "",
    ]
    condition = f"{rule.attribute} {' and '.join(filter(None, conditions))}"
    action = "are left out of training" if rule.drop else f"are trained on as {rule.becomes!r}"
    same = f" ({chosen - changed} were so already)" if chosen > changed else ""
    text = f"{chosen:,} rows whose {condition} {action}{same}; scores keep the official labels"
    (draft.notes if changed else draft.warnings).append(text)
