from __future__ import annotations

import csv
import hashlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import icf
from icf_mask.competition import load_competition
from icf_mask.demo import TEST, TRAIN, ensure_demo, list_members
from icf_mask.demo_canvas import Pose, smooth
from icf_mask.demo_render import render_person
from icf_mask.plugin import CompetitionParams

SMALL = CompetitionParams(demo_people=18, demo_test_people=7, demo_height=64)


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ensure_demo(SMALL, tmp_path_factory.mktemp("cache"))


def test_demo_is_read_like_the_competition(demo: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("SM_CHANNEL_TRAIN", raising=False)
    monkeypatch.chdir(tmp_path)
    content = load_competition(SMALL, icf.DatasetContext(cache_dir=demo.parent))
    assert "rendered demo data" in content.notes[0]
    assert len(content.train) == 18 * 7
    assert content.test is not None
    assert len(content.test) == 7 * 7
    assert content.train.targets is not None
    assert set(content.train.targets.tolist()) == set(range(18))
    assert content.train.groups is not None
    assert len(set(content.train.groups)) == 18
    given_root = load_competition(
        SMALL.model_copy(update={"root": demo, "demo": "never"}), icf.DatasetContext(cache_dir=tmp_path)
    )
    assert given_root.train.ids == content.train.ids
    assert given_root.notes == ()


def test_demo_images_have_the_right_size_and_differ(demo: Path) -> None:
    images = sorted((demo / "train" / "images").rglob("*.*")) + sorted((demo / "eval" / "images").iterdir())
    for path in images:
        with Image.open(path) as image:
            assert (image.size, image.mode) == ((48, 64), "RGB")
            assert np.asarray(image).std() > 8
    assert len(set(digests(demo).values())) == len(images) + 3


def test_answers_match_the_test_rows(demo: Path) -> None:
    tables = {}
    for name in ("info.csv", "demo_answers.csv"):
        with (demo / "eval" / name).open(newline="") as file:
            tables[name] = list(csv.DictReader(file))
    assert [row["ImageID"] for row in tables["info.csv"]] == [row["ImageID"] for row in tables["demo_answers.csv"]]
    assert {row["ans"] for row in tables["info.csv"]} == {"0"}
    states = Counter(int(row["ans"]) // 6 for row in tables["demo_answers.csv"])
    assert states == {0: 35, 1: 7, 2: 7}


def test_demo_is_the_same_in_one_process_and_in_two(
    demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("icf_mask.demo._cores", lambda: 2)
    monkeypatch.setattr("icf_mask.demo._PEOPLE_PER_PROCESS", 5)
    again = ensure_demo(SMALL, tmp_path)
    assert again.name == demo.name
    assert digests(again) == digests(demo)
    assert [path.name for path in tmp_path.iterdir()] == [again.name]


def test_a_finished_demo_is_kept_and_other_settings_have_another_folder(demo: Path, tmp_path: Path) -> None:
    before = (demo / "train" / "train.csv").stat().st_mtime_ns
    assert ensure_demo(SMALL, demo.parent) == demo
    assert ensure_demo(SMALL.model_copy(update={"age_bands": (25, 40)}), demo.parent) == demo
    assert (demo / "train" / "train.csv").stat().st_mtime_ns == before
    tiny = CompetitionParams(demo_people=6, demo_test_people=6, demo_height=32)
    assert ensure_demo(tiny, tmp_path).name != demo.name


def test_a_demo_that_can_not_be_rendered_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("icf_mask.demo._cores", lambda: 2)
    monkeypatch.setattr("icf_mask.demo._PEOPLE_PER_PROCESS", 5)
    monkeypatch.setattr("icf_mask.demo.sys.executable", "/bin/false")
    with pytest.raises(icf.DataError, match="could not be rendered"):
        ensure_demo(SMALL, tmp_path)
    assert list(tmp_path.iterdir()) == []


@given(people=st.integers(6, 400), seed=st.integers(0, 5))
def test_every_class_has_people(people: int, seed: int) -> None:
    members = list_members(TRAIN, people, seed)
    assert [member.number for member in members] == list(range(people))
    cells = Counter((member.gender, (member.age >= 30) + (member.age >= 60)) for member in members)
    assert len(cells) == 6
    assert all(18 <= member.age <= 60 for member in members)
    if people >= 72:
        assert min(cells[0, 2], cells[1, 2]) >= 12
    assert members != list_members(TEST, people, seed)


def test_a_person_does_not_depend_on_the_others_and_keeps_their_looks() -> None:
    first = [image for image, _ in render_person(1, 40, (5, 0, 3), (96, 128))]
    again = [image for image, _ in render_person(1, 40, (5, 0, 3), (96, 128))]
    other = [image for image, _ in render_person(1, 40, (5, 0, 4), (96, 128))]
    assert [image.tobytes() for image in first] == [image.tobytes() for image in again]
    assert first[0].tobytes() != other[0].tobytes()
    assert len({image.tobytes() for image in first}) == 7


def test_a_smooth_curve_goes_through_its_points() -> None:
    points = np.array([(0.0, 0.0), (1.0, 0.2), (1.2, 1.0), (0.1, 1.1)])
    np.testing.assert_allclose(smooth(points, steps=5)[::5], points)
    np.testing.assert_allclose(smooth(points, closed=False, steps=5)[::5], points)
    line = np.stack([np.arange(6.0), 2 * np.arange(6.0)], axis=1)
    curve = smooth(line, closed=False, steps=4)[4:-5]
    np.testing.assert_allclose(curve[:, 1], 2 * curve[:, 0])


def test_a_pose_turns_and_scales() -> None:
    pose = Pose(centre=(0.5, 0.5), scale=0.25, roll=np.pi / 2)
    np.testing.assert_allclose(pose.project([(0.0, 0.0), (1.0, 0.0)], (200, 400)), [(100, 200), (100, 250)])
    turned = Pose(yaw=0.2).project([(0.0, 0.0), (1.0, 0.0)], (100, 100))
    np.testing.assert_allclose(turned, [(55, 50), (75, 50)])
