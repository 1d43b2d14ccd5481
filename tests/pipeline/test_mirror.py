from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from icf.errors import RecipeError
from icf.executors import choose_executor
from icf.executors.inline import InlineExecutor
from icf.pipeline.jobs import FoldJob
from icf.pipeline.listener import Listener
from icf.pipeline.mirror import FoldMirror, open_fold_mirror
from icf.pipeline.run import run_pipeline
from icf.pipeline.store import Store, StoreError, open_store
from icf.pipeline.training.attempt import SupersededError
from icf.pipeline.training.checkpoint import list_states
from icf.plan import load_plan
from runs import find_run, kill, start_run, wait_until
from stores import BUCKET, serve_s3
from training import DIGITS, SMALL, fit, make_jobs, make_plan

SETTINGS = (*SMALL, "train.epochs=12", 'compute.executor="inline"')
PRODUCTS = ("oof.parquet", "test.parquet", "submission.csv")


@pytest.fixture(scope="module")
def s3() -> Iterator[dict[str, str]]:
    with pytest.MonkeyPatch.context() as patch, serve_s3() as variables:
        for name, value in variables.items():
            patch.setenv(name, value)
        open_store(f"s3://{BUCKET}?allow_bucket_creation=true").files.base_fs.create_dir(BUCKET)
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        yield variables


