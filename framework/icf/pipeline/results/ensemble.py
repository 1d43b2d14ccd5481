"""Stage "ensemble": folds' probabilities become those of the run, with a score that is honest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from icf.components import EnsemblerContext, FloatArray, IntArray, TargetKind
from icf.pipeline.data.attributes import read_attributes
from icf.pipeline.data.labels import kind_of, read_columns, write_columns
from icf.pipeline.files import (
    count_part_rows,
    make_table,
    read_json,
    read_parts,
    read_table,
    write_json,
    write_probabilities,
)
from icf.pipeline.folder import RunFolder
from icf.pipeline.results.products import combine_members
from icf.pipeline.results.score import bootstrap, build_metrics, count_confusion, describe_bootstrap
from icf.pipeline.seeds import Purpose, derive_seed
from icf.plan import Plan


def combine(plan: Plan, members: Sequence[FloatArray], kind: TargetKind) -> FloatArray:
    """Return the ensembler's probabilities, float64 [N, K], from one array [N, K] per member."""
    seed = derive_seed(plan.recipe.train.seed, Purpose.ENSEMBLE)
    context = EnsemblerContext(num_classes=members[0].shape[1], targets=kind, seed=seed)
    return combine_members(plan.ensembler, context, np.stack(members))


def ensemble(plan: Plan, folder: RunFolder, folds: int, classes: Sequence[str]) -> None:
    """Write oof.parquet, test.parquet, ensemble.json and metrics.json."""
    oof, targets, groups = join_oof(folder, folds, classes)
    test = join_test(plan, folder, folds, classes, kind_of(targets))
    record = {"ensembler": plan.ensembler.ref, "params": plan.ensembler.params, "members": folds}
    write_json(folder.path / "ensemble.json", record)
    functions = build_metrics(plan, read_attributes(read_json(folder.data)["attributes"]))
    seed = derive_seed(plan.recipe.train.seed, Purpose.BOOTSTRAP)
    scores = bootstrap(functions, oof, targets, groups, seed)
    fold_results = [_read_result(folder, fold) for fold in range(folds)]
    grouped = len(set(groups)) < len(groups)
    metrics: dict[str, Any] = {
        "select": plan.metrics[0].key,
        "oof": {name: score.to_json() for name, score in scores.items()},
        "rows": len(targets),
        "interval": describe_bootstrap(len(targets), len(classes), grouped=grouped),
        "folds": fold_results,
        **_count_predictions(oof, targets, len(classes)),
    }
    if test is not None and (labels := read_columns(read_table(folder.test_rows), classes)).min() >= 0:
        test_scores = bootstrap(functions, test, labels, None, seed)
        metrics["test"] = {name: score.to_json() for name, score in test_scores.items()}
    write_json(folder.metrics, metrics)


def _count_predictions(oof: FloatArray, targets: IntArray, num_classes: int) -> dict[str, Any]:
    """Return the confusion matrix of classes, or counts for each label, which is predicted from one half on."""
    if targets.ndim == 1:
        return {"confusion": count_confusion(oof, targets, num_classes).tolist()}
    predicted = oof >= 0.5
    counts = {"found": (predicted & (targets == 1)).sum(axis=0), "rows": targets.sum(axis=0)}
    return {"labels": {name: found.tolist() for name, found in (*counts.items(), ("predicted", predicted.sum(axis=0)))}}


def _read_result(folder: RunFolder, fold: int) -> dict[str, Any]:
    """Return a fold's result without what was measured: the run's scores are equal when a run is repeated."""
    result: dict[str, Any] = read_json(folder.fold(fold).metrics)
    return {
        name: value for name, value in result.items() if name not in {"seconds", "prefetch", "prediction", "compiler"}
    }


def join_oof(folder: RunFolder, folds: int, classes: Sequence[str]) -> tuple[FloatArray, Any, list[str]]:
    """Write oof.parquet in the split's order; return probabilities, targets and groups of validated rows."""
    split = read_table(folder.split)
    place = {name: row for row, name in enumerate(split["id"])}
    paths = [folder.fold(fold).oof for fold in range(folds)]
    places = [np.array([place[name] for name in read_table(path, ["id"])["id"]], np.int64) for path in paths]
    rows = np.unique(np.concatenate(places))
    oof = make_table(len(rows), len(classes), folder.path)
    for path, chosen in zip(paths, places, strict=True):
        start = 0
        for part in read_parts(path, classes):
            oof[np.searchsorted(rows, chosen[start : start + len(part)])] = part
            start += len(part)
    ids, targets = [split["id"][row] for row in rows.tolist()], read_columns(split, classes)[rows]
    extra = {**write_columns(targets, classes), "fold": split["fold"][rows]}
    write_probabilities(folder.path / "oof.parquet", ids, classes, oof, **extra)
    return oof, targets, [split["group"][row] for row in rows.tolist()]


def join_test(plan: Plan, folder: RunFolder, folds: int, classes: Sequence[str], kind: TargetKind) -> FloatArray | None:
    """Write test.parquet from the folds' votes, part by part; None when there are no test rows."""
    if not folder.test_rows.exists():
        return None
    paths = [folder.fold(fold).test for fold in range(folds)]
    ids = read_table(paths[0], ["id"])["id"]
    test, start = make_table(len(ids), len(classes), folder.path), 0
    rows = count_part_rows(folds * len(classes))
    for members in zip(*(read_parts(path, classes, rows) for path in paths), strict=True):
        test[start : start + len(members[0])] = combine(plan, members, kind)
        start += len(members[0])
    write_probabilities(folder.path / "test.parquet", ids, classes, test)
    return test
