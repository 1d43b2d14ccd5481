"""The masked-face competition: 18 classes of mask, gender and age, and an invented demo set in its layout."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

import icf


class CompetitionParams(icf.Params):
    """Where the competition's data is, how its labels are made, and the size of the demo set."""

    root: Path | None = Field(
        None,
        description="folder with train/ and eval/; when not given, SM_CHANNEL_TRAIN and SM_CHANNEL_EVAL, "
        "else data/mask",
    )
    age_bands: tuple[int, int] = Field(
        (30, 60), description="ages at which the middle and the oldest class begin, in years"
    )
    wear_stems: tuple[str, ...] = Field(
        ("mask1", "mask2", "mask3", "mask4", "mask5"),
        min_length=1,
        description="file names, without ending, of images with a mask worn well",
    )
    incorrect_stems: tuple[str, ...] = Field(
        ("incorrect_mask",), min_length=1, description="the same for masks worn wrongly"
    )
    normal_stems: tuple[str, ...] = Field(("normal",), min_length=1, description="the same for faces without a mask")
    demo: Literal["auto", "always", "never"] = Field(
        "auto",
        description="the invented demo set: 'auto' renders it when no root is given and no data found, "
        "'always' uses it in any case, 'never' makes absent data an error",
    )
    demo_people: int = Field(300, ge=6, le=20_000, description="people to train on, with 7 images each")
    demo_test_people: int = Field(120, ge=6, le=20_000, description="people to predict, with 7 images each")
    demo_height: int = Field(512, ge=32, le=2048, description="height in pixels; the width is 3/4 of it")
    demo_seed: int = Field(2021, ge=0, description="seed of the demo set; not the run's, so all runs share it")

    @field_validator("age_bands")
    @classmethod
    def _ascending(cls, bands: tuple[int, int]) -> tuple[int, int]:
        if not 0 < bands[0] < bands[1]:
            raise ValueError("must be two ages above 0, the lower one first, for example [30, 60]")
        return bands

    @model_validator(mode="after")
    def _distinct_stems(self) -> CompetitionParams:
        stems = (*self.wear_stems, *self.incorrect_stems, *self.normal_stems)
        if len(set(stems)) != len(stems):
            raise ValueError("a file name stands in two of wear_stems, incorrect_stems, normal_stems")
        return self


@icf.hookimpl
def icf_datasets() -> Iterator[icf.Dataset]:
    """Yield the competition's data set."""
    yield icf.Dataset(
        name="competition",
        factory="icf_mask.competition:load_competition",
        params=CompetitionParams,
        summary="Faces with and without masks, 18 classes; a demo set is rendered where the data is absent",
        source="boostcamp AI Tech, Mask image classification, 2021; the demo set is drawn by the plugin",
        reference="the competition's rule for labels, by pandas",
        examples=({"demo": "always", "demo_people": 6, "demo_test_people": 6, "demo_height": 32},),
    )