@pytest.fixture(params=["file", "s3", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "s3":
        request.getfixturevalue("s3")
        return open_store(f"s3://{BUCKET}/{tmp_path.name}")
    return open_store(f"{request.param}://{tmp_path}/store")


def test_a_store_keeps_files_and_folders(store: Store, tmp_path: Path) -> None:
    below = store.below("run").below("fold")
    assert below.list(recursive=True) == []
    assert below.read("a/b.txt") is None
    assert not below.download("a/b.txt", tmp_path / "nothing")
    below.write("a/b.txt", b"first")
    below.write("a/b.txt", b"second")
    (tmp_path / "file").write_bytes(bytes(range(256)) * 50_000)
    below.upload(tmp_path / "file", "a/c/d")
    assert below.read("a/b.txt") == b"second"
    assert store.read("run/fold/a/b.txt") == b"second"
    assert below.download("a/c/d", tmp_path / "new" / "copy")
    assert (tmp_path / "new" / "copy").read_bytes() == (tmp_path / "file").read_bytes()
    assert below.list() == ["a"]
    assert below.list("a") == ["a/b.txt", "a/c"]
    assert below.list(recursive=True) == ["a", "a/b.txt", "a/c", "a/c/d"]
    below.remove("a/c")
    below.remove("a/c")
    below.remove("a/b.txt")
    assert below.read("a/b.txt") is None
    assert not [name for name in below.list(recursive=True) if name.endswith((".txt", "d"))]


def make_job(runs: Path, address: str, *settings: str) -> tuple[FoldJob, FoldMirror]:
    job = make_jobs(make_plan(f'compute.storage="{address}"', *settings), runs)[0]
    mirror = open_fold_mirror(job)
    assert mirror is not None
    return job, mirror


@pytest.fixture
def address(tmp_path: Path) -> str:
    return f"file://{tmp_path}/store"


def write_state(job: FoldJob, name: str, text: str) -> None:
    """Write what a fold writes after an epoch, without training it."""
    folder = job.folder.checkpoints / name
    folder.mkdir(parents=True)
    (folder / "state.pt").write_text(text)
    job.folder.progress.write_text(f'{{"key": "{job.key}"}}')
    for other in list_states(job.folder.checkpoints):
        if other.name < name:
            shutil.rmtree(other)


def save_two(job: FoldJob, mirror: FoldMirror) -> None:
    """Save a snapshot by one attempt, and the next by another that was begun and did not clean up."""
    mirror.claim("a" * 16)
    write_state(job, "epoch-00001", "one")
    mirror.save("epoch-00001")
    kept = shutil.copytree(find_fold(job) / ("a" * 16), find_fold(job).parent / "kept")
    other = open_fold_mirror(job)
    assert other is not None
    other.claim("b" * 16)
    write_state(job, "epoch-00002", "two")
    other.save("epoch-00002")
    kept.rename(find_fold(job) / ("a" * 16))


def find_fold(job: FoldJob) -> Path:
    storage = job.plan.recipe.compute.storage
    assert storage is not None
    run = Path(storage.removeprefix("file://")) / job.run_dir.parent.name / job.run_dir.name
    return run / ".folds" / f"{job.fold}-{job.key}"


def read_states(job: FoldJob) -> dict[str, str]:
    return {path.name: (path / "state.pt").read_text() for path in list_states(job.folder.checkpoints)}


def test_a_fold_is_brought_to_its_newest_snapshot(tmp_path: Path, address: str) -> None:
    job, mirror = make_job(tmp_path / "runs", address)
    save_two(job, mirror)
    shutil.rmtree(job.folder.path)
    mirror.fetch()
    assert read_states(job) == {"epoch-00002": "two"}


@pytest.mark.parametrize("damage", ["manifest", "file", "missing"])
def test_what_is_half_written_is_never_read(damage: str, tmp_path: Path, address: str) -> None:
    job, mirror = make_job(tmp_path / "runs", address)
    save_two(job, mirror)
    (last,) = (find_fold(job) / ("b" * 16)).glob("*.json")
    (state,) = (path for path in last.parent.iterdir() if path.read_bytes() == b"two")
    if damage == "manifest":
        last.write_bytes(last.read_bytes()[:-20])
    elif damage == "file":
        state.write_text("tw")
    else:
        state.unlink()
    shutil.rmtree(job.folder.path)
    mirror.fetch()
    assert read_states(job) == {"epoch-00001": "one"}
    assert not list(job.folder.path.parent.glob(".*"))


def test_a_newer_state_of_the_machine_is_kept_by_a_fold_of_one_worker(tmp_path: Path, address: str) -> None:
    job, mirror = make_job(tmp_path / "runs", address)
    save_two(job, mirror)
    write_state(job, "epoch-00003", "three")
    mirror.fetch()
    assert read_states(job) == {"epoch-00003": "three"}
    mirror.fetch(exact=True)
    assert read_states(job) == {"epoch-00002": "two"}


def test_a_state_of_other_inputs_is_not_kept(tmp_path: Path, address: str) -> None:
    job, mirror = make_job(tmp_path / "runs", address)
    save_two(job, mirror)
    shutil.rmtree(job.folder.path)
    write_state(job, "epoch-00009", "other")
    job.folder.progress.write_text('{"key": "another"}')
    mirror.fetch()
    assert read_states(job) == {"epoch-00002": "two"}


def test_an_attempt_that_lost_the_fold_writes_nothing_more(tmp_path: Path, address: str) -> None:
    job, mirror = make_job(tmp_path / "runs", address)
    save_two(job, mirror)
    before = sorted(find_fold(job).rglob("*"))
    lost = FoldMirror(open_store(address), job)
    lost._attempt = "a" * 16
    with pytest.raises(SupersededError):
        lost.save("epoch-00003")
    assert sorted(find_fold(job).rglob("*")) == before


def test_a_store_that_fails_for_a_while_costs_no_fold(tmp_path: Path, address: str) -> None:
    job, mirror = make_job(tmp_path / "runs", address)
    mirror.claim("a" * 16)
    write_state(job, "epoch-00001", "one")
    (tmp_path / "store").rename(tmp_path / "away")
    (tmp_path / "store").write_text("no folder")
    mirror.save("epoch-00001")
    assert "compute.storage" in mirror.problem
    (tmp_path / "store").unlink()
    (tmp_path / "away").rename(tmp_path / "store")
    mirror._took = 0.0
    mirror.save("epoch-00001")
    assert not mirror.problem
    assert list(find_fold(job).glob("*/epoch-00001.json"))


def test_a_store_that_does_not_take_the_products_is_no_fault_of_the_fold(tmp_path: Path, address: str) -> None:
    job, _ = make_job(tmp_path / "runs", address, "train.epochs=1")
    (tmp_path / "store").write_text("no folder")
    failures = InlineExecutor().run([job])
    assert failures[0].passing
    assert address in failures[0].reason


def test_a_fold_writes_its_products_into_the_store(tmp_path: Path, address: str) -> None:
    job = fit(tmp_path / "runs", f'compute.storage="{address}"', "train.epochs=2")
    names = {path.name: path.stat().st_size for path in job.folder.path.rglob("*") if path.is_file()}
    shutil.rmtree(job.run_dir)
    mirror = open_fold_mirror(job)
    assert mirror is not None
    mirror.fetch_finished()
    found = {path.name: path.stat().st_size for path in job.folder.path.rglob("*") if path.is_file()}
    assert found == {name: size for name, size in names.items() if name in found}
    assert names.keys() - found.keys() <= {"attempt.txt", "state.pt", "model.safetensors"}
    assert {"oof.parquet", "metrics.json", "best.safetensors"} <= found.keys()


@pytest.mark.parametrize(
    "storage", ["s3://key:secret@bucket/runs", "s3://bucket/runs?secret_key=abc", "ftp://user:word@host/runs"]
)
def test_an_address_holds_no_credentials(storage: str) -> None:
    with pytest.raises(RecipeError, match="must hold no credentials"):
        make_plan(f'compute.storage="{storage}"')


def test_an_address_that_nobody_knows_is_told() -> None:
    with pytest.raises(StoreError, match=r"compute\.storage = 'nowhere://runs'"):
        open_store("nowhere://runs")


def run_here(runs: Path, *settings: str) -> Path:
    """Run the plan in this process; return its run folder."""
    run_pipeline(load_plan(DIGITS, settings), runs, choose_executor, Listener())
    return find_run(runs)


def test_a_killed_run_continues_on_a_machine_without_its_folder(
    s3: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ICF_CACHE", str(tmp_path / "cache"))
    address = f"s3://{BUCKET}/killed"
    stored, settings = open_store(address), (*SETTINGS, f'compute.storage="{address}"')

    def has_snapshot() -> bool:
        return any("/1-" in name and "epoch-0000" in name for name in stored.list(recursive=True))

    with start_run(tmp_path / "first", *settings) as process:
        wait_until(has_snapshot, process)  # fold 0 is finished, and fold 1 is in the middle
        kill(process)
    begun = find_run(tmp_path / "first")
    ended = (begun / "folds" / "0" / "metrics.json").read_bytes()
    shutil.rmtree(tmp_path / "first")
    continued = run_here(tmp_path / "second", *settings)
    alone = run_here(tmp_path / "alone", *SETTINGS)
    assert continued.name == begun.name
    assert (continued / "folds" / "0" / "metrics.json").read_bytes() == ended  # with the seconds that it took
    for name in PRODUCTS:
        assert (continued / name).read_bytes() == (alone / name).read_bytes()
        assert stored.read(f"digits/{begun.name}/{name}") == (alone / name).read_bytes()
    assert not [name for name in stored.list(recursive=True) if ".folds" in name]
    again = run_here(tmp_path / "third", *settings)
    for fold in range(3):  # nothing was trained again
        place = f"folds/{fold}/metrics.json"
        assert (again / place).read_bytes() == (continued / place).read_bytes()
