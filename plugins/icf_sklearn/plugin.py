"""Data sets that come with scikit-learn, so that a first run needs no download."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pydantic import Field

import icf


class DigitsParams(icf.Params):
    """Where the digits are and how many are held out."""

    root: Path | None = Field(
        None, description="folder with scikit-learn's digits.csv.gz; the bundled file when not given"
    )
    test_share: float = Field(
        0.2,
        ge=0.0,
        le=0.9,
        description="share of the rows, from the end of the file, to hold out for testing; 0 holds out none",
    )


@icf.hookimpl
def icf_datasets() -> Iterator[icf.Dataset]:
    """Yield the data sets of scikit-learn."""
    yield icf.Dataset(
        name="digits",
        factory="icf_sklearn.digits:load_digits",
        params=DigitsParams,
        summary="1,797 handwritten digits of 8x8 pixels, bundled with scikit-learn",
        source="Alpaydin and Kaynak 1998, Optical recognition of handwritten digits, UCI",
        reference="sklearn.datasets.load_digits",
    )
