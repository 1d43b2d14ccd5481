from __future__ import annotations

import sys

import pytest
from benchmarks.processes import ProcessError, run_process


def run(code: str, **options: object):
    return run_process([sys.executable, "-c", code], 1, **options)


def test_the_time_is_that_of_the_whole_process():
    finished = run("import time; print(time.monotonic()); time.sleep(0.3)")
    assert 0 < float(finished.output) - finished.started < finished.seconds
    assert finished.seconds > 0.3
    assert finished.megabytes == 0


def test_memory_counts_children_and_pages_that_they_share_once():
    hold = "pages = bytearray(os.urandom(1)) * 200_000_000"
    finished = run(f"import os, time; {hold}; os.fork(); os.fork(); time.sleep(1)", watch_memory=True)
    assert 200 < finished.megabytes < 300


def test_the_result_is_the_last_json_object():
    finished = run("""print('{"a": 1}'); print('log'); print('{'); print('  "b": {"c": 2}'); print('}')""")
    assert finished.read_json() == {"b": {"c": 2}}


def test_threads_and_environment_reach_the_process(monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "somewhere")
    code = "import os; print(os.environ['OMP_NUM_THREADS'], os.environ['X'], 'RAY_ADDRESS' in os.environ)"
    finished = run_process([sys.executable, "-c", code], 7, {"X": "y"})
    assert finished.output.split() == ["7", "y", "False"]


def test_a_program_that_fails_says_why():
    with pytest.raises(ProcessError, match=r"(?s)ended with code 1.*no such luck"):
        run("raise SystemExit('no such luck')")
