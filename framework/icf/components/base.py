"""What the descriptors of all kinds have in common."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

from icf.params import Params

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

FloatArray: TypeAlias = "npt.NDArray[np.float64]"
IntArray: TypeAlias = "npt.NDArray[np.int64]"
BoolArray: TypeAlias = "npt.NDArray[np.bool_]"
PixelArray: TypeAlias = "npt.NDArray[np.uint8]"

TargetKind: TypeAlias = Literal["classes", "labels"]
"""What the rows of a data set have: one class each, int64 [N], or any number of labels, 0 or 1 in int64 [N, K]."""


@dataclass(frozen=True, kw_only=True)
class Component:
    """What every descriptor says about a component."""

    kind: ClassVar[str] = "component"

    name: str
    """Name after the slash: lower-case letters, digits and single hyphens."""

    factory: str
    """The function, as "package.module:function": imported on first use, and called as ``factory(params, ctx)`` with
    an instance of ``params`` and the context of the component's kind."""

    summary: str
    """One line for ``icf list-plugins`` and ``icf describe``."""

    params: type[Params] = Params
    """Subclass of ``icf.Params`` that describes what a recipe may choose."""

    source: str | None = None
    """Paper, book or program that defines the component, such as "Lin et al. 2017, arXiv:1708.02002"."""

    reference: str | None = None
    """What a test compares the component with: a library's function, or the paper's formula."""

    deprecated: str | None = None
    """What to use instead; a recipe that names the component gets this as a warning."""

    targets: tuple[TargetKind, ...] = ("classes",)
    """What a loss, metric, ensembler, sampler or mixer can be used with: rows of one class each, int64 [N], or of any
    number of "labels", 0 or 1 in int64 [N, K]. Models, transforms, optimizers and schedulers never see targets."""

    local_code: bool = False
    """The component is an adapter: its factory takes modules from the folders that were named with --plugin
    (``icf.local_module``)."""

    examples: tuple[Mapping[str, Any], ...] = field(default=(), hash=False)
    """Parameters with which ``icf.testing`` checks the component; without any it is checked with the defaults."""
