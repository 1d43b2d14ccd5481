from __future__ import annotations

import gzip
import shutil
from pathlib import Path

import numpy as np
import pytest
import sklearn
from sklearn import datasets

import icf
from icf_sklearn.digits import load_digits
from icf_sklearn.plugin import DigitsParams

CTX = icf.DatasetContext()
BUNDLED = Path(sklearn.__file__).parent / "datasets" / "data" / "digits.csv.gz"


def test_pixels_targets_and_split_are_those_of_scikit_learn() -> None:
    content = load_digits(DigitsParams(), CTX)
    reference = datasets.load_digits()
    assert content.test is not None
    images = np.concatenate([np.asarray(content.train.images), np.asarray(content.test.images)])
    assert images.dtype == np.uint8
    np.testing.assert_array_equal(np.rint(images / 255 * 16), reference.images)
    assert (images.min(), images.max()) == (0, 255)
    assert content.train.targets is not None
    np.testing.assert_array_equal(content.train.targets, reference.target[:1438])
    assert (len(content.train), len(content.test)) == (1438, 359)
    assert (content.train.ids[0], content.test.ids[0]) == ("00000", "01438")
    assert content.classes == tuple("0123456789")
    assert content.submission == icf.SubmissionFormat(ids=content.test.ids, values=tuple(range(10)))


def test_no_share_holds_out_nothing() -> None:
    content = load_digits(DigitsParams(test_share=0), CTX)
    assert len(content.train) == 1797
    assert content.test is None
    assert content.submission is None


def test_a_folder_with_the_file_gives_the_same(tmp_path: Path) -> None:
    shutil.copy(BUNDLED, tmp_path)
    bundled, copied = load_digits(DigitsParams(), CTX), load_digits(DigitsParams(root=tmp_path), CTX)
    np.testing.assert_array_equal(np.asarray(bundled.train.images), np.asarray(copied.train.images))
    np.testing.assert_array_equal(bundled.train.targets, copied.train.targets)


@pytest.mark.parametrize(
    "data",
    [None, b"no gzip", BUNDLED.read_bytes()[:500], gzip.compress(b"1,2,3\n"), gzip.compress(b"17," * 64 + b"1\n")],
)
def test_a_wrong_file_is_explained(tmp_path: Path, data: bytes | None) -> None:
    if data is not None:
        (tmp_path / "digits.csv.gz").write_bytes(data)
    with pytest.raises(icf.DataError, match=r"digits\.csv\.gz"):
        load_digits(DigitsParams(root=tmp_path), CTX)
