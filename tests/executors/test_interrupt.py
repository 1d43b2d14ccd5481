from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import pytest
from benchmarks.processes import list_descendants

from processes import has_ended, read_command
from runs import isolated, start_run, wait_until
from training import SMALL


def interrupt(runs: Path, executor: str, *, epochs: int, pause: float) -> tuple[int, str, list[str]]:
    """Press Ctrl-C, twice, some seconds after as many epochs; return exit code, output, and commands left over."""
    settings = (*SMALL, "train.epochs=500", f'compute={{executor="{executor}", threads=1}}')
    with start_run(runs, *settings) as process:
        histories = (runs / "digits").glob
        wait_until(
            lambda: (
                sum(len(path.read_text().splitlines()) - 1 for path in histories("*/folds/*/history.csv")) >= epochs
            ),
            process,
        )
        time.sleep(pause)
        family = list_descendants(process.pid)
        for _ in range(2):  # the terminal sends it to every process of the group
            os.killpg(process.pid, signal.SIGINT)
            time.sleep(0.2)
        output, _ = process.communicate(timeout=60)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and not all(map(has_ended, family)):
        time.sleep(0.1)
    return process.returncode, output, [read_command(found) for found in family if not has_ended(found)]


@pytest.mark.parametrize(("executor", "epochs"), [("inline", 2), ("process", 2), ("process", 0), ("ray-task", 1)])
def test_ctrl_c_ends_everything_and_says_how_to_continue(
    executor: str, epochs: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Without an epoch to wait for: while everything is still being imported.
    pause = random.Random(epochs).random() if epochs else 2.5
    with isolated(monkeypatch, tmp_path / "cache"):
        code, output, left = interrupt(tmp_path / "runs", executor, epochs=epochs, pause=pause)
    assert code == 130, output
    assert output.count("interrupted") == 1
    assert "to continue, type: icf run " in output
    assert f"--runs {tmp_path / 'runs'}" in output
    assert "Traceback" not in output
    assert left == []
