"""The whole run, top to bottom: prepare, split, embed (with frozen layers), fit, ensemble, submission, report."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from icf.errors import FailedFoldsError
from icf.events import RunEnd, RunStart
from icf.local import restore_local_plugins
from icf.pipeline.data.labels import kind_of
from icf.pipeline.data.prepare import Prepared, describe_facts, prepare, save_prepared
from icf.pipeline.data.split import Split, make_split, save_split
from icf.pipeline.data.stored_images import describe_source
from icf.pipeline.environment import describe_environment
from icf.pipeline.failures import describe_failures, try_folds
from icf.pipeline.files import digest, read_json, write_json
from icf.pipeline.folder import RunFolder, open_run_folder
from icf.pipeline.frozen.embed import save_embeddings, wants_embeddings
from icf.pipeline.frozen.embeddings import EmbeddingFiles, read_embedding_files
from icf.pipeline.jobs import FoldJob, Place, Placement, Prediction, Workload, read_placement
from icf.pipeline.listener import Listener, RunResult
from icf.pipeline.lock import hold
from icf.pipeline.mirror import RunMirror, find_store, list_runs, open_fold_mirror
from icf.pipeline.pixels.lease import use
from icf.pipeline.results.ensemble import ensemble
from icf.pipeline.results.report import write_report
from icf.pipeline.results.submission import write_submission
from icf.pipeline.training.observers import Observers
from icf.pipeline.training.trial import try_components
from icf.plan import Plan


@dataclass
class _Run:
    plan: Plan
    folder: RunFolder
    listener: Listener
    retry: bool
    mirror: RunMirror | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[dict[str, Any]]:
        """Time a stage and tell the listener; the block puts "skipped" and "detail" into what it is given."""
        self.listener.stage_started(name)
        started = time.monotonic()
        outcome: dict[str, Any] = {"skipped": False, "detail": ""}
        yield outcome
        self.seconds[name] = time.monotonic() - started
        self.listener.stage_ended(name, self.seconds[name], **outcome)

    def progress(self, what: str, done: int, total: int) -> None:
        """Pass decoding progress on."""
        self.listener.stage_progress("prepare", what, done, total)

    def warn(self, text: str) -> None:
        """Tell something that the report shows, too."""
        self.warnings.append(text)
        self.listener.warn(text)


def run_pipeline(
    plan: Plan, runs: Path, place: Place, listener: Listener, *, fresh: bool = False, retry: bool = False
) -> RunResult:
    """Run a plan, or continue it, in its folder below compute.storage or ``runs``; a complete stage is skipped.

    Where compute.storage is an address, the folder is below ``runs``, and has a copy there that any machine continues.

    Folds that failed are left alone unless ``retry`` is true: they would mostly fail again.

    Raises:
        IcfError: bad data, a component that can't be used, or another run in the same folder; before training.
        FailedFoldsError: folds that did not finish; the others are kept and need not be trained again.
    """
    started = time.monotonic()
    restore_local_plugins(plan.local_plugins)
    for choice in plan.choices():
        choice.resolve()
    store = find_store(plan.recipe.compute.storage)
    home = runs if store else Path(plan.recipe.compute.storage or runs)
    stored = list_runs(store, plan.name) if store else ()
    folder = open_run_folder(plan, home, fresh=fresh, retry=retry, stored=stored)
    mirror = RunMirror(store, folder) if store else None
    with hold(folder):
        if mirror:
            mirror.restore(replace=False)
        result = _run_stages(_Run(plan, folder, listener, retry, mirror), place, started)
        if mirror:
            mirror.publish(finished=True)
        return result


def _run_stages(run: _Run, place: Place, started: float) -> RunResult:
    plan, folder, listener = run.plan, run.folder, run.listener
    listener.run_opened(plan, folder.path, continued=(folder.path / "stages").exists())
    write_json(folder.path / "environment.json", describe_environment())
    data = _prepare(run)
    split = _split(run, data)
    try_components(plan, data.classes, data.attributes, split.count, data.preprocessing, kind_of(data.train.targets))
    notes = data.notes
    observers = Observers(plan.observers, listener.warn)
    observers.tell(
        RunStart(
            run_dir=folder.path,
            recipe=plan.name,
            folds=split.count,
            epochs=plan.recipe.train.epochs,
            classes=data.classes,
            notes=notes,
        )
    )
    with contextlib.ExitStack() as leases:  # other processes could take the room of embeddings
        keys = _fit(run, data, split, _embed(run, data, split, leases), place, observers)
    _ensemble(run, data, split, keys)
    submission = _submit(run, data)
    report = _report(run, data, [*run.warnings, *observers.warnings])
    metrics = read_json(folder.metrics)
    dropped = len(observers.warnings)
    _tell_end(run, data, metrics, observers)
    if len(observers.warnings) > dropped:  # the report was there for observers of the end to read
        report = _report(run, data, [*run.warnings, *observers.warnings])
    result = RunResult(
        run_dir=folder.path,
        metrics=metrics,
        notes=notes,
        warnings=(*plan.warnings, *data.warnings, *split.warnings, *run.warnings, *observers.warnings),
        skipped=len(data.skipped),
        submission=submission,
        report=report,
        seconds=time.monotonic() - started,
        stages=run.seconds,
    )
    listener.run_ended(result)
    return result


def _prepare(run: _Run) -> Prepared:
    with run.stage("prepare") as outcome:
        data = prepare(run.plan, run.progress)
        caches = [describe_source(rows.cache) for rows in (data.train, data.test) if rows is not None]
        products = [run.folder.data] if data.test is None else [run.folder.data, run.folder.test_rows]
        outcome["skipped"] = not run.folder.run_stage(
            "prepare", digest(data.key, caches), products, lambda: _save(run, data)
        )
        outcome["detail"] = f"{len(data.train):,} training rows, {len(data.classes)} classes"
    run.listener.data_ready(describe_facts(data), data.notes, (*run.plan.warnings, *data.warnings))
    return data


def _save(run: _Run, data: Prepared) -> None:
    if data.test is None:  # an earlier start may have had test rows
        run.folder.test_rows.unlink(missing_ok=True)
        (run.folder.path / "test.parquet").unlink(missing_ok=True)
    save_prepared(data, run.folder)


def _split(run: _Run, data: Prepared) -> Split:
    recipe = run.plan.recipe
    with run.stage("split") as outcome:
        split = make_split(recipe.split, data.train, data.classes, recipe.train.seed)
        outcome["skipped"] = not run.folder.run_stage(
            "split", digest(data.key, split.hash), [run.folder.split], lambda: save_split(split, data.train, run.folder)
        )
        outcome["detail"] = f"{split.method}, {split.count} folds, {split.hash}"
    for warning in split.warnings:
        run.listener.warn(warning)
    return split


def _embed(run: _Run, data: Prepared, split: Split, leases: contextlib.ExitStack) -> EmbeddingFiles | None:
    folder = run.folder
    if not wants_embeddings(run.plan):
        folder.embeddings.unlink(missing_ok=True)
        return None
    with run.stage("embed") as outcome:
        earlier = read_embedding_files(folder)
        for path in earlier.paths if earlier else []:
            with contextlib.suppress(FileNotFoundError):  # it is made again
                leases.enter_context(use(path))

        def progress(what: str, done: int, total: int) -> None:
            run.listener.stage_progress("embed", what, done, total)

        outcome["skipped"] = not folder.run_stage(
            "embed",
            digest(run.plan.identity, data.key, split.count),
            [folder.embeddings, *(earlier.paths if earlier else [])],
            lambda: save_embeddings(run.plan, data, split.count, folder, leases, progress),
        )
        files = read_embedding_files(folder)
        if files:
            fused = ", batch normalisation fused" * files.fused
            outcome["detail"] = f"{len(files.paths)} arrays of {files.dtype} [{files.length:,}] for each image{fused}"
    reason = read_json(folder.embeddings)["reason"]
    if reason:
        run.warn(f"the frozen layers run in every step: {reason}")
    return files


def _fit(
    run: _Run, data: Prepared, split: Split, embeddings: EmbeddingFiles | None, place: Place, observers: Observers
) -> list[str]:
    with run.stage("fit") as outcome:
        placement, executor = place(run.plan, _measure_workload(run, data, split, embeddings))
        if placement.precision == "auto":
            placement = replace(placement, precision=run.plan.recipe.compute.precision)
        if placement.memory_format == "auto":
            placement = replace(placement, memory_format=run.plan.recipe.compute.memory_format)
        if placement.prediction is None:
            placement = replace(placement, prediction=Prediction.of_recipe(run.plan.recipe.inference))
        if run.plan.recipe.compute.compile == "on":
            placement = replace(placement, compiled=True)
        source = digest(split.hash, embeddings.key) if embeddings else split.hash
        jobs = [_make_job(run, data, source, fold, placement) for fold in range(split.count)]
        for mirror in filter(None, map(open_fold_mirror, jobs)):
            mirror.fetch_finished()
        done = [j.fold for j in jobs if run.folder.is_done(f"fold-{j.fold}", j.key, j.products)]
        write_json(run.folder.placement, asdict(placement))
        run.listener.folds_placed(placement, split.count, done)
        waiting = [job for job in jobs if job.fold not in done]
        if waiting:  # the run is not finished until it is scored again
            run.folder.metrics.unlink(missing_ok=True)
            if run.mirror:
                run.mirror.publish(finished=False)
        failed = try_folds(executor, jobs, waiting, observers, run.listener, retry=run.retry)
        outcome["skipped"] = not waiting
        outcome["detail"] = f"{len(done)} of {split.count} folds done before" if done and waiting else ""
        if failed:
            lasting = any(not failure.passing for failure in failed.values())
            raise FailedFoldsError(describe_failures(failed, split.count), lasting=lasting)
    return [job.key for job in jobs]


def _measure_workload(run: _Run, data: Prepared, split: Split, embeddings: EmbeddingFiles | None) -> Workload:
    heads_only = embeddings is not None and run.plan.recipe.model.freeze == "backbone"
    per_epoch = split.count * len(split.folds) - int((split.folds >= 0).sum())
    return Workload(
        folds=split.count,
        images=0 if heads_only else per_epoch * run.plan.recipe.train.epochs,
        num_classes=len(data.classes),
        preprocessing=data.preprocessing,
        output=data.output,
        earlier=read_placement(run.folder.placement),
    )


def _make_job(run: _Run, data: Prepared, source: str, fold: int, placement: Placement) -> FoldJob:
    threads, device, precision = placement.threads_of(fold), placement.device, placement.precision
    prediction, compiled, memory_format = placement.prediction, placement.compiled, placement.memory_format
    computing = (threads, device, precision, str(prediction), compiled, memory_format)
    return FoldJob(
        plan=run.plan,
        run_dir=run.folder.path,
        fold=fold,
        threads=threads,
        key=digest(run.plan.identity, data.key, source, fold, *computing),
        concurrent=placement.concurrent * placement.workers,
        precision=precision,
        prediction=prediction,
        compiled=compiled,
        device=device,
        memory_format=memory_format,
    )


def _ensemble(run: _Run, data: Prepared, split: Split, keys: list[str]) -> None:
    products = [run.folder.metrics, run.folder.path / "oof.parquet", run.folder.path / "ensemble.json"]
    if data.test is not None:
        products.append(run.folder.path / "test.parquet")
    with run.stage("ensemble") as outcome:
        outcome["skipped"] = not run.folder.run_stage(
            "ensemble",
            digest(keys),
            products,
            lambda: ensemble(run.plan, run.folder, split.count, data.classes),
        )
        outcome["detail"] = f"{run.plan.ensembler.ref} of {split.count} folds"


def _submit(run: _Run, data: Prepared) -> Path | None:
    if data.test is None:
        return None
    with run.stage("submission") as outcome:
        path = write_submission(run.folder, data.submission, data.classes, kind_of(data.train.targets))
        outcome["detail"] = f"{len(data.test):,} rows"
    return path


def _report(run: _Run, data: Prepared, warnings: Sequence[str]) -> Path:
    with run.stage("report"):
        environment = read_json(run.folder.path / "environment.json")
        return write_report(run.plan, run.folder, data, environment, dict(run.seconds), warnings)


def _tell_end(run: _Run, data: Prepared, metrics: dict[str, Any], observers: Observers) -> None:
    recipe = run.plan.recipe
    hyperparameters: dict[str, str | int | float | bool] = {
        "model": run.plan.model.ref,
        "loss": run.plan.loss.ref,
        "optimizer": run.plan.optimizer.ref,
        "scheduler": run.plan.scheduler.ref,
        "epochs": recipe.train.epochs,
        "batch_size": recipe.train.batch_size,
        "seed": recipe.train.seed,
    }
    for name in ("model", "loss", "optimizer", "scheduler"):
        for key, value in getattr(run.plan, name).params.items():
            if isinstance(value, str | int | float | bool):
                hyperparameters[f"{name}.{key}"] = value
    observers.tell(
        RunEnd(
            run_dir=run.folder.path,
            metrics={name: score["value"] for name, score in metrics["oof"].items()},
            confusion=tuple(tuple(row) for row in metrics.get("confusion", ())),
            classes=data.classes,
            hyperparameters=hyperparameters,
        )
    )
