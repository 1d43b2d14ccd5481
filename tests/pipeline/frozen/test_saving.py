from __future__ import annotations

import pytest
import torch

from icf.pipeline.frozen.saving import judge_saving, measure_seconds


@pytest.mark.parametrize(
    ("computing", "reading", "passes", "reason"),
    [
        (1.0, 0.1, 10.0, ""),
        (1.0, 0.9, 10.0, "would not pay"),
        (1.0, 0.0, 1.0, "would not pay"),  # seen once, there is nothing to save
        (1.0, 0.0, 2.0, ""),
        (0.001, 0.01, 50.0, "would not pay"),
    ],
)
def test_embeddings_pay_if_they_are_read_sooner_than_computed(
    computing: float, reading: float, passes: float, reason: str
) -> None:
    found = judge_saving(computing, reading, passes, 1000)
    assert reason in found
    assert bool(found) == bool(reason)


def test_what_does_not_stay_in_memory_does_not_pay() -> None:
    assert "1,000,000.0 GB would not stay in memory" in judge_saving(1.0, 0.0, 100.0, 10**15)


def test_the_time_is_that_of_the_middle_call_after_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = iter([0.0, 5.0, 10.0, 11.0, 20.0, 22.0])
    monkeypatch.setattr("time.perf_counter", lambda: next(moments))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    calls: list[int] = []
    assert measure_seconds(lambda: calls.append(1), repeats=3) == 2.0
    assert len(calls) == 4
