from __future__ import annotations

import json

import pytest

import distributions
from icf.cli.main import main
from icf.errors import PluginError
from icf.testing import Outcome, run_checks

installer = pytest.fixture(distributions.installer)

PLUGIN = """
    import itertools

    import icf
    import PIL
    from pydantic import Field, field_validator

    calls = itertools.count()

    class Bare(icf.Params):
        gamma: float = 1.0

    class Lenient(icf.Params):
        model_config = {"extra": "ignore"}

    class OutOfBounds(icf.Params):
        epochs: int = Field(default=0, ge=1, description="Epochs")

    class Doubling(icf.Params):
        scale: float = Field(default=1.0, description="Factor")

        @field_validator("scale")
        @classmethod
        def double(cls, value):
            return 2 * value

    class Needy(icf.Params):
        root: str = Field(description="Folder")

    LOSSES = {"bare": Bare, "lenient": Lenient, "out-of-bounds": OutOfBounds, "doubling": Doubling, "needy": Needy}

    @icf.hookimpl
    def icf_losses():
        for name, params in LOSSES.items():
            yield icf.Loss(name=name, factory="faulty_parts:good_loss", params=params, summary="Cross-entropy")
        for name in ("total", "overflow", "stuck", "askew", "by-place", "vector", "crash"):
            yield icf.Loss(name=name, factory=f"faulty_parts:{name.replace('-', '_')}", summary="A loss")
        yield icf.Loss(name="gone", factory="faulty_parts:gone", summary="A loss")
        yield icf.Loss(name="fickle", factory="faulty_parts:good_loss", summary=f"call {next(calls)}")
        yield icf.Loss(name="wordless", factory="faulty_parts:good_loss", summary="")
        yield icf.Loss(
            name="bad-example", factory="faulty_parts:good_loss", summary="A loss", examples=({"gama": 1},)
        )

    @icf.hookimpl
    def icf_models():
        for name in ("deaf", "restless", "forgetful", "narrow", "social"):
            yield icf.Model(name=name, factory=f"faulty_parts:{name}", summary="A model")

    @icf.hookimpl
    def icf_schedulers():
        yield icf.Scheduler(name="forgetful", factory="faulty_parts:Plateau", summary="A schedule")
        yield icf.Scheduler(name="counting", factory="faulty_parts:Counting", summary="A schedule")

    @icf.hookimpl
    def icf_metrics():
        yield icf.Metric(name="first-rows", factory="faulty_parts:first_rows", summary="A metric")
        yield icf.Metric(name="percent", factory="faulty_parts:percent", summary="A metric")
        yield icf.Metric(name="upside-down", factory="faulty_parts:accuracy", summary="A metric", maximize=False)
        reference = "sklearn.metrics.cohen_kappa_score"
        yield icf.Metric(name="by-paper", factory="faulty_parts:accuracy", summary="A metric", reference="Cohen 1960")
        yield icf.Metric(name="no-kappa", factory="faulty_parts:accuracy", summary="A metric", reference=reference)

    @icf.hookimpl
    def icf_ensemblers():
        for name in ("first", "total", "contrary", "batchwise"):
            yield icf.Ensembler(name=name, factory=f"faulty_parts:ensemble_{name}", summary="A vote")

    @icf.hookimpl
    def icf_transforms():
        yield icf.Transform(name="unseeded", factory="faulty_parts:unseeded", summary="A flip")
        yield icf.Transform(name="restoring", factory="faulty_parts:restoring", summary="A flip with a seed")
        yield icf.Transform(name="colour-only", factory="faulty_parts:colour_only", summary="A swap of red and blue")
        yield icf.Transform(name="batch-mean", factory="faulty_parts:batch_mean", summary="A shift to mid grey")
        yield icf.Transform(name="mirror", factory="faulty_parts:mirror", summary="A flip of every image")
        yield icf.Transform(name="rare-flip", factory="faulty_parts:rare_flip", summary="A flip of some images")
        yield icf.Transform(name="fickle", factory="faulty_parts:fickle_flip", summary="A flip of some images")
        yield icf.Transform(name="uncropped", factory="faulty_parts:uncropped", summary="A crop")
        yield icf.Transform(name="to-float", factory="faulty_parts:to_float", summary="A scaling")

    @icf.hookimpl
    def icf_mixers():
        for name in ("fractional", "beyond", "in-pairs", "colour-only", "deceiving", "in-place", "unseeded"):
            yield icf.Mixer(name=name, factory=f"faulty_parts:mix_{name.replace('-', '_')}", summary="A mean")

    @icf.hookimpl
    def icf_optimizers():
        for name in ("uphill", "decaying", "amnesiac"):
            yield icf.Optimizer(name=name, factory=f"faulty_parts:{name}", summary="An optimizer")

    @icf.hookimpl
    def icf_samplers():
        for name in ("beyond", "shrinking", "unseeded"):
            yield icf.Sampler(name=name, factory=f"faulty_parts:sample_{name}", summary="A sampler")

    @icf.hookimpl
    def icf_datasets():
        for name in ("repeated", "shuffled", "numbered", "mislabelled", "short"):
            yield icf.Dataset(name=name, factory=f"faulty_parts:data_{name}", summary="Data")
"""

