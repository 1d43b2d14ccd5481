"""A run folder and its copy in a store: what its machines share when they have no common folder.

Below the run's place in the store, what people look for has the names of the run folder, and ``.run.json`` its hashes.
What a fold continues from lies below ``.folds``: files under their hashes, and a manifest that names them. A manifest
is written after its files, and no file is taken that is not what the manifest says, so that what is half written is
never read.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import shutil
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock

from icf.pipeline.files import digest, write_file
from icf.pipeline.folder import RunFolder
from icf.pipeline.jobs import FoldJob
from icf.pipeline.store import Store, StoreError, hash_file, is_address, open_store
from icf.pipeline.training.attempt import SupersededError
from icf.pipeline.training.checkpoint import list_states

MANIFEST = ".run.json"
FINISHED = "finished"
"""The name of a fold's last snapshot; it sorts after those of states."""

OWN = {"run.lock", "process.json"}
"""Files of the run folder that say something of one machine only."""

FOLD_PRODUCTS = ("history.csv", "metrics.json", "oof.parquet", "test.parquet", "augmented.png")
WEIGHTS = "checkpoint/best.safetensors"
FOLLOWED = {"history.csv", "progress.json"}

SHARE = 10
"""Uploading a fold's state takes at most one part in so many of its time."""


def find_store(storage: str | None) -> Store | None:
    """Return the store that compute.storage names; None if it is a folder, or left out."""
    return open_store(storage) if storage is not None and is_address(storage) else None


def list_runs(store: Store, recipe: str) -> list[str]:
    """Return the names of a recipe's run folders in a store."""
    return [name.rpartition("/")[2] for name in store.list(recipe)]


class RunMirror:
    """The copy of a run folder."""

    def __init__(self, store: Store, folder: RunFolder) -> None:
        self._folder = folder
        self._store = store.below(f"{folder.path.parent.name}/{folder.path.name}")

    def publish(self, *, finished: bool) -> None:
        """Upload what is in the run folder, its folds only if it is ``finished``; then the fold's states go."""
        paths = self._list_files(finished=finished)
        hashes = {path.relative_to(self._folder.path).as_posix(): hash_file(path) for path in paths}
        known = _read_manifest(self._store, MANIFEST) or {}
        for name, value in hashes.items():
            if known.get(name) != value:
                self._store.upload(self._folder.path / name, name)
        if hashes != known:
            _write_manifest(self._store, MANIFEST, hashes)
        if finished:
            self._store.remove(".folds")

    def restore(self, *, replace: bool) -> None:
        """Download what is published and not in the run folder; ``replace`` also what is not the same there."""
        published = _read_manifest(self._store, MANIFEST) or {}
        for name, value in published.items():
            path = self._folder.path / name
            if not path.exists() or (replace and hash_file(path) != value):
                # One that does not fit was overwritten by a run that makes it again, as this one will.
                with contextlib.suppress(_MismatchError):
                    _download(self._store, name, path, value)
        for path in (self._folder.test_rows, self._folder.embeddings):
            if replace and published and path.name not in published:  # there were some with other data
                path.unlink(missing_ok=True)

    def _list_files(self, *, finished: bool) -> list[Path]:
        top = self._folder.path
        found = [path for path in top.iterdir() if path.name not in OWN]
        if finished:
            found += (top / "stages").glob("*.json")
            for fold in (top / "folds").glob("[0-9]*/"):
                found += [fold / name for name in (*FOLD_PRODUCTS, WEIGHTS)]
        return sorted(path for path in found if path.is_file() and not path.name.startswith("."))


