"""The sections of a recipe: which keys there are, what they may hold, and what they are if left out."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    Strict,
    field_validator,
    model_validator,
)

from icf.params import NamedComponent

Count = Annotated[int, Strict(), Field(ge=1)]
Number = Annotated[float, Strict(), Field(allow_inf_nan=False)]
Positive = Annotated[float, Strict(), Field(gt=0, allow_inf_nan=False)]
Side = Annotated[int, Strict(), Field(ge=1, le=4096)]


class Section(BaseModel):
    """A table of the recipe; unknown keys are mistakes."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class ComponentSection(NamedComponent):
    """A table of the recipe that names a component: every key but ``use`` and its own keys is a parameter."""


class Problem(Section):
    """What is asked, in words."""

    question: str = Field(default="", description="What is to be found out")
    input: str = Field(default="", description="What an image shows")
    output: str = Field(default="", description="What is predicted for it")
    use: str = Field(default="", description="Where the result is used")
    domain: Literal["near", "far"] | None = Field(
        default=None,
        description="Whether images are like those of ImageNet, photographs of things, or far from them, as X-rays,"
        " drawings and letters are; for the advice of icf check, which else guesses",
    )


class DatasetSection(ComponentSection):
    """The data set."""

    on_bad_image: Literal["error", "skip"] = Field(
        default="error",
        description="Image files that can't be read: stop, or leave them out",
    )


class Split(Section):
    """How training rows are divided into folds."""

    method: Literal[
        "auto", "stratified-group-kfold", "stratified-kfold", "group-kfold", "group-holdout", "predefined"
    ] = Field(default="auto", description="How folds are made; 'auto' keeps groups together and stratifies")
    folds: Annotated[int, Strict(), Field(ge=2, le=100)] = Field(default=5, description="Number of folds")
    holdout: Annotated[Number, Field(gt=0, lt=1)] = Field(
        default=0.2, description="Fraction of rows held out for validation by 'group-holdout'"
    )
    duplicates: Literal["together", "error", "allow"] = Field(
        default="together", description="Identical images: put into one group, stop, or do nothing"
    )


