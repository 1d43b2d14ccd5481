from __future__ import annotations

import base64
import io
import re
from collections.abc import Sequence
from dataclasses import asdict, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from icf.errors import Problem
from icf.formats import format_score, format_seconds, format_share, shorten_refs
from icf.pipeline.data.attributes import read_attributes
from icf.pipeline.data.prepare import Prepared, prepare, save_prepared
from icf.pipeline.data.split import make_split, save_split
from icf.pipeline.files import read_json, read_table, write_json, write_probabilities, write_rows
from icf.pipeline.folder import RunFolder, open_run_folder
from icf.pipeline.jobs import Placement
from icf.pipeline.results.ensemble import ensemble
from icf.pipeline.results.pictures import read_mistakes
from icf.pipeline.results.report import flatten, write_report
from icf.pipeline.results.score import build_metrics, score_rows
from icf.plan import Plan, make_plan
from icf.plugins import load_plugins

VOID = {"meta", "img", "br", "link", "input", "hr"}
NASTY = "<script>alert(1)<"
ENVIRONMENT: dict[str, Any] = {"python": "3.11", "gpus": [], "packages": {"torch": "2.14", "ray": None}}
SECONDS = {"prepare": 1.25, "fit": 75.0}
TOLD = {"prefetch": "two threads", "prediction": "in batches of 9", "compiler": "not used"}
FOLD_SECONDS = {"start": 0.5, "batches": 6.0, "steps": 12.5, "validation": 2.0, "prediction": 1.0}