PARTS = """
    import numpy as np
    import torch
    from torch import nn
    from torch.nn import functional as F

    import icf

    def good_loss(params, ctx):
        return F.cross_entropy

    def total(params, ctx):
        return lambda logits, targets: F.cross_entropy(logits, targets, reduction="sum")

    def overflow(params, ctx):
        return lambda logits, targets: F.nll_loss(torch.log(torch.softmax(logits, 1)), targets)

    def stuck(params, ctx):
        return lambda logits, targets: F.cross_entropy(logits, targets) * F.cross_entropy(logits, targets).detach()

    def askew(params, ctx):
        def loss(logits, targets):
            value = F.cross_entropy(logits, targets)
            return 0.998 * value + 0.002 * value.detach()
        return loss

    def by_place(params, ctx):
        def loss(logits, targets):
            places = torch.cos(torch.arange(len(targets)) * 2 * torch.pi / 6)
            return (F.cross_entropy(logits, targets, reduction="none") * (1 + places)).mean()
        return loss

    def vector(params, ctx):
        return lambda logits, targets: F.cross_entropy(logits, targets, reduction="none")

    def crash(params, ctx):
        raise KeyError("no such thing")

    class Net(nn.Module):
        def __init__(self, ctx):
            super().__init__()
            self.head = nn.Linear(ctx.channels, ctx.num_classes)

        def forward(self, images):
            return self.head(images.mean(dim=(2, 3)))

    class Deaf(Net):
        def __init__(self, ctx):
            super().__init__(ctx)
            self.scale = nn.Parameter(torch.ones(1))

        def forward(self, images):
            return super().forward(images) * self.scale.detach()

    class Restless(Net):
        def forward(self, images):
            return F.dropout(super().forward(images), 0.5, training=True)

    class Forgetful(Net):
        def __init__(self, ctx):
            super().__init__(ctx)
            self.register_buffer("seen", torch.zeros(1), persistent=False)

        def forward(self, images):
            if self.training:
                self.seen += 1
            return super().forward(images) + self.seen * torch.arange(self.head.out_features)

    class Narrow(Net):
        def __init__(self, ctx):
            super().__init__(ctx)
            self.head = nn.Linear(3, ctx.num_classes)

    class Social(Net):
        def forward(self, images):
            logits = super().forward(images)
            return logits - 0.5 * logits.mean(dim=0)

    deaf, restless, forgetful = (lambda params, ctx, net=net: net(ctx) for net in (Deaf, Restless, Forgetful))
    narrow, social = (lambda params, ctx, net=net: net(ctx) for net in (Narrow, Social))

    class Plateau:
        def __init__(self, params, ctx):
            self.rate, self.best = 1.0, 0.0

        def factor(self, step):
            return self.rate

        def observe(self, score):
            self.rate *= 1.0 if score > self.best else 0.5
            self.best = max(self.best, score)

        def state_dict(self):
            return {"best": self.best}

        def load_state_dict(self, state):
            self.best = state["best"]

    class Counting(Plateau):
        def factor(self, step):
            self.rate *= 0.9
            return self.rate

        def observe(self, score):
            pass

        def state_dict(self):
            return {"rate": self.rate}

        def load_state_dict(self, state):
            self.rate = state["rate"]

    def accuracy(params, ctx):
        return lambda probabilities, targets: float((probabilities.argmax(1) == targets).mean())

    def first_rows(params, ctx):
        return lambda probabilities, targets: float((probabilities.argmax(1) == targets)[:30].mean())

    def percent(params, ctx):
        return lambda probabilities, targets: 100 * float((probabilities.argmax(1) == targets).mean())

    class Vote:
        def __init__(self, combine):
            self.combine = combine

        def fit(self, members, targets):
            pass

    def ensemble_first(params, ctx):
        return Vote(lambda members: members[0])

    def ensemble_total(params, ctx):
        return Vote(lambda members: members.sum(axis=0))

    def ensemble_contrary(params, ctx):
        return Vote(lambda members: (1 - members.mean(axis=0)) / (members.shape[2] - 1))

    def ensemble_batchwise(params, ctx):
        return Vote(lambda members: 0.999 * members.mean(axis=0) + 0.001 * members.mean(axis=(0, 1)))

    def unseeded(params, ctx):
        return lambda images, generator: images.flip(3) if torch.rand(()) < 0.5 else images

    def restoring(params, ctx):
        def flip(images, generator):
            seed = int(torch.randint(99, (), generator=generator))
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                return images.flip(3) if torch.rand(()) < 0.5 else images

        return flip

    def colour_only(params, ctx):
        return lambda images, generator: images[:, [2, 1, 0]]

    def batch_mean(params, ctx):
        def shift(images, generator):
            values = images.float()
            return (values - values.mean() + 128).clamp(0, 255).to(torch.uint8)
        return shift

    def uncropped(params, ctx):
        def keep(images, generator):
            return images
        keep.input_scale = 1.25
        return keep

    def mirror(params, ctx):
        def flip(images, generator):
            torch.rand(1, generator=generator)
            return images.flip(3)
        return flip

    def rare_flip(params, ctx):
        def flip(images, generator):
            chosen = torch.rand(len(images), generator=generator) < 0.1
            return torch.where(chosen[:, None, None, None], images.flip(3), images)
        return flip

    def fickle_flip(params, ctx):
        flip = rare_flip(params, ctx)
        flip.deterministic = True
        return flip

    def to_float(params, ctx):
        return lambda images, generator: images / 255

    def average(images, partners, weight=0.5):
        mean = images.float().lerp(images[partners].float(), 1 - weight)
        return icf.Mixed(images=mean.round().to(torch.uint8), partners=partners, weight=weight)

    def turn(images):
        return torch.arange(len(images)).roll(1)

    def mix_fractional(params, ctx):
        return lambda images, targets, generator: icf.Mixed(images=images / 2, partners=turn(images), weight=0.5)

    def mix_beyond(params, ctx):
        def mix(images, targets, generator):
            mixed = average(images, turn(images))
            return icf.Mixed(images=mixed.images, partners=mixed.partners + 1, weight=mixed.weight)

        return mix

    def mix_in_pairs(params, ctx):
        return lambda images, targets, generator: average(images, torch.arange(len(images)) ^ 1)

    def mix_colour_only(params, ctx):
        return lambda images, targets, generator: average(images[:, [0, 1, 2]], turn(images))

    def mix_deceiving(params, ctx):
        def mix(images, targets, generator):
            mixed = average(images, turn(images), weight=0.75)
            return icf.Mixed(images=mixed.images, partners=mixed.partners, weight=0.25)

        return mix

    def mix_in_place(params, ctx):
        def mix(images, targets, generator):
            mixed = average(images, turn(images))
            images.copy_(mixed.images)
            return icf.Mixed(images=images, partners=mixed.partners, weight=0.5)

        return mix

    def mix_unseeded(params, ctx):
        return lambda images, targets, generator: average(images, torch.randperm(len(images)))

    def uphill(params, ctx):
        return torch.optim.SGD(ctx.parameter_groups, lr=0.01, maximize=True)

    class Decaying(torch.optim.SGD):
        def step(self, closure=None):
            for group in self.param_groups:
                for parameter in group["params"]:
                    parameter.data *= 0.999
            return super().step(closure)

    def decaying(params, ctx):
        return Decaying(ctx.parameter_groups, lr=0.01)

    class Amnesiac(torch.optim.SGD):
        def state_dict(self):
            return super().state_dict() | {"state": {}}

    def amnesiac(params, ctx):
        return Amnesiac(ctx.parameter_groups, lr=0.01, momentum=0.9)

    def sample_beyond(params, ctx):
        return lambda epoch: np.arange(len(ctx.targets)) + 1

    def sample_shrinking(params, ctx):
        return lambda epoch: np.arange(len(ctx.targets) - epoch)

    def sample_unseeded(params, ctx):
        return lambda epoch: np.random.default_rng().permutation(len(ctx.targets))

    IMAGES = np.arange(6, dtype=np.uint8)[:, None, None] * np.ones((6, 4, 4), dtype=np.uint8)
    TARGETS = np.array([0, 1, 0, 1, 0, 1])

    def content(ids="abcdef", targets=TARGETS, images=IMAGES, groups=None):
        train = icf.Samples(ids=list(ids), images=images, targets=targets, groups=groups)
        return icf.DatasetContent(classes=("no", "yes"), train=train)

    def data_repeated(params, ctx):
        return content(ids="aabcde")

    def data_shuffled(params, ctx):
        return content(images=IMAGES[np.random.default_rng().permutation(6)])

    def data_numbered(params, ctx):
        return content(groups=[1, 1, 2, 2, 3, 3])

    def data_mislabelled(params, ctx):
        return content(targets=TARGETS + 1)

    def data_short(params, ctx):
        return content(ids="abcde")
"""

