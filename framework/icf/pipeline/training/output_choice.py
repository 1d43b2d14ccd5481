"""Which output a recipe wants for a data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field, TypeAdapter

from icf.components import FloatArray, TargetKind
from icf.errors import Problem, RecipeError
from icf.pipeline.data.attributes import ClassAttribute, find_attribute, find_bands
from icf.pipeline.training.heads import BinnedHead, ClassHead, Head, OrdinalHead, place_bins
from icf.pipeline.training.joint import JointOutput
from icf.pipeline.training.output import Output, Sigmoid, Softmax
from icf.sections import HeadSection, Targets

_READER: TypeAdapter[Softmax | Sigmoid | JointOutput] = TypeAdapter(
    Annotated[Softmax | Sigmoid | JointOutput, Field(discriminator="kind")]
)


def read_output(described: Any) -> Output:
    """Return the output that ``model_dump`` described."""
    return _READER.validate_python(described)


def choose_output(
    section: Targets,
    attributes: Sequence[ClassAttribute],
    numbers: Mapping[str, FloatArray] | None,
    kind: TargetKind = "classes",
) -> Output:
    """Return a softmax over the classes, a sigmoid of each label, or the heads that a recipe names.

    ``numbers`` are those of the training rows, float64 [N] each. Raises RecipeError for heads that do not fit the data
    set's attributes, or do not tell its classes apart.
    """
    if kind == "labels":
        return Sigmoid(labels=len(attributes[0].of_class))
    if not section.heads:
        return Softmax(classes=len(attributes[0].of_class))
    made = [
        _make_head(head, attributes, numbers or {}, f"targets.heads[{place}]")
        for place, head in enumerate(section.heads)
    ]
    problems = [item for item in made if isinstance(item, Problem)]
    heads = [item for item in made if isinstance(item, Head)]
    problems = problems or _find_ambiguity(heads, attributes)
    if problems:
        raise RecipeError("[targets] does not fit the data set", problems)
    return JointOutput(heads=tuple(heads), decoding=section.decode, experts=section.experts)


def _make_head(
    section: HeadSection, attributes: Sequence[ClassAttribute], numbers: Mapping[str, FloatArray], where: str
) -> Head | Problem:
    attribute = find_attribute(attributes, section.attribute, f"{where}.attribute")
    if isinstance(attribute, Problem):
        return attribute
    common: dict[str, Any] = {
        "attribute": attribute.name,
        "of_class": attribute.of_class,
        "values": len(attribute.values),
        "weight": section.weight,
    }
    if section.kind == "classes":
        return ClassHead(**common)
    if section.kind == "ordinal":
        if not attribute.ordered:
            return Problem(
                f"{where}.kind", f"'ordinal' needs values that ascend, and those of {attribute.name!r} do not"
            )
        return OrdinalHead(**common)
    if attribute.starts is None or attribute.name not in numbers:
        return Problem(f"{where}.kind", f"'binned' needs a number of each row, and {attribute.name!r} has none")
    known = torch.from_numpy(np.asarray(numbers[attribute.name], dtype=np.float64))
    centres = place_bins(known, attribute.starts, section.bin_width)
    bands = tuple(find_bands(np.asarray(centres), attribute.starts).tolist())
    return BinnedHead(**common, centres=centres, bands=bands, sigma=section.sigma)


def _find_ambiguity(heads: Sequence[Head], attributes: Sequence[ClassAttribute]) -> list[Problem]:
    """Return a problem where an attribute has two heads, or two classes agree in all that heads tell."""
    names = [head.attribute for head in heads]
    if len(set(names)) < len(names):
        return [Problem("targets.heads", "an attribute has two heads; give each attribute one")]
    seen: dict[tuple[int, ...], int] = {}
    for place, values in enumerate(zip(*(head.of_class for head in heads), strict=True)):
        first = seen.setdefault(values, place)
        if first < place:
            missing = ", ".join(repr(item.name) for item in attributes if item.name not in names)
            message = f"classes number {first} and {place} can't be told apart; add a head for one of: {missing}"
            return [Problem("targets.heads", message)]
    return []
