"""Every field of descriptors, contexts, contents and events holds the truth, or does what its docstring says.

One run of a plugin that offers every kind of component, and writes down what icf gives it. A field without a line in
TRUTHS fails the last test.
"""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import distributions
import icf
from icf.cli.main import main
from icf.local import read_local_plugins
from icf.pipeline.data.prepare import prepare
from icf.pipeline.files import read_json, read_table
from icf.pipeline.listener import Listener, RunResult
from icf.pipeline.predict import predict_images
from icf.pipeline.run import run_pipeline
from icf.pipeline.seeds import Purpose, derive_seed
from icf.plan import Plan, load_plan
from icf.plugins import load_plugins
from icf.testing import CheckFailure, list_checks
from training import place_inline

PROBE = """
    import icf
    from pydantic import Field

    class LossParams(icf.Params):
        weight: float = Field(default=2.0, description="Factor of the loss")

    def offer(cls, **more):
        return cls(name=cls.kind, factory=f"probe_parts:build_{cls.kind}", summary="A probe", **more)

    @icf.hookimpl
    def icf_datasets():
        yield offer(icf.Dataset)

    @icf.hookimpl
    def icf_models():
        yield offer(icf.Model, inspect="probe_parts:inspect_model", local_code=True)

    @icf.hookimpl
    def icf_losses():
        origin = {"source": "a paper", "reference": "a formula", "targets": ("classes", "labels")}
        examples = ({"weight": 3.0},)
        yield offer(icf.Loss, params=LossParams, deprecated="use another", examples=examples, **origin)

    @icf.hookimpl
    def icf_schedulers():
        yield offer(icf.Scheduler)

    @icf.hookimpl
    def icf_metrics():
        yield offer(icf.Metric, maximize=False)
        negative = {"factory": "probe_parts:build_negative", "summary": "Always -0.5"}
        yield icf.Metric(name="wide", bounds=(-1.0, 1.0), **negative)
        yield icf.Metric(name="narrow", **negative)
        yield icf.Metric(name="lying", bounds=(-1.0, 1.0), reference="sklearn.metrics.accuracy_score", **negative)

    @icf.hookimpl
    def icf_ensemblers():
        yield offer(icf.Ensembler)

    @icf.hookimpl
    def icf_transforms():
        yield offer(icf.Transform)

    @icf.hookimpl
    def icf_mixers():
        yield offer(icf.Mixer)

    @icf.hookimpl
    def icf_optimizers():
        yield offer(icf.Optimizer)

    @icf.hookimpl
    def icf_samplers():
        yield offer(icf.Sampler)

    def note(event):
        from probe_parts import events

        events.append(event)

    @icf.hookimpl
    def icf_run_start(event):
        note(event)

    @icf.hookimpl
    def icf_fold_start(event):
        note(event)

    @icf.hookimpl
    def icf_epoch_end(event):
        note(event)

    @icf.hookimpl
    def icf_fold_end(event):
        note(event)

    @icf.hookimpl
    def icf_run_end(event):
        note(event)
"""