FAULTS = {
    "light-import": "faulty_plugin imports PIL; import it in",
    "same-descriptors": "loss/fickle: two calls of the hook describe it differently",
    "loss/bare:fields-explained": "Bare does not explain gamma",
    "loss/lenient:unknown-keys": "Lenient accepts an unknown key",
    "loss/out-of-bounds:parameters": "epochs: found 0; must be greater than or equal to 1",
    "loss/doubling:round-trip": "scale is 2.0, and 4.0 after a recipe was written and read",
    "loss/gone:factory": "has no attribute 'gone'",
    "loss/wordless:summary": "the summary is empty",
    "loss/bad-example:parameters": "unknown key 'gama'",
    "loss/total:mean": "every row twice gives",
    "loss/overflow:extreme-logits": "for logits of +-10000 that are right, the gradient is not finite",
    "loss/stuck:gradient": "the gradient is not the slope",
    "loss/askew:gradient": "the gradient is not the slope",
    "loss/by-place:row-order": "in another order",
    "loss/vector:scalar": "of shape (6,)",
    "loss/crash:scalar": "KeyError: 'no such thing' (faulty_parts.py, line",
    "model/deaf:gradients": "no gradient reaches scale",
    "model/restless:evaluation": "the same images give other logits",
    "model/forgetful:state-dict": "the restored model gives other logits",
    "model/narrow:output": "RuntimeError",
    "model/social:evaluation": "rows alone give logits that differ",
    "scheduler/forgetful:resume": "factors differ",
    "scheduler/counting:repeatable": "when asked again",
    "metric/first-rows:row-order": "in another order",
    "metric/percent:range": "is outside 0 to 1",
    "metric/upside-down:direction": "maximize is False, but all right scores 1",
    "metric/no-kappa:reference": "sklearn.metrics.cohen_kappa_score: 0.",
    "ensembler/first:member-order": "rows differ by up to",
    "ensembler/total:rows": "rows sum to between",
    "ensembler/contrary:one-member": "another class than their only member",
    "ensembler/batchwise:test-rows": "depend on the other rows",
    "transform/unseeded:seed": "the same generator gives another result",
    "transform/uncropped:input-scale": "images of 40 x 40 became (40, 40), not (32, 32)",
    "transform/unseeded:threads": "rand without generator=",
    "transform/restoring:threads": "rand without generator=",
    "transform/fickle:deterministic": "another seed gives another result",
    "transform/colour-only:grey": "IndexError",
    "transform/batch-mean:batch": "image 0 of 6 is changed otherwise than alone",
    "transform/to-float:images": "torch.float32, not uint8",
    "mixer/fractional:mixed": "torch.float32, not torch.uint8",
    "mixer/beyond:mixed": "partner [8] is outside 0 to 7",
    "mixer/in-pairs:one-image": "IndexError",
    "mixer/colour-only:grey": "IndexError",
    "mixer/deceiving:weight": "an image of grey level 0 has a mean of 150.0, but its pixels have 50.0",
    "mixer/in-place:input": "the images that were given are changed",
    "mixer/unseeded:seed": "the same generator gives another result",
    "optimizer/uphill:lowers-loss": "after 30 steps",
    "optimizer/decaying:decay": "without gradient and weight decay is changed",
    "optimizer/amnesiac:resume": "after the restored optimizer's steps",
    "sampler/beyond:positions": "position 37 of 37 rows",
    "sampler/shrinking:epoch-length": "[37, 36, 35, 34] rows",
    "sampler/unseeded:seed": "differs between two samplers",
    "dataset/repeated:ids": "1 ids are repeats",
    "dataset/shuffled:determinism": "images differ",
    "dataset/numbered:groups": "group [1] is no string",
    "dataset/mislabelled:labels": "targets [2] are outside 0 to 1",
    "dataset/short:length": "6 images for 5 ids",
}