def _square(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        return (value, value)
    if not isinstance(value, list | tuple | None) or (value is not None and len(value) != 2):
        raise ValueError("must be one whole number, or [height, width]")
    return value


def _no_truth_value(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("allowed: 1, 3")
    return value


class Transforms(Section):
    """What happens to images before the network sees them."""

    image_size: Annotated[tuple[Side, Side] | None, BeforeValidator(_square)] = Field(
        default=None,
        description="Height and width in pixels, or one number for both; left out: the model's or the data's",
    )
    resize: Literal["stretch", "pad", "crop"] = Field(
        default="stretch", description="How an image of another shape is fitted"
    )
    channels: Annotated[Literal[1, 3], BeforeValidator(_no_truth_value)] = Field(
        default=3, description="Colour channels: 1 or 3"
    )
    mean: Annotated[tuple[Number, ...], Field(min_length=1, max_length=3)] | None = Field(
        default=None, description="Mean per channel, on the 0-1 scale"
    )
    std: Annotated[tuple[Positive, ...], Field(min_length=1, max_length=3)] | None = Field(
        default=None, description="Standard deviation per channel, on the 0-1 scale"
    )
    shared: tuple[ComponentSection, ...] = Field(
        default=(), description="Deterministic transforms of every image, before it is resized"
    )
    train: tuple[ComponentSection, ...] = Field(default=(), description="Transforms of training images only")
    mix: tuple[ComponentSection, ...] = Field(
        default=(), description="Ways to mix the images of a training batch with each other; each batch draws one"
    )
    unmixed_epochs: Annotated[int, Strict(), Field(ge=0)] = Field(
        default=0, description="Epochs at the end of training in which nothing is mixed"
    )


class Cache(Section):
    """Where decoded images, and embeddings of them, are kept for all folds and later runs."""

    mode: Literal["auto", "on", "off"] = Field(
        default="auto",
        description="'auto': decoded images are kept where there is room; 'on': they are, or the run stops;"
        " 'off': every epoch decodes them again",
    )
    max_gb: Positive = Field(
        default=50.0,
        description="Largest size of the decoded images and the embeddings of all runs, in GB; what was not used for"
        " longest makes way",
    )


class ModelSection(ComponentSection):
    """The network."""

    freeze: Annotated[str, Field(min_length=1)] = Field(
        default="none",
        description="'backbone': only the classifier head is trained; the name of a module of the network, such as"
        " 'layer2': it and everything that runs before it is not",
    )
    unfreeze: tuple[Count, ...] = Field(
        default=(),
        description="Epochs that are done when one more layer is trained, beginning with the head alone; the last opens"
        " all that are left. Empty: all are trained from the start",
    )
    layer_decay: Annotated[Number, Field(gt=0, le=1)] = Field(
        default=1.0, description="Learning rate of each layer as a share of that of the layer after it, up to the head"
    )
    head_dropout: Annotated[Number, Field(ge=0, lt=1)] = Field(
        default=0.0, description="Share of features set to zero just before the classifier head, 0 to 1"
    )
    dropout_samples: Annotated[int, Strict(), Field(ge=1, le=64)] = Field(
        default=1, description="Times that the head sees an image in a step, each with other features set to zero"
    )
    head: Literal["own", "cosine"] = Field(
        default="own",
        description="'own': the head that the network has; 'cosine': logits are head_scale times the cosine of features"
        " and class weights, as loss/arcface needs",
    )
    head_scale: Positive = Field(default=30.0, description="With a cosine head: factor of the cosines")
    views: Count | None = Field(
        default=None,
        description="Augmented versions of a training image, of which every epoch takes one; left out: 4 with"
        " freeze = 'backbone' and without transforms.mix, else a new one every time",
    )

    @model_validator(mode="after")
    def _check_together(self) -> ModelSection:
        if self.unfreeze and self.freeze == "backbone":
            raise ValueError(
                'unfreeze begins with the head alone; freeze = "backbone" would leave it alone: remove one'
            )
        if any(later <= earlier for earlier, later in pairwise(self.unfreeze)):
            raise ValueError(f"unfreeze = {list(self.unfreeze)}: each number must be larger than the one before it")
        if self.dropout_samples > 1 and not self.head_dropout:
            raise ValueError("dropout_samples above 1 needs head_dropout above 0: the samples would be equal")
        return self


class ParameterGroup(Section):
    """Parameters of the network that are trained otherwise than the others."""

    match: Annotated[str, Field(min_length=1)] = Field(
        description="Regular expression that is searched in the names of the network's parameters, such as '^head'"
    )
    lr_factor: Positive = Field(default=1.0, description="Factor of the learning rate")
    weight_decay: Annotated[Number, Field(ge=0)] | None = Field(
        default=None, description="Weight decay; left out: the optimizer's, and none for biases and norm layers"
    )

    @field_validator("match")
    @classmethod
    def _is_regular_expression(cls, text: str) -> str:
        try:
            re.compile(text)
        except re.error as error:
            raise ValueError(f"is no regular expression: {error}") from None
        return text


class OptimizerSection(ComponentSection):
    """How weights are changed."""

    groups: tuple[ParameterGroup, ...] = Field(
        default=(),
        description="Parameters with settings of their own, as tables of 'match', a regular expression that is searched"
        " in their names, 'lr_factor' and 'weight_decay'; the first that matches counts",
    )


class Train(Section):
    """How long and in which steps a fold is trained."""

    epochs: Count = Field(default=10, description="Passes over the training rows")
    batch_size: Count = Field(default=64, description="Images per optimizer step")
    accumulate: Count = Field(default=1, description="Parts that the batch of one optimizer step is cut into")
    clip_norm: Positive | None = Field(default=None, description="Largest norm of the gradient; left out: not clipped")
    early_stopping: Count | None = Field(
        default=None, description="Stop after this many epochs without improvement; left out: never"
    )
    average: Literal["none", "ema", "swa", "soup"] = Field(
        default="none",
        description="A mean of weights that is validated and kept in their place: 'ema', over all steps, newer ones"
        " counting more; 'swa', of the last epochs; 'soup', of the best epochs, as many as do not lower the score",
    )
    ema_decay: Annotated[Number, Field(ge=0, lt=1)] = Field(
        default=0.999, description="With 'ema': share of the mean that a step keeps; less in the first steps"
    )
    swa_start: Annotated[int, Strict(), Field(ge=0)] | None = Field(
        default=None, description="With 'swa': epochs before the first that counts; left out: three quarters of them"
    )
    soup_size: Annotated[int, Strict(), Field(ge=2, le=100)] = Field(
        default=5, description="With 'soup': best epochs that are tried"
    )
    seed: Annotated[int, Strict(), Field(ge=0, lt=2**32)] = Field(
        default=0, description="Seed of everything that is random"
    )


def _fill_use(ref: str) -> Callable[[Any], Any]:
    """Let a section with a default component give parameters without naming the component."""

    def fill(value: Any) -> Any:
        return {"use": ref} | value if isinstance(value, dict) else value

    return fill


class HeadSection(Section):
    """What a part of the network's outputs learns; a name alone is an attribute with all defaults."""

    attribute: str = Field(description="Attribute of the data set, or 'class'")
    kind: Literal["classes", "ordinal", "binned"] = Field(
        default="classes",
        description="'classes': an output for each value; 'ordinal': one for each threshold between ordered values;"
        " 'binned': one for each bin of the number behind the values, such as the age in years",
    )
    loss: ComponentSection | None = Field(
        default=None, description="With 'classes': the loss; left out: that of the section loss"
    )
    weight: Positive = Field(default=1.0, description="Factor of its loss in the sum")
    sigma: Positive = Field(
        default=2.0, description="With 'binned': standard deviation of the bins that a number belongs to, in its unit"
    )
    bin_width: Positive = Field(default=1.0, description="With 'binned': width of a bin, in the unit of the number")

    @model_validator(mode="before")
    @classmethod
    def _accept_bare_name(cls, value: Any) -> Any:
        return {"attribute": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _has_one_loss(self) -> HeadSection:
        if self.loss is not None and self.kind != "classes":
            raise ValueError(f"a head of kind '{self.kind}' has a loss of its own; leave out its loss")
        return self


class TrainOnly(Section):
    """Rows that are trained on as something else than they are scored as, or not at all. All conditions must hold."""

    attribute: str = Field(description="Attribute of the data set, or 'class'")
    at_least: Number | None = Field(default=None, description="Condition: its number is this or more")
    below: Number | None = Field(default=None, description="Condition: its number is less than this")
    equals: str | None = Field(default=None, description="Condition: this is its value")
    becomes: str | None = Field(default=None, description="The value that is trained on")
    drop: Annotated[bool, Strict()] = Field(default=False, description="Such rows are left out of training")

    @model_validator(mode="after")
    def _says_when_and_what(self) -> TrainOnly:
        if self.at_least is None and self.below is None and self.equals is None:
            raise ValueError("needs a condition: at_least, below or equals")
        if self.drop == (self.becomes is not None):
            raise ValueError("needs either becomes or drop = true")
        return self


class Targets(Section):
    """What the network learns, where it is not one of the classes as they are."""

    heads: tuple[HeadSection, ...] = Field(
        default=(), description="Attributes that are learned side by side, and joined to classes; none: the classes"
    )
    decode: Literal["product", "joint"] = Field(
        default="product",
        description="Probability of a class: 'product' of those of its values; 'joint': that times how much more often"
        " the values occur together in the training rows than if they were independent",
    )
    experts: Annotated[bool, Strict()] = Field(
        default=False, description="Every head has a network of its own, trained side by side"
    )
    overrides: Path | None = Field(
        default=None,
        description="CSV file of corrected labels, with the columns id, column ('class' or an attribute), value and"
        " reason: trained on, never scored",
    )
    train_only: tuple[TrainOnly, ...] = Field(
        default=(), description="Rules, one after the other, for rows that are trained on as something else"
    )


def _component(ref: str, description: str) -> Any:
    return Field(default=ComponentSection(use=ref), description=f"{description}; {ref} if left out")


class MetricSection(ComponentSection):
    """A metric."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")] | None = Field(
        default=None,
        description="What the score is called in tables and files, such as 'top-3'; needed where a metric is listed"
        " twice with other parameters; left out: the component's name",
    )
    attribute: str | None = Field(
        default=None,
        description="Attribute of the data set whose values are scored in place of the classes, such as 'age'",
    )


class Metrics(Section):
    """What is measured on validation rows. A metric that is listed twice needs a ``name``, such as "top-3"."""

    select: Annotated[MetricSection, BeforeValidator(_fill_use("metric/macro-f1"))] = Field(
        default=MetricSection(use="metric/macro-f1"),
        description="The metric that chooses the best epoch; metric/macro-f1 if left out",
    )
    report: tuple[MetricSection, ...] = Field(
        default=(MetricSection(use="metric/accuracy"), MetricSection(use="metric/log-loss")),
        description="Further metrics, which are only reported",
    )


class Inference(Section):
    """How predictions are made."""

    batch_size: Literal["auto"] | Count = Field(
        default="auto", description="Images per forward pass; auto: measured before a long training, else 256"
    )
    fuse: Literal["auto", "on", "off"] = Field(
        default="auto",
        description="Whether predictions after training have batch normalisation made part of the convolutions before"
        " it: where it was measured to pay ('auto'), wherever it can be done, or never; it changes last digits",
    )
    tta: tuple[Literal["horizontal-flip", "vertical-flip"], ...] = Field(
        default=(), description="Views whose predictions are averaged with those of the plain image"
    )


def _refuse_addresses(value: str) -> str:
    if "://" in value:
        raise ValueError("must be a folder that every machine sees; addresses such as s3:// are not supported")
    return value


class Compute(Section):
    """Where and how fast folds run."""

    executor: Literal["auto", "inline", "process", "ray-task", "ray-train"] = Field(
        default="auto", description="What runs the folds"
    )
    device: Literal["auto", "cpu", "cuda"] = Field(default="auto", description="What computes")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        default="auto", description="Number format of the forward and backward pass"
    )
    tune: Literal["auto", "off"] = Field(
        default="auto",
        description="'auto': a few trial steps choose number format and threads, where the recipe leaves them open",
    )
    compile: Literal["auto", "on", "off"] = Field(
        default="auto",
        description="Whether torch.compile makes code for the network, which takes a minute or more: where measured to"
        " pay, in trainings of hours ('auto'), always, or never; it changes last digits",
    )
    embeddings: Literal["auto", "off"] = Field(
        default="auto",
        description="With model.freeze: run the frozen layers once for all folds and epochs, where it can be done and"
        " pays ('auto'), or in every step ('off')",
    )
    threads: Count | None = Field(
        default=None, description="CPU threads per fold; they can change the last digits of a result"
    )
    prefetch: Literal["auto"] | Annotated[int, Strict(), Field(ge=0, le=64)] = Field(
        default="auto",
        description="Background threads that prepare the next batches of a fold; auto: as many as pay, measured in its"
        " first steps. They never change a result",
    )
    workers_per_fold: Count = Field(default=1, description="Processes that train one fold together")
    gpus_per_worker: Annotated[Number, Field(ge=0)] | None = Field(
        default=None, description="GPUs, or a fraction of one, for each of these processes"
    )
    max_concurrent_folds: Count | None = Field(
        default=None, description="Folds that may run at the same time; left out: as many as fit"
    )
    max_failures: Annotated[int, Strict(), Field(ge=0)] = Field(
        default=2, description="Times that a fold is restarted after its process died"
    )
    storage: Annotated[str, Field(min_length=1), AfterValidator(_refuse_addresses)] | None = Field(
        default=None,
        description="Folder for run folders in place of --runs; all machines of a cluster must see it under this path",
    )
    checkpoint_minutes: Positive = Field(
        default=5.0,
        description="Minutes of an epoch after which training is saved, besides its end; they never change a result",
    )


class Recipe(Section):
    """A whole recipe, with everything that was left out filled in."""

    problem: Problem = Field(default=Problem(), description="What is asked, in words")
    dataset: DatasetSection = Field(description='a [dataset] table with use = "plugin/component" is needed')
    split: Split = Field(default=Split(), description="How training rows are divided into folds")
    transforms: Transforms = Field(default=Transforms(), description="What happens to images")
    cache: Cache = Field(default=Cache(), description="Where decoded images are kept")
    model: ModelSection = Field(description='a [model] table with use = "plugin/component" is needed')
    targets: Targets = Field(default=Targets(), description="What the network learns")
    loss: Annotated[ComponentSection, BeforeValidator(_fill_use("loss/cross-entropy"))] = _component(
        "loss/cross-entropy", "What training minimises"
    )
    optimizer: Annotated[OptimizerSection, BeforeValidator(_fill_use("optimizer/adamw"))] = Field(
        default=OptimizerSection(use="optimizer/adamw"),
        description="How weights are changed; optimizer/adamw if left out",
    )
    scheduler: Annotated[ComponentSection, BeforeValidator(_fill_use("scheduler/cosine"))] = _component(
        "scheduler/cosine", "How the learning rate changes"
    )
    sampler: Annotated[ComponentSection, BeforeValidator(_fill_use("sampler/shuffled"))] = _component(
        "sampler/shuffled", "Order and frequency of training rows"
    )
    train: Train = Field(default=Train(), description="How long and in which steps a fold is trained")
    metrics: Metrics = Field(default=Metrics(), description="What is measured on validation rows")
    inference: Inference = Field(default=Inference(), description="How predictions are made")
    ensemble: Annotated[ComponentSection, BeforeValidator(_fill_use("ensemble/soft-vote"))] = _component(
        "ensemble/soft-vote", "How the folds' predictions are joined"
    )
    compute: Compute = Field(default=Compute(), description="Where and how fast folds run")
    observers: tuple[str, ...] = Field(default=(), description="Plugins that are told what happens, in order")
