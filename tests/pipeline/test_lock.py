from __future__ import annotations

import os
from pathlib import Path

import pytest

from icf.cli.main import main
from icf.errors import IcfError
from icf.pipeline.folder import RunFolder
from icf.pipeline.lock import hold
from runs import find_run, finish, isolated, kill, start_run, wait_until
from training import DIGITS, SMALL

SLOW = (*SMALL, "train.epochs=200", 'compute.executor="inline"')


def test_a_folder_is_held_by_one_at_a_time(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    told = rf"process {os.getpid()} on .* has been at work in {tmp_path} since"
    with hold(folder), pytest.raises(IcfError, match=told), hold(folder):
        pass
    with hold(folder):
        pass


def test_an_unknown_owner_is_told_as_such(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    with hold(folder):
        folder.owner.write_text("{")
        with pytest.raises(IcfError, match="another process is at work"), hold(folder):
            pass


def test_a_second_run_is_refused_until_the_first_is_dead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = [part for text in SLOW for part in ("--set", text)]
    command = ["run", str(DIGITS), "--quiet", "--runs", str(tmp_path / "runs"), *settings]
    with isolated(monkeypatch, tmp_path / "cache"):
        with start_run(tmp_path / "runs", *SLOW) as process:
            wait_until(lambda: any((tmp_path / "runs").glob("*/*/process.json")), process)
            before = (find_run(tmp_path / "runs") / "process.json").read_bytes()
            assert main(command) == 1
            message = capsys.readouterr().err
            assert f"process {process.pid} on " in message
            assert "--fresh" in message
            assert (find_run(tmp_path / "runs") / "process.json").read_bytes() == before
            kill(process)
        with start_run(tmp_path / "runs", *SLOW) as process:
            history = find_run(tmp_path / "runs") / "folds" / "0" / "history.csv"
            wait_until(history.exists, process)
            kill(process)


def test_runs_in_different_folders_do_not_meet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quick = (*SMALL, "train.epochs=1", 'compute.executor="inline"')
    one, two = (tmp_path / name for name in ("one", "two"))
    with isolated(monkeypatch, tmp_path / "cache"), start_run(one, *quick) as first, start_run(two, *quick) as second:
        finish(first)
        finish(second)
