"""The rule for the number format where a recipe's own training is not measured."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import timm
import torch

from icf.pipeline.training import number_format
from icf.pipeline.training.number_format import choose_precision, has_fast_bf16

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _processor(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A processor with instructions for bfloat16, of which nothing is remembered."""
    monkeypatch.setenv("ICF_CACHE", str(tmp_path))
    monkeypatch.setattr("torch.cpu._is_avx512_bf16_supported", lambda: True)
    monkeypatch.setattr("torch.backends.cpu.get_cpu_capability", lambda: "AVX512")
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True)
    has_fast_bf16.cache_clear()
    yield
    has_fast_bf16.cache_clear()


def set_speeds(monkeypatch: pytest.MonkeyPatch, bf16: float) -> list[torch.dtype]:
    """Let convolutions in float32 have the speed 100; return a list of what is timed."""
    timed: list[torch.dtype] = []

    def time(dtype: torch.dtype) -> float:
        timed.append(dtype)
        return bf16 if dtype == torch.bfloat16 else 100.0

    monkeypatch.setattr(number_format, "_time_convolution", time)
    return timed


@pytest.mark.parametrize(("bf16", "expected"), [(60.0, None), (110.0, None), (200.0, torch.bfloat16)])
def test_bfloat16_has_to_be_clearly_faster(
    bf16: float, expected: torch.dtype | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_speeds(monkeypatch, bf16)
    assert choose_precision("auto", timm.create_model("resnet18"), CPU) == expected
    assert choose_precision("auto", timm.create_model("tf_efficientnet_lite0"), CPU) is None
    assert choose_precision("bf16", timm.create_model("resnet18"), CPU) == torch.bfloat16


def test_it_is_measured_once_on_a_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    timed = set_speeds(monkeypatch, 200.0)
    assert has_fast_bf16()
    assert set(timed) == {torch.float32, torch.bfloat16}
    has_fast_bf16.cache_clear()  # another process
    others = set_speeds(monkeypatch, 60.0)
    assert has_fast_bf16()
    assert others == []


def test_a_processor_without_the_instructions_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    timed = set_speeds(monkeypatch, 200.0)
    monkeypatch.setattr("torch.cpu._is_avx512_bf16_supported", lambda: False)
    monkeypatch.setattr("torch.cpu._is_amx_tile_supported", lambda: False)
    assert not has_fast_bf16()
    assert timed == []


def test_real_convolutions_are_timed_in_both_formats() -> None:
    assert number_format._time_convolution(torch.float32) > 1
    assert number_format._time_convolution(torch.bfloat16) > 1
    before = torch.get_num_threads()
    has_fast_bf16()
    assert torch.get_num_threads() == before
