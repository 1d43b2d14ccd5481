from __future__ import annotations

from pathlib import Path

import pytest
from benchmarks.__main__ import main

import icf


def test_data_that_can_not_be_had_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise icf.DataError("no files here; install them")

    monkeypatch.setattr("icf_torchvision.fashion_mnist.load_fashion_mnist", fail)
    assert main(["--row", "start", "--quick", "--data", str(tmp_path)]) == 1
    assert "start: no files here; install them" in capsys.readouterr().err
