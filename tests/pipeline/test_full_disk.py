from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from icf.errors import DiskFullError
from icf.pipeline.disk import is_disk_full
from icf.pipeline.files import write_json, write_table
from icf.pipeline.training.checkpoint import list_states, name_state, read_state, save_state, save_weights
from runs import MAIN, find_run, finish, isolated, start_run
from training import DIGITS, SMALL

SETTINGS = (*SMALL, "train.epochs=2", "model.widths=[48, 96]", 'compute.executor="inline"')
LIMIT = 250_000
"""Bytes: more than the weights of that network, and less than the state of its optimizer."""

LIMITED = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({LIMIT}, {LIMIT})); {MAIN}"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of two megabytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("only root can mount a small disk")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def list_files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_state_without_room_leaves_the_last_one(small_disk: Path) -> None:
    model = nn.Linear(100, 100)
    save_state(small_disk / "checkpoint", name_state(1, 0), model, {"key": "the last"})
    before = list_files(small_disk)
    large = {"key": "too large", "moments": [{"first": torch.zeros(300_000), "second": torch.zeros(300_000)}]}
    told = r"no room for .*state\.pt: state\.pt needs 2\.4 MB, .* are free in .*type the same command"
    with pytest.raises(DiskFullError, match=told):
        save_state(small_disk / "checkpoint", name_state(2, 0), model, large)
    with pytest.raises(DiskFullError, match=r"best\.safetensors needs 4 MB, .* are free in"):
        save_weights(small_disk / "checkpoint" / "best.safetensors", nn.Linear(1000, 1000, bias=False), {})
    assert list_files(small_disk) == before
    state = read_state(small_disk / "checkpoint")
    assert state is not None
    assert state["key"] == "the last"


def test_a_product_without_room_leaves_what_was_there(small_disk: Path) -> None:
    write_json(small_disk / "metrics.json", {"old": True})
    with pytest.raises(OSError, match="No space"):
        (small_disk / "ballast").write_bytes(bytes(4_000_000))
    before = list_files(small_disk)
    with pytest.raises(
        DiskFullError, match=r"no room for .*metrics\.json: metrics\.json needs [\d.]+ kB, 0 bytes are free"
    ):
        write_json(small_disk / "metrics.json", list(range(10_000)))
    with pytest.raises(DiskFullError):
        write_table(small_disk / "new" / "oof.parquet", {"id": [str(number) for number in range(100_000)]})
    assert list_files(small_disk) == before


def test_a_run_without_room_says_so_and_continues_when_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = [part for text in SETTINGS for part in ("--set", text)]
    command = ["run", str(DIGITS), "--quiet", "--runs", str(tmp_path / "runs"), *options]
    with isolated(monkeypatch, tmp_path / "cache"):
        full = subprocess.run([sys.executable, "-c", LIMITED, *command], capture_output=True, text=True, check=False)
        assert full.returncode == 1
        run_dir = find_run(tmp_path / "runs")
        assert "3 of 3 folds failed" in full.stderr
        assert f"no room for {run_dir}/folds/0/checkpoint/" in full.stderr
        assert "Traceback" not in full.stderr
        assert full.stderr.rstrip().endswith(f"--runs {tmp_path / 'runs'}")  # without --retry
        assert list(run_dir.rglob(".*")) == []
        assert list_states(run_dir / "folds" / "0" / "checkpoint") == []
        for runs in (tmp_path / "runs", tmp_path / "undisturbed"):
            with start_run(runs, *SETTINGS) as process:
                finish(process)
    for product in ("oof.parquet", "test.parquet", "metrics.json"):
        assert (run_dir / product).read_bytes() == (find_run(tmp_path / "undisturbed") / product).read_bytes()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_is_found_behind_other_errors(number: int) -> None:
    error = RuntimeError("unexpected pos 576 vs 534")
    error.__context__ = OSError(number, os.strerror(number))
    assert is_disk_full(error)
    assert is_disk_full(RuntimeError(f"I/O error: {os.strerror(number)} (os error {number})"))


@pytest.mark.parametrize("error", [OSError(errno.EACCES, "denied"), RuntimeError("(os error 2)"), ValueError("full")])
def test_other_errors_are_no_full_disk(error: Exception) -> None:
    assert not is_disk_full(error)