PARTS = """
    from collections import defaultdict
    from itertools import count
    from types import SimpleNamespace

    import numpy as np
    import torch
    from torch import nn

    import icf

    contexts = defaultdict(list)
    events = []
    params_seen = []
    groups_seen = []
    levels_seen = set()
    mixed_seen = []
    inputs_seen = set()
    compared = []
    calls = count()

    ROWS = 40
    BOX = [1, 0, 7, 9]
    TARGETS = np.array([0, 0, 0, 1] * 10)
    LEVELS = np.array([40, 200])
    FOLDS = np.arange(ROWS) // 2 % 2
    SCORED = np.ones(ROWS, bool)

    def draw(targets):
        levels = LEVELS[targets].astype(np.uint8)[:, None, None, None]
        images = np.broadcast_to(levels, (len(targets), 9, 7, 3)).copy()
        images[:, :, 0] = 255  # outside of the boxes
        return images

    def build_dataset(params, ctx):
        contexts["dataset"].append(ctx)
        train = icf.Samples(
            ids=[f"row{row}" for row in range(ROWS)],
            images=draw(TARGETS),
            targets=TARGETS,
            groups=[f"person{row // 2}" for row in range(ROWS)],
            folds=FOLDS,
            boxes=np.tile(BOX, (ROWS, 1)),
            scored=SCORED,
            numbers={"brightness": LEVELS[TARGETS].astype(float)},
        )
        test = icf.Samples(ids=["t0", "t1"], images=draw(np.array([0, 1])), boxes=np.tile(BOX, (2, 1)))
        form = icf.SubmissionFormat(id_column="ImageID", columns=("ans",), ids=("t1", "t0", "t1"), values=(10, 20))
        return icf.DatasetContent(
            classes=("low", "high"),
            train=train,
            test=test,
            submission=form,
            attributes=(icf.Attribute(name="brightness", values=("dark", "light"), ordered=True, starts=(100.0,)),),
            class_values=np.array([[0], [1]]),
            notes=("made up",),
        )

    def inspect_model(params, ctx):
        contexts["inspect"].append(ctx)
        return icf.ModelInfo(mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6), image_size=(6, 8), weights="from a probe")

    def build_model(params, ctx):
        contexts["model"].append(ctx)
        network = nn.Sequential(nn.Flatten(), nn.Linear(ctx.channels * 6 * 8, ctx.num_classes))
        network.register_forward_pre_hook(look_at_inputs)
        return network

    def look_at_inputs(network, inputs):
        if network.training:
            first_channel = inputs[0][:, 0] * 0.4 + 0.1
            inputs_seen.update(first_channel.mul(255).round().unique().tolist())

    def build_loss(params, ctx):
        contexts["loss"].append(ctx)
        params_seen.append(params)
        return RecordingLoss()

    class RecordingLoss(nn.CrossEntropyLoss):
        def forward(self, logits, targets):
            loss = super().forward(logits, targets)
            if loss.requires_grad:
                compared.append((targets.tolist(), loss.item()))
            return loss

    def build_optimizer(params, ctx):
        contexts["optimizer"].append(ctx)
        groups_seen.append([{**group, "params": len(group["params"])} for group in ctx.parameter_groups])
        return torch.optim.SGD(ctx.parameter_groups, lr=0.01)

    def build_scheduler(params, ctx):
        contexts["scheduler"].append(ctx)

        def ignore(*values):
            return {}

        return SimpleNamespace(factor=lambda step: 1.0, observe=ignore, state_dict=ignore, load_state_dict=ignore)

    def build_sampler(params, ctx):
        contexts["sampler"].append(ctx)
        return lambda epoch: np.arange(len(ctx.targets))[: len(ctx.targets) // 2]

    def build_transform(params, ctx):
        contexts["transform"].append(ctx)

        def look(images, generator):
            levels_seen.update(images.unique().tolist())
            return images

        return look

    def build_mixer(params, ctx):
        contexts["mixer"].append(ctx)

        def replace(images, targets, generator):
            partners = targets.argsort().flip(0)
            mixed_seen.append((targets.tolist(), targets[partners].tolist()))
            return icf.Mixed(images=torch.full_like(images, 77), partners=partners, weight=0.25)

        return replace

    def build_metric(params, ctx):
        contexts["metric"].append(ctx)
        return lambda probabilities, targets: float(next(calls))

    def build_negative(params, ctx):
        return lambda probabilities, targets: -0.5

    def build_ensembler(params, ctx):
        contexts["ensembler"].append(ctx)
        return SimpleNamespace(fit=lambda members, targets: None, combine=lambda members: members.mean(axis=0))
"""

RECIPE = """
observers = ["probe"]
dataset = "probe/dataset"
model = "probe/model"
loss = "probe/loss"
optimizer = "probe/optimizer"
scheduler = "probe/scheduler"
sampler = "probe/sampler"
ensemble = "probe/ensembler"
[split]
method = "predefined"
duplicates = "allow"
[transforms]
train = ["probe/transform"]
mix = ["probe/mixer"]
unmixed_epochs = 1
[metrics]
select = "probe/metric"
report = ["metric/accuracy"]
[train]
epochs = 2
batch_size = 4
seed = 7
[compute]
executor = "inline"
device = "cpu"
precision = "fp32"
threads = 1
"""
FOLDS = 2
SEED = 7