class FoldMirror:
    """The copy of what a fold has written: snapshots of its folder, each named like the state it holds."""

    def __init__(self, store: Store, job: FoldJob) -> None:
        self._job = job
        self._folder = job.folder
        run = store.below(f"{job.run_dir.parent.name}/{job.run_dir.name}")
        self._run = RunMirror(store, job.run_folder)
        self._store = run.below(f".folds/{job.fold}-{job.key}")
        self._attempt = ""
        self._uploaded: set[str] = set()
        self._manifests: list[str] = []
        self._saved = float("-inf")
        self._took = 0.0
        self.problem = ""
        """Why the last snapshot is not in the store; empty if it is."""

    def fetch(self, *, exact: bool = False) -> None:
        """Bring this machine's folder of the fold to the newest snapshot, and that of the run to what is published.

        A newer state that is here already is kept, unless ``exact``: all workers of a fold must have the same.
        """
        with self._lock():
            self._run.restore(replace=True)
            here, snapshots = self._find_position(), self._list_snapshots()
            if exact and here and here not in map(_get_position, snapshots[-1:]):
                shutil.rmtree(self._folder.path)
            self._update(snapshots)

    def fetch_finished(self) -> None:
        """Bring the products of the fold, if it is finished."""
        with self._lock():
            self._update([name for name in self._list_snapshots() if _get_position(name) == FINISHED])

    def claim(self, attempt: str) -> None:
        """Take the fold over: what others write from now on is ignored."""
        self._attempt = attempt
        self._store.write("attempt.txt", attempt.encode())

    def save(self, position: str) -> None:
        """Upload a snapshot, unless it is too soon after the last one; one that fails is tried again at the next call.

        Raises:
            SupersededError: another attempt has taken the fold over.
        """
        if time.monotonic() - self._saved < SHARE * self._took:
            return
        started = time.monotonic()
        try:
            self._confirm()
            self._save(position)
            self.problem = ""
        except StoreError as error:
            self.problem = str(error)
        self._saved = time.monotonic()
        self._took = self._saved - started

    def finish(self) -> None:
        """Upload the products of the finished fold, if they are not there.

        Raises:
            StoreError: the store does not take them.
        """
        if FINISHED not in map(_get_position, self._list_snapshots()):
            self._attempt = self._attempt or secrets.token_hex(8)
            self._save(FINISHED)

    def follow(self) -> None:
        """Bring what tells how far the fold is, if that is farther than here."""
        with self._lock():
            for name in self._list_snapshots()[-1:]:
                if _get_position(name) > self._find_position():
                    manifest = _read_manifest(self._store, name) or {}
                    for file in FOLLOWED & manifest.keys():
                        value, path = manifest[file], self._folder.path / file
                        with contextlib.suppress(_MismatchError):
                            _download(self._store, _name_object(name, value), path, value)

    def write_note(self, content: Any) -> None:
        """Tell the driver something about the fold, as JSON."""
        self._store.write("note.json", json.dumps(content).encode())

    def take_note(self) -> Any:
        """Return what write_note told, and remove it; None if there is nothing."""
        content = self._store.read("note.json")
        self._store.remove("note.json")
        return None if content is None else json.loads(content)

    def _lock(self) -> FileLock:
        """Return what keeps processes of this machine from replacing the folder at the same time."""
        self._folder.path.parent.mkdir(parents=True, exist_ok=True)
        return FileLock(self._folder.path.with_suffix(".lock"))

    def _update(self, snapshots: Sequence[str]) -> None:
        """Replace the fold's folder by the newest snapshot that is whole, if that is newer."""
        here = self._find_position()
        for name in reversed(snapshots):
            if _get_position(name) <= here or self._load(name):
                return

    def _find_position(self) -> str:
        """Return the name of the last state here, if it was made from the same inputs."""
        job, states = self._job, list_states(self._folder.checkpoints)
        if job.run_folder.is_done(f"fold-{job.fold}", job.key, job.products):
            return FINISHED
        try:
            key = json.loads(self._folder.progress.read_text(encoding="utf-8"))["key"]
        except (OSError, ValueError, KeyError):
            return ""
        return states[-1].name if states and key == job.key else ""

    def _list_snapshots(self) -> list[str]:
        """Return the names of all manifests, the newest last."""
        names = [name for name in self._store.list(recursive=True) if name.count("/") == 1 and name.endswith(".json")]
        return sorted(names, key=_get_position)

    def _load(self, name: str) -> bool:
        """Replace the fold's folder by a snapshot; return False, and leave it, if that is not whole."""
        manifest = _read_manifest(self._store, name)
        if manifest is None:
            return False
        temporary = self._folder.path.with_name(f".{self._job.fold}.{secrets.token_hex(4)}.tmp")
        try:
            for file, value in manifest.items():
                _download(self._store, _name_object(name, value), temporary / file, value)
            shutil.rmtree(self._folder.path, ignore_errors=True)
            temporary.rename(self._folder.path)
        except _MismatchError:
            return False
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        if _get_position(name) == FINISHED:
            self._job.run_folder.mark_done(f"fold-{self._job.fold}", self._job.key)
        return True

    def _save(self, position: str) -> None:
        last = f"{self._attempt}/{position}.json"
        manifest = {
            path.relative_to(self._folder.path).as_posix(): hash_file(path) for path in self._list_files(position)
        }
        others = [] if self._uploaded else [name for name in self._store.list() if "." not in name]
        for file, value in manifest.items():
            if value not in self._uploaded:
                self._store.upload(self._folder.path / file, _name_object(last, value))
                self._uploaded.add(value)
        _write_manifest(self._store, last, manifest)
        gone = self._uploaded - set(manifest.values())
        self._uploaded -= gone
        older = [name for name in self._manifests if name != last]
        self._manifests = [last]
        for name in (*older, *(_name_object(last, value) for value in gone), *others):
            if name != self._attempt:
                self._store.remove(name)

    def _confirm(self) -> None:
        if (self._store.read("attempt.txt") or b"").decode() != self._attempt:
            raise SupersededError(f"{self._store.address}: another process has taken over this fold; this one ends")

    def _list_files(self, position: str) -> Iterable[Path]:
        own = self._folder.attempt.name
        for path in sorted(self._folder.path.rglob("*")):
            parts = path.relative_to(self._folder.path).parts
            state = position == FINISHED and parts[0] == "checkpoint" and parts[-1] != "best.safetensors"
            if path.is_file() and path.name != own and not any(part.startswith(".") for part in parts) and not state:
                yield path


