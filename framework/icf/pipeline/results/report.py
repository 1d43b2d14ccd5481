"""Stage "report": one self-contained HTML file that shows how good the result is and where it fails."""

from __future__ import annotations

import csv
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from icf.formats import format_count, format_score, format_seconds, format_share, shorten_refs
from icf.pipeline.data.prepare import Prepared, describe_facts
from icf.pipeline.files import read_json, read_table, write_text
from icf.pipeline.folder import RunFolder
from icf.pipeline.jobs import read_placement
from icf.pipeline.results.charts import Line, draw_confusion, draw_lines
from icf.pipeline.results.class_scores import find_confused_pairs, find_weakest, score_classes, score_counts
from icf.pipeline.results.pictures import read_grid, read_mistakes
from icf.pipeline.training.clock import PARTS
from icf.plan import Plan
from icf.recipe import to_toml

MATRIX_CLASSES = 40
"""With more classes than this, a matrix can't be read; the most confused pairs are shown instead."""

MISTAKES = 12
SKIPPED = 200
"""How many skipped images and corrected labels are listed; data.json lists them all."""

History = dict[str, list[float]]


def write_report(
    plan: Plan,
    folder: RunFolder,
    data: Prepared,
    environment: dict[str, Any],
    seconds: Mapping[str, float],
    warnings: Sequence[str] = (),
) -> Path:
    """Write report.html of a finished run, and return its path.

    ``environment`` is what describe_environment returns; ``seconds`` is the time that each stage took;
    ``warnings`` are shown beside those of the plan, the data and the split.
    The file needs no network and no script.
    """
    metrics = read_json(folder.metrics)
    split = read_json(folder.path / "split.json")
    results = [read_json(folder.fold(fold["fold"]).metrics) for fold in metrics["folds"]]
    content = {
        "plan": plan,
        "folder": folder.path.name,
        "data": data,
        "problem": _describe_problem(plan),
        "summary": _summarise(plan, metrics),
        "scores": _list_scores(plan, metrics),
        "metrics": metrics,
        "folds": _describe_folds(plan, metrics["folds"]),
        "curves": _draw_curves(plan, folder, metrics["folds"]),
        "classes": _describe_classes(metrics, data.classes),
        "mistakes": read_mistakes(folder, data.classes, data.train.cache.source, MISTAKES),
        "grid": read_grid(folder.fold(0).augmented),
        "facts": _list_facts(data),
        "skipped": data.skipped[:SKIPPED],
        "overrides": data.overrides[:SKIPPED],
        "warnings": list(dict.fromkeys([*plan.warnings, *data.warnings, *split["warnings"], *warnings])),
        "split": _describe_split(folder, split),
        "seconds": seconds,
        "fold_times": _add_up_folds(results),
        "compute": _describe_compute(plan, folder, data, results),
        "recipe": to_toml(plan.filled_recipe()),
        "environment": list(flatten(environment)),
    }
    path = folder.path / "report.html"
    text = _load_templates().get_template("report.html.j2").render(content)
    # File names that are no valid UTF-8 come as lone surrogates, which can't be written.
    write_text(path, text.encode(errors="backslashreplace").decode())
    return path


