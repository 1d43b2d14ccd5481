"""Hooks that yield descriptors of what a recipe can name."""

from __future__ import annotations

from collections.abc import Iterable

from icf.components import Dataset, Ensembler, Loss, Metric, Mixer, Model, Optimizer, Sampler, Scheduler, Transform
from icf.hookspecs.markers import hookspec


@hookspec
def icf_datasets() -> Iterable[Dataset]:  # type: ignore[empty-body]
    """Yield a descriptor for each of the data sets that the plugin offers.

    Example::

        import icf
        from pydantic import Field

        class NoiseParams(icf.Params):
            rows: int = Field(default=20, ge=2, description="Number of images")

        @icf.hookimpl
        def icf_datasets():
            yield icf.Dataset(name="noise", factory="my_plugin:draw", params=NoiseParams, summary="Noise")

        def draw(params, ctx):
            import numpy as np

            targets = np.arange(params.rows) % 2
            noise = np.random.default_rng(ctx.seed).integers(0, 128, (params.rows, 8, 8))
            pixels = (noise + 127 * targets[:, None, None]).astype(np.uint8)
            ids = [str(row) for row in range(params.rows)]
            samples = icf.Samples(ids=ids, images=pixels, targets=targets)
            return icf.DatasetContent(classes=("dark", "light"), train=samples)
    """


@hookspec
def icf_models() -> Iterable[Model]:  # type: ignore[empty-body]
    """Yield a descriptor for each of the models that the plugin offers.

    Example::

        import icf
        from pydantic import Field

        class TinyParams(icf.Params):
            hidden: int = Field(default=16, ge=1, description="Units of the hidden layer")

        @icf.hookimpl
        def icf_models():
            yield icf.Model(name="tiny", factory="my_plugin:build", params=TinyParams, summary="Two layers")

        def build(params, ctx):
            from torch import nn

            pixels = ctx.channels * ctx.image_size[0] * ctx.image_size[1]
            hidden = nn.Linear(pixels, params.hidden)
            return nn.Sequential(nn.Flatten(), hidden, nn.GELU(), nn.Linear(params.hidden, ctx.num_classes))
    """


@hookspec
def icf_losses() -> Iterable[Loss]:  # type: ignore[empty-body]
    """Yield a descriptor for each of the losses that the plugin offers.

    Example::

        import icf
        from pydantic import Field

        class SmoothParams(icf.Params):
            smoothing: float = Field(default=0.1, ge=0, lt=1, description="Share that goes to all classes")

        @icf.hookimpl
        def icf_losses():
            yield icf.Loss(name="smooth", factory="my_plugin:smooth", params=SmoothParams, summary="Softer targets")

        def smooth(params, ctx):
            from torch import nn

            return nn.CrossEntropyLoss(label_smoothing=params.smoothing)
    """


@hookspec
def icf_schedulers() -> Iterable[Scheduler]:  # type: ignore[empty-body]
    """Yield a descriptor for each of the learning-rate schedules that the plugin offers.

    Example::

        import icf

        @icf.hookimpl
        def icf_schedulers():
            yield icf.Scheduler(name="linear", factory="my_plugin:Linear", summary="A straight line to zero")

        class Linear:
            def __init__(self, params, ctx):
                self.steps = ctx.steps_per_epoch * ctx.epochs

            def factor(self, step):
                return 1 - step / self.steps

            def observe(self, score):
                pass

            def state_dict(self):
                return {}

            def load_state_dict(self, state):
                pass
    """


@hookspec
def icf_metrics() -> Iterable[Metric]:  # type: ignore[empty-body]
    """Yield a descriptor for each of the metrics that the plugin offers.

    Example::

        import icf

        @icf.hookimpl
        def icf_metrics():
            yield icf.Metric(
                name="accuracy",
                factory="my_plugin:build",
                summary="Share of rows whose most probable class is right",
                reference="sklearn.metrics.accuracy_score",
            )

        def build(params, ctx):
            return lambda probabilities, targets: float((probabilities.argmax(axis=1) == targets).mean())
    """


@hookspec
def icf_ensemblers() -> Iterable[Ensembler]:  # type: ignore[empty-body]
    """Yield a descriptor for each of the ensemblers that the plugin offers.

    Example::

        import icf

        @icf.hookimpl
        def icf_ensemblers():
            yield icf.Ensembler(name="median", factory="my_plugin:Median", summary="Median of the members")

        class Median:
            def __init__(self, params, ctx):
                pass

            def fit(self, members, targets):
                pass

            def combine(self, members):
                import numpy as np

                middle = np.median(members, axis=0) + 1e-12
                return middle / middle.sum(axis=1, keepdims=True)
    """


@hookspec
def icf_transforms() -> Iterable[Transform]:  # type: ignore[empty-body]
    """Yield a descriptor for each of the transforms that the plugin offers.

    Example::

        import icf
        from pydantic import Field

        class InvertParams(icf.Params):
            p: float = Field(default=0.5, ge=0, le=1, description="Probability that an image is inverted")

        @icf.hookimpl
        def icf_transforms():
            yield icf.Transform(
                name="invert",
                factory="my_plugin:build",
                params=InvertParams,
                summary="Negatives",
                examples=({}, {"p": 1.0}),  # without randomness, a batch is checked against its images
            )

        def build(params, ctx):
            import torch

            def invert(images, generator):
                chosen = torch.rand(len(images), generator=generator) < params.p
                return torch.where(chosen[:, None, None, None], 255 - images, images)

            return invert
    """


@hookspec
def icf_mixers() -> Iterable[Mixer]:  # type: ignore[empty-body]
    """Yield a descriptor for each of the mixers that the plugin offers.

    Example::

        import icf
        from pydantic import Field

        class AverageParams(icf.Params):
            weight: float = Field(default=0.75, ge=0, le=1, description="Share of an image that is its own")

        @icf.hookimpl
        def icf_mixers():
            yield icf.Mixer(name="average", factory="my_plugin:build", params=AverageParams, summary="Weighted mean")

        def build(params, ctx):
            import torch

            def mix(images, targets, generator):
                partners = torch.randperm(len(images), generator=generator)
                mean = images.float().lerp(images[partners].float(), 1 - params.weight)
                return icf.Mixed(images=mean.round().to(torch.uint8), partners=partners, weight=params.weight)

            return mix
    """


@hookspec
def icf_optimizers() -> Iterable[Optimizer]:  # type: ignore[empty-body]
    """Yield a descriptor for each of the optimizers that the plugin offers.

    Example::

        import icf
        from pydantic import Field

        class AdamaxParams(icf.Params):
            lr: float = Field(default=0.002, gt=0, description="Learning rate")

        @icf.hookimpl
        def icf_optimizers():
            yield icf.Optimizer(name="adamax", factory="my_plugin:build", params=AdamaxParams, summary="Adamax")

        def build(params, ctx):
            import torch

            return torch.optim.Adamax(ctx.parameter_groups, lr=params.lr)
    """


@hookspec
def icf_samplers() -> Iterable[Sampler]:  # type: ignore[empty-body]
    """Yield a descriptor for each of the samplers that the plugin offers.

    Example::

        import icf

        @icf.hookimpl
        def icf_samplers():
            yield icf.Sampler(name="half", factory="my_plugin:build", summary="Another half of the rows in each epoch")

        def build(params, ctx):
            import numpy as np

            def choose(epoch):
                rows = np.random.default_rng([ctx.seed, epoch]).permutation(len(ctx.targets))
                return rows[: (len(rows) + 1) // 2]

            return choose
    """
