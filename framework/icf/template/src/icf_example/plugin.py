"""Hooks and parameters of the plugin; imports nothing heavy."""

from __future__ import annotations

from collections.abc import Iterator

import icf
from pydantic import Field

icf_requires = ">=0.1"


# -- dataset --
class StripesParams(icf.Params):
    """Parameters of the drawn images."""

    rows: int = Field(default=120, ge=8, le=100_000, description="Number of images")
    side: int = Field(default=12, ge=4, le=512, description="Height and width in pixels")


@icf.hookimpl
def icf_datasets() -> Iterator[icf.Dataset]:
    """Yield the data sets of this plugin."""
    yield icf.Dataset(
        name="stripes",
        factory="icf_example.dataset:draw_stripes",
        params=StripesParams,
        summary="Drawn images with a bright stripe, upright or flat",
    )


# -- model --
class MlpParams(icf.Params):
    """Parameters of the network."""

    hidden: int = Field(default=32, ge=1, le=10_000, description="Units of the hidden layer")


@icf.hookimpl
def icf_models() -> Iterator[icf.Model]:
    """Yield the models of this plugin."""
    yield icf.Model(
        name="mlp",
        factory="icf_example.model:build_mlp",
        params=MlpParams,
        summary="A network with one hidden layer",
    )


# -- loss --
class PolyParams(icf.Params):
    """Parameters of PolyLoss."""

    epsilon: float = Field(
        default=1.0,
        ge=-1,
        le=10,
        description="Weight of (1 - probability of the target), added to the cross-entropy; 0 is cross-entropy",
    )


@icf.hookimpl
def icf_losses() -> Iterator[icf.Loss]:
    """Yield the losses of this plugin."""
    yield icf.Loss(
        name="poly",
        factory="icf_example.loss:build_poly",
        params=PolyParams,
        summary="PolyLoss, first order (Leng et al. 2022)",
    )


# -- scheduler --
class LinearParams(icf.Params):
    """Parameters of the straight line."""

    final: float = Field(default=0.0, ge=0, le=1, description="Share of the learning rate that is left after all steps")


@icf.hookimpl
def icf_schedulers() -> Iterator[icf.Scheduler]:
    """Yield the learning-rate schedules of this plugin."""
    yield icf.Scheduler(
        name="linear",
        factory="icf_example.scheduler:build_linear",
        params=LinearParams,
        summary="A straight line down to a share of the learning rate",
    )


# -- metric --
class TopKParams(icf.Params):
    """Parameters of the top-k accuracy."""

    k: int = Field(default=2, ge=1, description="Number of most probable classes that count; at most all")


@icf.hookimpl
def icf_metrics() -> Iterator[icf.Metric]:
    """Yield the metrics of this plugin."""
    yield icf.Metric(
        name="top-k",
        factory="icf_example.metric:build_top_k",
        params=TopKParams,
        summary="Share of rows whose target is among the k most probable classes",
        bounds=(0.0, 1.0),
        reference="sklearn.metrics.top_k_accuracy_score",
    )


# -- ensembler --
class PowerMeanParams(icf.Params):
    """Parameters of the power mean."""

    power: float = Field(default=2.0, gt=0, le=10, description="Exponent; 1 is the arithmetic mean")


@icf.hookimpl
def icf_ensemblers() -> Iterator[icf.Ensembler]:
    """Yield the ensemblers of this plugin."""
    yield icf.Ensembler(
        name="power-mean",
        factory="icf_example.ensembler:PowerMean",
        params=PowerMeanParams,
        summary="Power mean of the members' probabilities",
    )


# -- transform --
class InvertParams(icf.Params):
    """Parameters of the inversion."""

    p: float = Field(default=0.5, ge=0, le=1, description="Probability that an image is inverted")


@icf.hookimpl
def icf_transforms() -> Iterator[icf.Transform]:
    """Yield the transforms of this plugin."""
    yield icf.Transform(
        name="invert",
        factory="icf_example.transform:Invert",
        params=InvertParams,
        summary="Inverts some of the images",
    )


# -- mixer --
class InterleaveParams(icf.Params):
    """Parameters of the interleaving."""

    period: int = Field(default=4, ge=2, le=512, description="Every how many rows of pixels one is replaced")


@icf.hookimpl
def icf_mixers() -> Iterator[icf.Mixer]:
    """Yield the ways to mix images that this plugin offers."""
    yield icf.Mixer(
        name="interleave",
        factory="icf_example.mixer:Interleave",
        params=InterleaveParams,
        summary="Replaces every few rows of pixels by those of another image",
    )


# -- optimizer --
class SignSgdParams(icf.Params):
    """Parameters of signSGD."""

    lr: float = Field(default=0.001, gt=0, le=1, description="Learning rate: how far a weight moves in a step")


@icf.hookimpl
def icf_optimizers() -> Iterator[icf.Optimizer]:
    """Yield the optimizers of this plugin."""
    yield icf.Optimizer(
        name="sign-sgd",
        factory="icf_example.optimizer:build_sign_sgd",
        params=SignSgdParams,
        summary="A step of constant size, in the direction of the gradient's sign (Bernstein et al. 2018)",
    )


# -- sampler --
class PartParams(icf.Params):
    """Parameters of the part."""

    share: float = Field(default=0.5, gt=0, le=1, description="Share of the training rows in an epoch")


@icf.hookimpl
def icf_samplers() -> Iterator[icf.Sampler]:
    """Yield the samplers of this plugin."""
    yield icf.Sampler(
        name="part",
        factory="icf_example.sampler:build_part",
        params=PartParams,
        summary="Another random part of the rows in each epoch",
    )


# -- observer --
@icf.hookimpl
def icf_epoch_end(event: icf.EpochEnd) -> None:
    """Write a line about the epoch."""
    from icf_example.observer import write_epoch

    write_epoch(event)
