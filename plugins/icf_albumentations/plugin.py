"""Hooks and parameters of the plugin ``albumentations``."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import Field, JsonValue

import icf


class TransformParams(icf.Params):
    """What a user may choose for ``albumentations/transform``."""

    op: str = Field(min_length=1, description="Class of albumentations, such as CLAHE")
    args: dict[str, JsonValue] = Field(
        default_factory=dict,
        description="Arguments of the class, without p; for one that holds others, such as OneOf, transforms is a list"
        " of tables with op, args and p",
    )
    p: float = Field(default=0.5, ge=0.0, le=1.0, description="Probability for each image")


@icf.hookimpl
def icf_transforms() -> Iterable[icf.Transform]:
    """Offer the transforms of albumentations as one component."""
    yield icf.Transform(
        name="transform",
        factory="icf_albumentations.transforms:build_transform",
        params=TransformParams,
        summary="Any image transform of albumentations",
        source="albumentations",
        reference="the class itself, for every class of albumentations",
        examples=(
            {"op": "CLAHE"},
            {"op": "RandomCrop", "args": {"height": 32, "width": 24}, "p": 1.0},
            {"op": "OneOf", "args": {"transforms": [{"op": "GaussNoise"}, {"op": "MotionBlur", "p": 0.2}]}},
        ),
    )