class _MismatchError(Exception):
    """A file of the store is not the one that its manifest names."""


def open_fold_mirror(job: FoldJob) -> FoldMirror | None:
    """Return the copy of a fold; None if compute.storage is no address."""
    store = find_store(job.plan.recipe.compute.storage)
    return None if store is None else FoldMirror(store, job)


def _name_object(manifest: str, value: str) -> str:
    """Return the name of a file that a manifest of the same attempt names by its hash."""
    return f"{manifest.partition('/')[0]}/{value}"


def _get_position(name: str) -> str:
    return name.rpartition("/")[2].removesuffix(".json")


def _write_manifest(store: Store, name: str, files: dict[str, str]) -> None:
    store.write(name, json.dumps({"files": files, "digest": digest(files)}, indent=1).encode())


def _read_manifest(store: Store, name: str) -> dict[str, str] | None:
    """Return the hash of each file; None if there is no manifest, or only a part of it."""
    content = store.read(name)
    try:
        found = json.loads(content or b"")
        files: dict[str, str] = found["files"]
        safe = not any({"", ".", ".."} & set(name.split("/")) for name in files)  # nothing outside of the folder
        return files if safe and found["digest"] == digest(files) else None
    except (ValueError, KeyError, TypeError):
        return None


def _download(store: Store, name: str, path: Path, value: str) -> None:
    """Write a file of the store to ``path``, whole or not at all.

    Raises:
        _MismatchError: there is none, or its hash is not ``value``.
    """

    def write(temporary: Path) -> None:
        if not store.download(name, temporary) or hash_file(temporary) != value:
            raise _MismatchError(name)

    write_file(path, write)