@pytest.fixture
def faulty(installer):
    modules = {"faulty_plugin": PLUGIN, "faulty_parts": PARTS}
    installer.install("icf-faulty", modules, entry_points={"faulty": "faulty_plugin"})


def id_of(result):
    return f"{result.component}:{result.check}".lstrip(":")


def test_every_fault_is_found_by_its_check_and_by_no_other(faulty, tmp_path):
    results = list(run_checks("faulty", tmp_path))
    failed = {id_of(result): result.reason for result in results if result.outcome is Outcome.failed}
    assert failed.keys() == FAULTS.keys()
    wrong = {name: reason for name, reason in failed.items() if FAULTS[name] not in reason}
    assert wrong == {}


def test_what_can_not_be_checked_is_skipped_with_the_reason(faulty, tmp_path):
    skipped = {id_of(r): r.reason for r in run_checks("faulty", tmp_path) if r.outcome is Outcome.skipped}
    assert skipped["loss/vector:mean"] == "because 'scalar' fails"
    assert skipped["loss/gone:scalar"] == "because 'factory' fails"
    assert skipped["loss/bad-example:round-trip"] == "because 'parameters' fails"
    assert skipped["metric/by-paper:reference"] == "its reference, Cohen 1960, is no function of sklearn.metrics"
    assert skipped["metric/percent:reference"] == "it names no reference"
    assert skipped["loss/needy:gradient"] == "needs an example of its parameters (root)"
    assert skipped["transform/rare-flip:batch"].startswith("the transform is random")
    assert "transform/mirror:batch" not in skipped


