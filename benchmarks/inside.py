"""A fold of a recipe in this process, ready to train, through icf's own stages."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from icf.pipeline.data.prepare import Prepared, prepare, save_prepared
from icf.pipeline.data.split import make_split, save_split
from icf.pipeline.folder import open_run_folder
from icf.pipeline.jobs import FoldJob
from icf.pipeline.training.team import Team
from icf.pipeline.training.trainer import Trainer, build_trainer
from icf.plan import Plan, load_plan


def open_plan(recipe: Path, plugins: Sequence[Path], overrides: Sequence[str] = ()) -> Plan:
    """Return the plan of a recipe, with its components imported."""
    plan = load_plan(recipe, list(overrides), [], list(plugins))
    for choice in plan.choices():
        choice.resolve()
    return plan


def prepare_data(plan: Plan) -> Prepared:
    """Decode what is not in the cache yet."""
    return prepare(plan, lambda _what, _done, _total: None)


def make_job(plan: Plan, data: Prepared, runs: Path, threads: int) -> FoldJob:
    """Do the stages before training; return the job of fold 0."""
    folder = open_run_folder(plan, runs)
    save_prepared(data, folder)
    split = make_split(plan.recipe.split, data.train, data.classes, plan.recipe.train.seed)
    save_split(split, data.train, folder)
    compute = plan.recipe.compute
    precision, memory_format = compute.precision, compute.memory_format
    return FoldJob(plan, folder.path, 0, threads, "benchmark", precision=precision, memory_format=memory_format)


def open_trainer(job: FoldJob) -> Trainer:
    """Return what trains the fold, with one rank."""
    return build_trainer(job, Team())