@dataclass
class World:
    """What the run has left behind."""

    result: RunResult
    cache: Path
    parts: ModuleType
    described: str
    checks: dict[str, list[Any]] = field(default_factory=dict)

    def __getattr__(self, name: str) -> Any:
        """Return a list of contexts, such as ``world.loss``, or of events, such as ``world.EpochEnd``."""
        if name[0].isupper():
            return [event for event in self.parts.events if type(event).__name__ == name]
        return self.parts.contexts[name]

    def note_external(self) -> str:
        """Prepare the data once more, with two rows that are not to be scored; return the notes."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("ICF_CACHE", str(self.cache))
            patch.setattr(self.parts, "SCORED", np.arange(self.parts.ROWS) > 1)
            return "\n".join(prepare(self.plan, lambda _what, _done, _total: None).notes)

    @property
    def plan(self) -> Plan:
        return Plan.from_json((self.run / "plan.json").read_text())

    @property
    def run(self) -> Path:
        return self.result.run_dir

    @property
    def data(self) -> dict[str, Any]:
        found: dict[str, Any] = read_json(self.run / "data.json")
        return found

    @property
    def submission(self) -> list[list[str]]:
        return list(csv.reader((self.run / "submission.csv").open()))

    def table(self, name: str) -> dict[str, Any]:
        return read_table(self.run / name)

    def training(self, kind: str) -> list[Any]:
        """Contexts of the folds' own components, in the order of folds."""
        return self.parts.contexts[kind][:FOLDS]

    def counts(self) -> list[list[int]]:
        """Training rows of each class, fold by fold."""
        parts = self.parts
        return [np.bincount(parts.TARGETS[fold != parts.FOLDS], minlength=2).tolist() for fold in range(FOLDS)]

    def history(self, key: str) -> list[float]:
        rows = [row for fold in range(FOLDS) for row in csv.DictReader((self.run / f"folds/{fold}/history.csv").open())]
        return [float(row[key]) for row in rows]

    def fold_metrics(self, fold: int) -> dict[str, Any]:
        found: dict[str, Any] = read_json(self.run / f"folds/{fold}/metrics.json")
        return found

    def mixed_steps(self) -> list[tuple[Any, Any]]:
        """Return, for each step of the first fold's first epoch, what the loss was asked: own targets, partners'."""
        steps = self.scheduler[0].steps_per_epoch
        calls = self.parts.compared[: 2 * steps]
        return list(zip(calls[::2], calls[1::2], strict=True))

    def fails(self, check: str) -> bool:
        """Tell whether a check of the conformance kit fails."""
        [bound] = self.checks[check]
        try:
            bound(self.cache)
        except CheckFailure:
            return True
        return False