def test_an_example_makes_the_checks_possible(faulty, tmp_path):
    results = list(run_checks("faulty", tmp_path, examples={"loss/needy": {"root": "x"}}))
    assert {result.outcome for result in results if result.component == "loss/needy"} == {Outcome.ok}


def test_an_expected_failure_must_fail(faulty, tmp_path):
    expected = {"loss/total:mean": "a sum on purpose", "loss/total:scalar": "who knows"}
    results = {id_of(item): item for item in run_checks("faulty", tmp_path, expected_failures=expected)}
    found = results["loss/total:mean"]
    assert (found.outcome, found.reason) == (Outcome.expected, "a sum on purpose")
    found = results["loss/total:scalar"]
    assert (found.outcome, found.reason) == (
        Outcome.failed,
        "was expected to fail (who knows), but passes; expect it no longer",
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"expected_failures": {"loss/total:maen": "x"}}, "no check 'loss/total:maen' in this plugin; did you mean"),
        ({"examples": {"loss/totl": {}}}, "no component 'loss/totl' in this plugin; did you mean 'loss/total'?"),
    ],
)
def test_ids_that_there_are_not_are_refused(faulty, tmp_path, options, message):
    with pytest.raises(PluginError, match=message.replace("?", r"\?")):
        run_checks("faulty", tmp_path, **options)


