"""Hooks and parameters of the plugin ``nn``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from pydantic import Field

import icf

Width = Annotated[int, Field(ge=1, le=4096)]


class SequentialCnnParams(icf.Params):
    """What a user may choose for ``nn/sequential-cnn``."""

    widths: tuple[Width, ...] = Field(
        default=(32, 64, 128),
        min_length=1,
        max_length=16,
        description="Channels of each stage; the image is halved between stages while it is large enough",
    )
    dropout: float = Field(
        default=0.0, ge=0.0, lt=1.0, description="Share of features set to zero before the head, 0 to 1"
    )
    residual: bool = Field(
        default=False,
        description="Add a residual block to every second stage, as ResNet-9 does (then 0.4 M parameters)",
    )


@icf.hookimpl
def icf_models() -> Iterable[icf.Model]:
    """Offer the small convolutional network."""
    yield icf.Model(
        name="sequential-cnn",
        factory="icf_nn.models:build_sequential_cnn",
        params=SequentialCnnParams,
        summary="Small convolutional network for small images and quick tests, plain or like ResNet-9",
        source="Page 2018, How to train your ResNet; weights: He et al. 2015, arXiv:1502.01852",
        reference="the layout in torch.nn.functional",
    )