class Silent(Listener):
    """Listens, and says nothing."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("fields")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ICF_CACHE", str(folder / "cache"))
        (folder / "cache").mkdir()
        installer = distributions.Installer(folder / "site", patch)
        installer.install("probe-dist", {"probe": PROBE, "probe_parts": PARTS}, entry_points={"probe": "probe"})
        recipe = folder / "fields.toml"
        recipe.write_text(RECIPE)
        code = folder / "team"
        code.mkdir()
        (code / "model.py").write_text("LAYERS = 3\n")
        result = run_pipeline(load_plan(recipe, plugin_files=[code]), folder / "runs", place_inline, Silent())
        import probe_parts  # type: ignore[import-not-found]

        boxes = np.array([probe_parts.BOX])
        predict_images(result.run_dir, probe_parts.draw(np.array([0])), read_local_plugins([code]), boxes)
        with pytest.MonkeyPatch.context() as inner:
            lines: list[str] = []
            inner.setattr("builtins.print", lambda *words, **_: lines.append(" ".join(map(str, words))))
            main(["describe", "probe/loss"])
        [plugin] = load_plugins(only=["probe"]).plugins
        found = World(result, folder / "cache", probe_parts, "\n".join(lines))
        for bound in list_checks(plugin):
            found.checks.setdefault(bound.id, []).append(bound)
        yield found
        installer.forget()


def seeds(purpose: Purpose) -> list[int]:
    return [derive_seed(SEED, purpose, fold) for fold in range(FOLDS)]


def all_equal(items: list[Any], name: str, value: Any) -> bool:
    return bool(items) and all(getattr(item, name) == value for item in items)


def of_folds(items: list[Any], name: str) -> list[Any]:
    return [getattr(item, name) for item in items]


TRUTHS: dict[str, Callable[[World], bool]] = {
    # Descriptors
    "Component.name": lambda w: read_json(w.run / "plan.json")["loss"]["ref"] == "probe/loss",
    "Component.factory": lambda w: read_json(w.run / "plan.json")["loss"]["factory"] == "probe_parts:build_loss",
    "Component.summary": lambda w: "A probe" in w.described,
    "Component.params": lambda w: {params.weight for params in w.parts.params_seen} == {2.0},
    "Component.source": lambda w: "source: a paper" in w.described,
    "Component.reference": lambda w: w.fails("metric/lying:reference") and "tested against: a formula" in w.described,
    "Component.deprecated": lambda w: any("deprecated: use another" in text for text in w.result.warnings),
    "Component.local_code": lambda w: (
        [item["name"] for item in read_json(w.run / "plan.json")["local_plugins"]] == ["team"]
    ),
    "Component.examples": lambda w: (
        [case.example for case in w.checks["loss/loss:mean"][0].subjects(w.cache)] == [{"weight": 3.0}]
    ),
    "Model.inspect": lambda w: len(w.inspect) == 1,
    "Component.targets": lambda w: (
        Plan.from_json((w.run / "plan.json").read_text()).loss.targets == ("classes", "labels")
    ),
    "Metric.maximize": lambda w: of_folds(w.FoldEnd, "best_epoch") == [0, 0],
    "Metric.bounds": lambda w: w.fails("metric/narrow:range") and not w.fails("metric/wide:range"),
    # What a data set returns
    "DatasetContent.classes": lambda w: w.data["classes"] == ["low", "high"],
    "DatasetContent.train": lambda w: w.result.metrics["rows"] == w.parts.ROWS,
    "DatasetContent.test": lambda w: w.table("test.parquet")["id"] == ["t0", "t1"],
    "DatasetContent.submission": lambda w: w.result.submission == w.run / "submission.csv",
    "DatasetContent.notes": lambda w: w.result.notes == ("made up",),
    "DatasetContent.attributes": lambda w: [found["name"] for found in w.data["attributes"]] == ["brightness", "class"],
    "DatasetContent.class_values": lambda w: w.data["attributes"][0]["of_class"] == [0, 1],
    "Attribute.name": lambda w: w.data["attributes"][0]["name"] == "brightness",
    "Attribute.values": lambda w: w.data["attributes"][0]["values"] == ["dark", "light"],
    "Attribute.ordered": lambda w: w.data["attributes"][0]["ordered"] is True,
    "Attribute.starts": lambda w: w.data["attributes"][0]["starts"] == [100.0],
    "Samples.scored": lambda w: "2 external rows" in w.note_external(),
    "Samples.numbers": lambda w: (
        w.table("split.parquet")["number_brightness"].tolist() == w.parts.LEVELS[w.parts.TARGETS].tolist()
    ),
    "Samples.ids": lambda w: w.table("oof.parquet")["id"] == [f"row{row}" for row in range(w.parts.ROWS)],
    "Samples.images": lambda w: w.parts.levels_seen == {40, 200},
    "Samples.targets": lambda w: w.table("oof.parquet")["target"].tolist() == w.parts.TARGETS.tolist(),
    "Samples.groups": lambda w: len(set(w.table("split.parquet")["group"])) == w.parts.ROWS // 2,
    "Samples.boxes": lambda w: 255 not in w.parts.levels_seen,
    "Samples.folds": lambda w: w.table("split.parquet")["fold"].tolist() == w.parts.FOLDS.tolist(),
    "SubmissionFormat.id_column": lambda w: w.submission[0][0] == "ImageID",
    "SubmissionFormat.columns": lambda w: w.submission[0][1:] == ["ans"],
    "SubmissionFormat.ids": lambda w: [row[0] for row in w.submission[1:]] == ["t1", "t0", "t1"],
    "SubmissionFormat.values": lambda w: {row[1] for row in w.submission[1:]} <= {"10", "20"},
    "ModelInfo.mean": lambda w: w.data["preprocessing"]["mean"] == [0.1, 0.2, 0.3],
    "ModelInfo.std": lambda w: w.data["preprocessing"]["std"] == [0.4, 0.5, 0.6],
    "ModelInfo.image_size": lambda w: w.data["preprocessing"]["image_size"] == [6, 8],
    "ModelInfo.weights": lambda w: "from a probe" in (w.run / "report.html").read_text(),
    # What a mixer returns
    "Mixed.images": lambda w: w.parts.inputs_seen == {40, 77, 200},
    "Mixed.partners": lambda w: all(
        (own, partners) in w.parts.mixed_seen for (own, _), (partners, _) in w.mixed_steps()
    ),
    "Mixed.weight": lambda w: (
        w.history("train_loss")[0]
        == pytest.approx(
            sum(len(own) * (0.25 * loss + 0.75 * other) for (own, loss), (_, other) in w.mixed_steps())
            / sum(len(own) for (own, _), _ in w.mixed_steps())
        )
    ),
    # Contexts
    "DatasetContext.seed": lambda w: all_equal(w.dataset, "seed", SEED),
    "DatasetContext.cache_dir": lambda w: all_equal(w.dataset, "cache_dir", w.cache),
    "ModelContext.num_classes": lambda w: all_equal(w.model + w.inspect, "num_classes", 2),
    "ModelContext.channels": lambda w: all_equal(w.model + w.inspect, "channels", 3),
    "ModelContext.image_size": lambda w: all_equal(w.model, "image_size", (6, 8)),
    "ModelContext.seed": lambda w: of_folds(w.training("model"), "seed") == seeds(Purpose.MODEL),
    "ModelContext.pretrained": lambda w: of_folds(w.model, "pretrained") == [True, True, False, False],
    "LossContext.num_classes": lambda w: all_equal(w.loss, "num_classes", 2),
    "LossContext.class_counts": lambda w: [item.class_counts.tolist() for item in w.loss] == w.counts(),
    "LossContext.epochs": lambda w: all_equal(w.loss, "epochs", 2),
    "LossContext.seed": lambda w: of_folds(w.loss, "seed") == seeds(Purpose.LOSS),
    "OptimizerContext.parameter_groups": lambda w: (
        w.parts.groups_seen == [[{"params": 1}, {"params": 1, "weight_decay": 0.0}]] * FOLDS
    ),
    "OptimizerContext.seed": lambda w: of_folds(w.optimizer, "seed") == seeds(Purpose.OPTIMIZER),
    "SchedulerContext.steps_per_epoch": lambda w: (
        of_folds(w.scheduler, "steps_per_epoch") == [-(-(sum(counts) // 2) // 4) for counts in w.counts()]
    ),
    "SchedulerContext.epochs": lambda w: all_equal(w.scheduler, "epochs", 2),
    "SchedulerContext.maximize": lambda w: all_equal(w.scheduler, "maximize", False),
    "SamplerContext.targets": lambda w: (
        [item.targets.tolist() for item in w.sampler]
        == [w.parts.TARGETS[fold != w.parts.FOLDS].tolist() for fold in range(FOLDS)]
    ),
    "SamplerContext.num_classes": lambda w: all_equal(w.sampler, "num_classes", 2),
    "SamplerContext.seed": lambda w: of_folds(w.sampler, "seed") == seeds(Purpose.SAMPLER),
    "TransformContext.image_size": lambda w: all_equal(w.transform, "image_size", (6, 8)),
    "TransformContext.channels": lambda w: all_equal(w.transform, "channels", 3),
    "MixerContext.num_classes": lambda w: all_equal(w.mixer, "num_classes", 2),
    "MixerContext.image_size": lambda w: all_equal(w.mixer, "image_size", (6, 8)),
    "MixerContext.channels": lambda w: all_equal(w.mixer, "channels", 3),
    "MixerContext.classes": lambda w: all_equal(w.mixer, "classes", ("low", "high")),
    "MetricContext.num_classes": lambda w: all_equal(w.metric, "num_classes", 2),
    "MixerContext.targets": lambda w: all_equal(w.mixer, "targets", "classes"),
    "EnsemblerContext.targets": lambda w: all_equal(w.ensembler, "targets", "classes"),
    "EnsemblerContext.num_classes": lambda w: all_equal(w.ensembler, "num_classes", 2),
    "EnsemblerContext.seed": lambda w: w.ensembler[-1].seed == derive_seed(SEED, Purpose.ENSEMBLE),
    # Events
    "RunStart.run_dir": lambda w: all_equal(w.RunStart, "run_dir", w.run),
    "RunStart.recipe": lambda w: all_equal(w.RunStart, "recipe", "fields"),
    "RunStart.folds": lambda w: all_equal(w.RunStart, "folds", FOLDS),
    "RunStart.epochs": lambda w: all_equal(w.RunStart, "epochs", 2),
    "RunStart.classes": lambda w: all_equal(w.RunStart, "classes", ("low", "high")),
    "RunStart.notes": lambda w: all_equal(w.RunStart, "notes", ("made up",)),
    "FoldStart.run_dir": lambda w: all_equal(w.FoldStart, "run_dir", w.run),
    "FoldStart.fold": lambda w: of_folds(w.FoldStart, "fold") == [0, 1],
    "EpochEnd.run_dir": lambda w: all_equal(w.EpochEnd, "run_dir", w.run),
    "EpochEnd.fold": lambda w: of_folds(w.EpochEnd, "fold") == [0, 0, 1, 1],
    "EpochEnd.epoch": lambda w: of_folds(w.EpochEnd, "epoch") == w.history("epoch") == [0, 1, 0, 1],
    "EpochEnd.train_loss": lambda w: of_folds(w.EpochEnd, "train_loss") == w.history("train_loss"),
    "EpochEnd.val_loss": lambda w: of_folds(w.EpochEnd, "val_loss") == w.history("val_loss"),
    "EpochEnd.learning_rate": lambda w: all_equal(w.EpochEnd, "learning_rate", 0.01),
    "EpochEnd.images_per_second": lambda w: of_folds(w.EpochEnd, "images_per_second") == w.history("images_per_second"),
    "EpochEnd.metrics": lambda w: (
        [event.metrics["metric/accuracy"] for event in w.EpochEnd] == w.history("metric/accuracy")
    ),
    "FoldEnd.run_dir": lambda w: all_equal(w.FoldEnd, "run_dir", w.run),
    "FoldEnd.fold": lambda w: of_folds(w.FoldEnd, "fold") == [0, 1],
    "FoldEnd.best_epoch": lambda w: (
        [w.fold_metrics(fold)["best_epoch"] for fold in range(FOLDS)] == of_folds(w.FoldEnd, "best_epoch")
    ),
    "FoldEnd.metrics": lambda w: (
        [w.fold_metrics(fold)["metrics"] for fold in range(FOLDS)] == of_folds(w.FoldEnd, "metrics")
    ),
    "FoldEnd.augmented": lambda w: all(event.augmented.read_bytes()[1:4] == b"PNG" for event in w.FoldEnd),
    "RunEnd.run_dir": lambda w: all_equal(w.RunEnd, "run_dir", w.run),
    "RunEnd.metrics": lambda w: (
        w.RunEnd[0].metrics == {name: score["value"] for name, score in w.result.metrics["oof"].items()}
    ),
    "RunEnd.confusion": lambda w: [list(row) for row in w.RunEnd[0].confusion] == w.result.metrics["confusion"],
    "RunEnd.classes": lambda w: all_equal(w.RunEnd, "classes", ("low", "high")),
    "RunEnd.hyperparameters": lambda w: (
        {"loss": "probe/loss", "loss.weight": 2.0, "epochs": 2, "seed": SEED}.items()
        <= w.RunEnd[0].hyperparameters.items()
    ),
}
"""Field -> whether what the run has left behind is the truth."""


@pytest.mark.parametrize("name", TRUTHS)
def test_a_field_holds_the_truth(name: str, world: World) -> None:
    assert TRUTHS[name](world)


def list_fields() -> set[str]:
    """Return every field that a public data class of the contract adds to its base."""
    classes = [cls for cls in map(vars(icf).get, icf.__all__) if dataclasses.is_dataclass(cls)]
    return {
        f"{cls.__name__}.{item}"
        for cls in classes
        if cls is not icf.Problem
        for item in vars(cls)["__annotations__"]
        if item != "kind"
    }


def test_every_field_is_tested() -> None:
    assert list_fields() == TRUTHS.keys(), "a field needs a line in TRUTHS"
