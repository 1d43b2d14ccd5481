"""The demo data set: invented faces in the layout of the competition, for use where its data is not."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import icf
from icf_mask.demo_render import STATES, render_person
from icf_mask.plugin import CompetitionParams

VERSION = 1
"""Goes into the folder's name: raise it whenever the pictures change."""

TRAIN, TEST = 0, 1

_PEOPLE_PER_PROCESS = 20
"""With fewer people than this, starting a process costs more than it saves."""

_STEMS = ("mask1", "mask2", "mask3", "mask4", "mask5", "incorrect_mask", "normal")
_GENDERS = ("male", "female")
_SHARES = (0.203, 0.152, 0.031, 0.271, 0.303, 0.040)
"""Shares of people, by gender and then age (under 30, 30 to 59, 60), as in the competition."""

_OLDEST = 12
"""People of 60 of each gender that a large enough set has at least, so that every fold has some."""


@dataclass(frozen=True)
class Member:
    """One person of the set: ``part`` is TRAIN or TEST, ``number`` counts from 0 within it."""

    part: int
    number: int
    gender: int
    age: int


def ensure_demo(params: CompetitionParams, cache_dir: Path) -> Path:
    """Return the folder of the demo set, rendered on first use (about half a minute on two cores).

    It is written under another name and renamed, so an interrupted or concurrent run leaves no half set.
    The same parameters give the same files, whatever the number of cores. ``eval/demo_answers.csv``
    has the true classes of the test images.
    """
    settings = {name: value for name, value in params.model_dump(mode="json").items() if name.startswith("demo_")}
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12]
    folder = cache_dir / f"mask-demo-{VERSION}-{digest}"
    if folder.is_dir():
        return folder
    cache_dir.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f"{folder.name}.part-", dir=cache_dir))
    try:
        part.chmod(0o755)
        _render_set(params, part)
        _publish(part, folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return folder


def _publish(part: Path, folder: Path) -> None:
    try:
        part.rename(folder)
    except OSError:
        if not folder.is_dir():  # otherwise another process has rendered the same set meanwhile
            raise


def list_members(part: int, people: int, seed: int) -> list[Member]:
    """Return the people of a part, their genders and ages as unbalanced as in the competition."""
    rng = np.random.default_rng((seed, part, 1))
    cells = np.repeat(np.arange(len(_SHARES)), _counts(people))
    rng.shuffle(cells)
    return [Member(part, number, int(cell) // 3, _draw_age(int(cell) % 3, rng)) for number, cell in enumerate(cells)]


def _counts(people: int) -> Sequence[int]:
    counts = np.floor(np.array(_SHARES) * people).astype(int)
    oldest = min(_OLDEST, people // len(_SHARES))
    counts[[2, 5]] = np.maximum(counts[[2, 5]], oldest)
    counts[:] = np.maximum(counts, min(1, people // len(_SHARES)))
    counts[4] += people - counts.sum()
    return [int(count) for count in counts]


def _draw_age(band: int, rng: np.random.Generator) -> int:
    if band == 0:
        return int(18 + 11 * rng.beta(1.2, 1.5))
    if band == 1:
        return int(30 + 29.99 * rng.beta(1.1, 0.9))
    return 60


def _render_set(params: CompetitionParams, root: Path) -> None:
    people = list_members(TRAIN, params.demo_people, params.demo_seed)
    strangers = list_members(TEST, params.demo_test_people, params.demo_seed)
    (root / "train" / "images").mkdir(parents=True)
    (root / "eval" / "images").mkdir(parents=True)
    _render_images(params, root)
    rows = [(*_columns_of(member), _folder(member)) for member in people]
    _write_csv(root / "train" / "train.csv", ("id", "gender", "race", "age", "path"), rows)
    answers = [row for member in strangers for row in _answers(member, params.demo_seed)]
    np.random.default_rng((params.demo_seed, 2)).shuffle(answers)
    _write_csv(root / "eval" / "demo_answers.csv", ("ImageID", "ans"), answers)
    _write_csv(root / "eval" / "info.csv", ("ImageID", "ans"), ((name, 0) for name, _ in answers))


def _render_images(params: CompetitionParams, root: Path) -> None:
    """Render in as many processes as there are cores.

    Each is a new interpreter: drawing holds the interpreter's lock, so threads gain nothing, forking is
    unsafe after torch has started its threads, and multiprocessing would run the caller's script again.
    """
    people = params.demo_people + params.demo_test_people
    shards = max(1, min(_cores(), people // _PEOPLE_PER_PROCESS))
    if shards == 1:
        render_shard(params, root, 0, 1)
        return
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-m", "icf_mask.demo_shard", str(root), params.model_dump_json()]
    workers = [
        subprocess.Popen([*command, str(shard), str(shards)], env=environment, stderr=subprocess.PIPE, text=True)
        for shard in range(shards)
    ]
    errors = [worker.communicate()[1] for worker in workers]
    for worker, error in zip(workers, errors, strict=True):
        if worker.returncode:
            raise icf.DataError(f"The demo set could not be rendered into {root}: {error.strip()[-500:]}")


def render_shard(params: CompetitionParams, root: Path, shard: int, shards: int) -> None:
    """Write the images of every ``shards``-th person, from number ``shard``."""
    members = [
        *list_members(TRAIN, params.demo_people, params.demo_seed),
        *list_members(TEST, params.demo_test_people, params.demo_seed),
    ]
    for member in members[shard::shards]:
        _write_person(member, params, root)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _write_person(member: Member, params: CompetitionParams, root: Path) -> None:
    images = root / "train" / "images" / _folder(member) if member.part == TRAIN else root / "eval" / "images"
    images.mkdir(exist_ok=True)
    size = (params.demo_height * 3 // 4, params.demo_height)
    pictures = render_person(member.gender, member.age, _key(member, params.demo_seed), size)
    for name, (picture, quality) in zip(_file_names(member, params.demo_seed), pictures, strict=True):
        picture.save(images / name, quality=quality, compress_level=1)


def _answers(member: Member, seed: int) -> list[tuple[str, int]]:
    attributes = member.gender * 3 + (member.age >= 30) + (member.age >= 60)
    names = _file_names(member, seed)
    return [(name, state * 6 + attributes) for name, state in zip(names, STATES, strict=True)]


def _key(member: Member, seed: int) -> tuple[int, ...]:
    return seed, member.part, member.number


def _file_names(member: Member, seed: int) -> list[str]:
    rng = np.random.default_rng((*_key(member, seed), 300))
    endings = rng.choice(["jpg", "jpeg", "JPG", "png"], size=len(STATES), p=(0.9, 0.05, 0.02, 0.03))
    stems = _STEMS if member.part == TRAIN else [rng.bytes(20).hex() for _ in STATES]
    return [f"{stem}.{ending}" for stem, ending in zip(stems, endings, strict=True)]


def _columns_of(member: Member) -> tuple[str, str, str, int]:
    return f"{member.number + 1:06d}", _GENDERS[member.gender], "Asian", member.age


def _folder(member: Member) -> str:
    return "_".join(map(str, _columns_of(member)))


def _write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
