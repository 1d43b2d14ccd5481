"""Stage "ensemble": folds' probabilities become those of the run, with a score that is honest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from icf.components import EnsemblerContext, FloatArray, IntArray, TargetKind
from icf.pipeline.data.attributes import read_attributes
from icf.pipeline.data.labels import kind_of, read_columns, write_columns
from icf.pipeline.files import read_json, read_probabilities, read_table, write_json, write_probabilities
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
    by_id: dict[str, FloatArray] = {}
    for fold in range(folds):
        ids, probabilities = read_probabilities(folder.fold(fold).oof, classes)
        by_id.update(zip(ids, probabilities, strict=True))
    rows = [row for row, name in enumerate(split["id"]) if name in by_id]
    ids = [split["id"][row] for row in rows]
    oof = np.stack([by_id[name] for name in ids])
    targets = read_columns(split, classes)[rows]
    extra = {**write_columns(targets, classes), "fold": split["fold"][rows]}
    write_probabilities(folder.path / "oof.parquet", ids, classes, oof, **extra)
    return oof, targets, [split["group"][row] for row in rows]


def join_test(plan: Plan, folder: RunFolder, folds: int, classes: Sequence[str], kind: TargetKind) -> FloatArray | None:
    """Write test.parquet from the folds' votes; None when there are no test rows."""
    if not folder.test_rows.exists():
        return None
    members = [read_probabilities(folder.fold(fold).test, classes) for fold in range(folds)]
    test = combine(plan, [probabilities for _, probabilities in members], kind)
    write_probabilities(folder.path / "test.parquet", members[0][0], classes, test)
    return test