def test_a_plugin_that_is_not_installed_is_an_error(tmp_path):
    with pytest.raises(PluginError, match="no plugin 'los' is installed; did you mean 'loss'"):
        run_checks("los", tmp_path)


def test_a_plugin_that_does_not_load_says_why(installer, capsys):
    installer.install("icf-broken", {"broken": "import no_such_module"})
    assert main(["check-plugin", "broken"]) == 1
    told = capsys.readouterr().out
    assert "plugin 'broken' (icf-broken 1.0) does not load: ModuleNotFoundError: No module named 'no_such" in told


def test_the_command_tells_every_failure_and_what_was_promised(faulty, capsys):
    assert main(["check-plugin", "faulty", "--expect", "loss/total:mean=on purpose"]) == 1
    told = capsys.readouterr().out
    assert "loss/stuck:gradient\n  promised: The gradient is the slope of the loss, as finite" in told
    rows = [line.split(maxsplit=2) for line in told.splitlines()]
    assert [
        "loss/total",
        "ok",
        "summary, factory, parameters, fields-explained, round-trip, unknown-keys, scalar,",
    ] in [[*row[:2], " ".join(row[2].split()[:7])] for row in rows if len(row) > 2]
    assert "on purpose" in told
    assert f"{len(FAULTS) - 1} failed, 1 expected failure" in told.splitlines()[-1]


def test_a_file_is_named_as_its_author_does(tmp_path):
    file = tmp_path / "my_loss.py"
    loss = 'icf.Loss(name="gone", factory=":biuld", summary="Focal loss")'
    file.write_text(f"import PIL\nimport icf\n@icf.hookimpl\ndef icf_losses():\n    yield {loss}\n")
    failed = {id_of(item): item.reason for item in run_checks(str(file), tmp_path) if item.outcome is Outcome.failed}
    assert failed["light-import"].startswith("my_loss imports PIL; import it in the module")
    assert failed["loss/gone:factory"].startswith("'my_loss:biuld' can't be imported: AttributeError: module 'my_loss'")


def test_the_command_writes_json(faulty, capsys):
    assert main(["check-plugin", "faulty", "--json", "--set", "loss/needy.root=x"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["plugin"], found["passed"]) == ("faulty", False)
    failed = {item["component"] for item in found["checks"] if item["outcome"] == "failed"}
    assert "loss/total" in failed
    [item] = [item for item in found["checks"] if item["component"] == "loss/needy" and item["check"] == "mean"]
    assert item["outcome"] == "ok"


@pytest.mark.parametrize(
    ("option", "code", "message"),
    [
        (["--set", "root=3"], 2, "write KIND/NAME.KEY=VALUE"),
        (["--set", "loss/needy.root"], 2, "no '='"),
        (["--expect", "loss/total:mean"], 2, "write CHECK=REASON"),
    ],
)
def test_malformed_options_are_told(faulty, capsys, option, code, message):
    assert main(["check-plugin", "faulty", *option]) == code
    assert message in capsys.readouterr().err