@cache
def _load_templates() -> Environment:
    templates = Environment(
        loader=PackageLoader("icf.pipeline.results", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters |= {"score": format_score, "share": format_share, "duration": format_seconds}
    return templates


def flatten(values: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    """Yield name and text of every value of a nested mapping."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{name}: ")
        elif isinstance(value, list | tuple):
            yield f"{prefix}{name}", ", ".join(map(str, value)) or "none"
        else:
            yield f"{prefix}{name}", "not installed" if value is None else str(value)


def _describe_problem(plan: Plan) -> list[tuple[str, str]]:
    problem = plan.recipe.problem
    lines = [("Input", problem.input), ("Output", problem.output), ("Use", problem.use)]
    return [(name, text) for name, text in lines if text]


def _summarise(plan: Plan, metrics: Mapping[str, Any]) -> list[str]:
    arch = plan.model.params.get("arch")
    model = f"{plan.model.ref} {arch}" if arch else plan.model.ref
    count = len(metrics["folds"])
    return [plan.dataset.ref, model, plan.loss.ref, f"{count} folds" if count > 1 else "1 fold"]


def _list_scores(plan: Plan, metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    test, names = metrics.get("test", {}), shorten_refs(choice.key for choice in plan.metrics)
    return [
        {
            "name": names[choice.key],
            "direction": "higher is better" if choice.maximize else "lower is better",
            "oof": metrics["oof"][choice.key],
            "test": test.get(choice.key),
        }
        for choice in plan.metrics
    ]


def _describe_folds(plan: Plan, folds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    names = [choice.key for choice in plan.metrics]
    columns = {name: [fold["metrics"][name] for fold in folds] for name in names}
    return {
        "names": shorten_refs(names),
        "rows": folds,
        "means": [statistics.fmean(column) for column in columns.values()],
        "spreads": [statistics.stdev(column) if len(column) > 1 else math.nan for column in columns.values()],
    }


def _read_history(path: Path) -> History:
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {name: [float(row[name]) for row in rows] for name in (rows[0] if rows else {})}


def _draw_curves(plan: Plan, folder: RunFolder, folds: Sequence[Mapping[str, Any]]) -> list[str]:
    losses, scores = [], []
    key = plan.metrics[0].key
    name = shorten_refs(choice.key for choice in plan.metrics)[key]
    for fold in folds:
        history = _read_history(folder.fold(fold["fold"]).history)
        epochs = [epoch + 1 for epoch in history["epoch"]]
        label, colour, best = f"fold {fold['fold']}", fold["fold"], fold["best_epoch"]
        losses.append(Line(epochs, history["train_loss"], colour=colour, dashed=True))
        losses.append(Line(epochs, history["val_loss"], label, colour, mark=best))
        scores.append(Line(epochs, history[key], label, colour, mark=best))
    loss_chart = draw_lines(losses, title="loss per epoch", x_label="epoch", y_label="loss")
    return [loss_chart, draw_lines(scores, title=f"{name} per epoch", x_label="epoch", y_label=name)]


def _describe_classes(metrics: Mapping[str, Any], classes: Sequence[str]) -> dict[str, Any]:
    many = len(classes) > MATRIX_CLASSES
    if "labels" in metrics:
        scores = score_counts(classes, **{name: np.asarray(counts) for name, counts in metrics["labels"].items()})
        weakest = find_weakest(scores, 10 if many else max(1, min(5, len(classes) // 4)))
        return {"scores": scores, "many": many, "weakest": weakest, "matrix": None, "pairs": None}
    confusion = np.asarray(metrics["confusion"], dtype=np.int64)
    scores = score_classes(confusion, classes)
    return {
        "scores": scores,
        "many": many,
        "weakest": find_weakest(scores, 10 if many else max(1, min(5, len(classes) // 4))),
        "matrix": None if many else draw_confusion(confusion.tolist(), classes),
        "pairs": find_confused_pairs(confusion, classes, 30 if many else 5),
    }


def _add_up_folds(results: Sequence[Mapping[str, Any]]) -> list[tuple[str, float]]:
    """Return what each part of training took, in seconds of all folds together, in the order of PARTS."""
    seconds = [result["seconds"] for result in results]
    return [(text, sum(fold.get(part, 0.0) for fold in seconds)) for part, text in PARTS.items()]


def _describe_compute(
    plan: Plan, folder: RunFolder, data: Prepared, results: Sequence[Mapping[str, Any]]
) -> list[tuple[str, str]]:
    placed = read_placement(folder.placement)
    assert placed is not None  # noqa: S101 - for the type checker: this run has written it
    last = f" (the last fold {placed.fold_threads[-1]})" if placed.fold_threads else ""
    lines = [
        ("executor", f"{placed.executor}: {placed.reason}"),
        ("folds", f"{placed.concurrent} at a time, {format_count(placed.threads, 'thread')} each{last}"),
        ("device", placed.device),
        ("number format", ", ".join(sorted({result["precision"] for result in results}))),
        ("memory format", placed.memory_format.replace("auto", "channels-last")),
        ("batches", results[0]["prefetch"]),
        ("predictions", results[0]["prediction"]),
        ("views", _describe_views(plan)),
        ("torch.compile", results[0]["compiler"]),
    ]
    return [*lines, ("decoded pixels", _describe_pixels(data))]


def _describe_views(plan: Plan) -> str:
    if not plan.views:
        return "the plain image"
    return f"plain, {', '.join(view.key for view in plan.views)}; averaged as {plan.recipe.inference.average}"


def _describe_pixels(data: Prepared) -> str:
    paths = [rows.cache.path for rows in (data.train, data.test) if rows is not None]
    if None in paths:
        return "not stored: decoded in every epoch"
    size = sum(path.stat().st_size for path in paths if path is not None and path.exists())
    return f"{size / 2**20:,.0f} MB, read by all folds"


def _list_facts(data: Prepared) -> list[tuple[str, str]]:
    facts = {**describe_facts(data), "resizing": data.preprocessing.resize, "weights": data.weights}
    shown = ((name, value) for name, value in facts.items() if value is not None)
    return [(name, f"{value:,}" if isinstance(value, int) else str(value)) for name, value in shown]


def _describe_split(folder: RunFolder, split: Mapping[str, Any]) -> dict[str, Any]:
    return {**split, "train_only": int((read_table(folder.split)["fold"] < 0).sum())}