def draw_images(root: Path, classes: Sequence[str], each: int, size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    for index, name in enumerate(classes):
        folder = root / "train" / name
        folder.mkdir(parents=True)
        for row in range(each):
            coarse = rng.integers(0, 256, (4, 3, 3), dtype=np.uint8)
            image = Image.fromarray(coarse).resize((size[1], size[0]), Image.Resampling.BICUBIC)
            image.save(folder / f"{index:02d}'\"&{row:03d}.png")


PLUGINS = ["images", "nn", "loss", "metric", "optimizer", "scheduler", "sampler", "ensemble"]


def make_a_plan(root: Path, folds: int, size: tuple[int, int], **sections: Any) -> Plan:
    raw = {
        "dataset": {"use": "images/folder", "root": str(root)},
        "model": {"use": "nn/sequential-cnn"},
        "split": {"folds": folds},
        "transforms": {"image_size": list(size)},
        **sections,
    }
    return make_plan(raw, load_plugins(only=PLUGINS), "leaves")


def fake_history(rng: np.random.Generator, names: Sequence[str], epochs: int) -> list[dict[str, float]]:
    history = []
    for epoch in range(epochs):
        fast, slow = np.exp(-epoch / 4), np.exp(-epoch / 6)
        train_loss = 0.1 + 2.6 * slow + rng.normal(0, 0.02)
        val_loss = 0.7 + 2.0 * fast + 0.02 * epoch + rng.normal(0, 0.05)
        row = {"epoch": epoch, "train_loss": train_loss, "val_loss": val_loss, "learning_rate": 1e-3}
        scores = {name: 0.7 - 0.6 * fast + rng.normal(0, 0.015) for name in names}
        history.append({**row, "images_per_second": 500.0, **scores})
    return history


def write_fold(folder: RunFolder, plan: Plan, fold: int, classes: Sequence[str], epochs: int, skill: float) -> None:
    rng = np.random.default_rng(fold)
    split = read_table(folder.split)
    rows = np.flatnonzero(split["fold"] == fold)
    logits = rng.normal(0, 1.4, (len(rows), len(classes)))
    logits[np.arange(len(rows)), split["target"][rows]] += skill
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    files = folder.fold(fold)
    ids = [split["id"][row] for row in rows]
    write_probabilities(files.oof, ids, classes, probabilities, target=split["target"][rows])
    history = fake_history(rng, [choice.ref for choice in plan.metrics], epochs)
    write_rows(files.history, history)
    best = int(np.argmax([row[plan.metrics[0].ref] for row in history]))
    attributes = read_attributes(read_json(folder.data)["attributes"])
    metrics = score_rows(build_metrics(plan, attributes), probabilities, split["target"][rows])
    result = {"fold": fold, "best_epoch": best, "epochs": epochs, "rows": len(rows), "precision": "float32"}
    write_json(
        files.metrics,
        {**result, "metrics": metrics, "seconds": FOLD_SECONDS, **TOLD},
    )
    tiles = [[rng.integers(0, 256, (24, 24, 3), dtype=np.uint8) for _ in range(8)] for _ in range(4)]
    Image.fromarray(np.vstack([np.hstack(line) for line in tiles])).save(files.augmented)


def make_run(
    tmp: Path, classes: Sequence[str], *, each: int = 12, folds: int = 3, size: tuple[int, int] = (24, 20),
    epochs: int = 4, skill: float = 3.0, **sections: Any,
) -> tuple[Plan, RunFolder, Prepared]:  # fmt: skip
    draw_images(tmp / "data", classes, each, size)
    plan = make_a_plan(tmp / "data", folds, size, **sections)
    folder = open_run_folder(plan, tmp / "runs")
    data = prepare(plan, lambda *_: None)
    save_prepared(data, folder)
    split = make_split(plan.recipe.split, data.train, data.classes, seed=0)
    save_split(split, data.train, folder)
    for fold in range(folds):
        write_fold(folder, plan, fold, data.classes, epochs, skill)
    write_json(folder.placement, asdict(Placement("inline", "a test", concurrent=1, threads=2, device="cpu")))
    ensemble(plan, folder, folds, data.classes)
    return plan, folder, data


pytestmark = pytest.mark.usefixtures("cache_of_test")


class Page(HTMLParser):
    """Checks that tags are balanced, and collects tags, attributes and text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.feed(path.read_text(encoding="utf-8"))
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data

    def count(self, tag: str, **attributes: str) -> int:
        return sum(name == tag and attributes.items() <= found.items() for name, found in self.tags)


def test_report_of_a_run_says_what_the_run_folder_says(tmp_path: Path) -> None:
    problem = {"question": "Which tree is it?", "input": "one leaf", "output": "its tree", "use": "a walk"}
    plan, folder, data = make_run(tmp_path, ["ash", "birch", "elm", "oak"], problem=problem)
    data = replace(data, notes=("rendered demo data",), skipped=(Problem("a/b.jpg", "the file is empty"),))
    path = write_report(plan, folder, data, ENVIRONMENT, SECONDS)
    page = Page(path)
    metrics, split = read_json(folder.metrics), read_json(folder.path / "split.json")
    expected = [
        "leaves", "Which tree is it?", "one leaf", "its tree", "a walk", "rendered demo data",
        f"{metrics['oof']['metric/macro-f1']['value']:.4f}", f"{metrics['oof']['metric/log-loss']['high']:.4f}",
        metrics["interval"], "mean of the folds", split["method"], split["hash"], "16, 16, 16",
        "1 image skipped", "a/b.jpg", "the file is empty", "1 min 15 s", 'use = "images/folder"', "batch_size = 64",
        "packages: ray", "not installed", plan.identity, folder.path.name,
    ]  # fmt: skip
    expected += [f"{fold['best_epoch'] + 1} of {fold['epochs']}" for fold in metrics["folds"]]
    assert [text for text in expected if text not in page.text] == []
    assert "test" not in [text.strip() for text in re.findall(r"<th[^>]*>([^<]*)</th>", path.read_text())]
    wrong = metrics["rows"] - sum(metrics["confusion"][index][index] for index in range(4))
    assert page.count("figure") == min(12, wrong) > 0
    assert page.count("svg") == 3


def test_report_needs_no_network_and_no_script(tmp_path: Path) -> None:
    plan, folder, data = make_run(tmp_path, ["a", "b"])
    path = write_report(plan, folder, data, ENVIRONMENT, SECONDS)
    page = Page(path)
    assert page.count("script") == page.count("link") == page.count("iframe") == 0
    addresses = [value for _, found in page.tags for name, value in found.items() if name in {"src", "href"}]
    assert addresses
    assert all(address.startswith(("data:image/", "#")) for address in addresses)
    assert not any(name.startswith("on") for _, found in page.tags for name in found)
    assert not re.search(r"url\(|@import", path.read_text())


def test_the_time_of_all_folds_is_added_up(tmp_path: Path) -> None:
    plan, folder, data = make_run(tmp_path, ["a", "b"], folds=3)
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", write_report(plan, folder, data, {}, SECONDS).read_text()))
    assert "forward, backward, optimizer 38 s 57 %" in text  # 3 x 12.5 of 3 x 22 seconds
    assert "waiting for batches: reading and augmenting 18 s 27 %" in text
    assert "saving weights and state 0.0 s 0 %" in text
    assert "together 1 min 06 s" in text
    assert (
        "executor inline: a test folds 1 at a time, 2 threads each device cpu number format float32"
        " memory format channels-last batches two threads" in text
    )


def test_strings_of_the_data_are_escaped(tmp_path: Path) -> None:
    plan, folder, data = make_run(tmp_path, [NASTY, "b&b\"'", "c"], skill=0.0, problem={"question": "<b>why?</b>"})
    undecodable = b"\xff<i>.png".decode(errors="surrogateescape")
    data = replace(data, notes=("<img src=x onerror=y>",), skipped=(Problem(undecodable, "<u>bad</u>"),))
    path = write_report(plan, folder, data, {"<em>": "<em>"}, {"<tt>": 1.0})
    page = Page(path)
    assert page.count("script") == page.count("em") == page.count("tt") == page.count("u") == 0
    assert all(found.get("src") != "x" for _, found in page.tags)
    assert NASTY in page.text
    assert "\\udcff<i>.png" in page.text
    pictures = [found["alt"] for tag, found in page.tags if tag == "img" and "batch" not in found.get("class", "")]
    assert all("'\"&" in picture for picture in pictures)


def test_report_can_be_written_again_to_the_same_bytes(tmp_path: Path) -> None:
    plan, folder, data = make_run(tmp_path, ["a", "b"])
    first = write_report(plan, folder, data, ENVIRONMENT, SECONDS).read_bytes()
    assert write_report(plan, folder, data, ENVIRONMENT, SECONDS).read_bytes() == first
    assert [p.name for p in folder.path.iterdir() if p.name.endswith(".tmp")] == []


def test_one_fold_one_epoch_no_mistake_no_picture(tmp_path: Path) -> None:
    plan, folder, data = make_run(tmp_path, ["a", "b"], epochs=1, skill=50.0)
    metrics = read_json(folder.metrics)
    write_json(folder.metrics, {**metrics, "folds": metrics["folds"][:1]})
    folder.fold(0).augmented.unlink()
    page = Page(write_report(plan, folder, data, {}, {}))
    assert "No row was predicted wrongly" in page.text
    assert "mean of the folds" not in page.text
    assert page.count("figure") == page.count("img") == 0


def test_test_scores_stand_beside_those_out_of_fold(tmp_path: Path) -> None:
    plan, folder, data = make_run(tmp_path, ["a", "b"])
    scores = {choice.ref: {"value": 0.71234, "low": 0.6, "high": 0.8} for choice in plan.metrics}
    write_json(folder.metrics, {**read_json(folder.metrics), "test": scores})
    page = Page(write_report(plan, folder, data, ENVIRONMENT, SECONDS))
    assert page.text.count("0.7123") == len(plan.metrics)


def test_many_classes_give_pairs_instead_of_a_matrix(tmp_path: Path) -> None:
    plan, folder, data = make_run(tmp_path, [f"class {index:03d}" for index in range(45)], each=3, skill=1.0)
    path = write_report(plan, folder, data, ENVIRONMENT, SECONDS)
    page = Page(path)
    assert page.count("svg", **{"class": "matrix"}) == 0
    assert "All 45 classes" in page.text
    assert path.stat().st_size < 300_000


def test_long_lists_of_skipped_images_are_counted(tmp_path: Path) -> None:
    plan, folder, data = make_run(tmp_path, ["a", "b"])
    data = replace(data, skipped=tuple(Problem(f"{index}.jpg", "truncated") for index in range(1234)))
    page = Page(write_report(plan, folder, data, ENVIRONMENT, SECONDS))
    assert "1234 images skipped" in page.text
    assert "and 1034 more" in page.text


def test_mistakes_show_the_pixels_of_their_ids(tmp_path: Path) -> None:
    _, folder, data = make_run(tmp_path, ["a", "b", "c"], skill=0.5)
    mistakes = read_mistakes(folder, data.classes, data.train.cache.source, 8)
    assert [m.probability for m in mistakes] == sorted((m.probability for m in mistakes), reverse=True)
    position = {name: row for row, name in enumerate(data.train.ids)}
    for mistake in mistakes:
        row = position[mistake.id]
        assert mistake.true == data.classes[data.train.targets[row]] != mistake.predicted
        shown = np.asarray(decode(mistake.picture))
        assert np.array_equal(shown, np.asarray(Image.open(data.train.sources[row])))


def decode(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.73456, "0.7346"), (0.0, "0.0000"), (1.0, "1.0000"), (1e-5, "1.0e-05"), (123.456, "123"), (float("nan"), "–")],
)
def test_scores_as_text(value: float, text: str) -> None:
    assert format_score(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0 %"),
        (1, "100 %"),
        (0.999, "99.9 %"),
        (0.99999, "99.9 %"),
        (0.004, "< 1 %"),
        (0.255, "26 %"),
        (float("nan"), "–"),
    ],
)
def test_shares_as_text(value: float, text: str) -> None:
    assert format_share(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0.0 s"), (9.94, "9.9 s"), (9.96, "10 s"), (59.6, "1 min 00 s"), (185, "3 min 05 s"), (7620, "2 h 07 min")],
)
def test_durations_as_text(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text


def test_refs_are_shortened_where_that_is_clear() -> None:
    names = shorten_refs(["metric/f1", "metric/accuracy", "mine/accuracy", "metric/f1"])
    assert list(names.values()) == ["f1", "metric/accuracy", "mine/accuracy"]


def test_flatten_names_nested_values() -> None:
    assert list(flatten({"a": {"b": 1, "c": None}, "d": [], "e": ["x", "y"]})) == [
        ("a: b", "1"), ("a: c", "not installed"), ("d", "none"), ("e", "x, y"),
    ]  # fmt: skip


def test_the_recipe_in_the_report_is_the_one_in_the_folder(tmp_path: Path) -> None:
    plan, folder, data = make_run(tmp_path, ["a", "b"])
    page = Page(write_report(plan, folder, data, ENVIRONMENT, SECONDS))
    assert (folder.path / "recipe.toml").read_text().strip() in page.text
