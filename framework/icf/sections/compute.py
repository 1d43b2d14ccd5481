"""The section of where and how fast folds run."""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import parse_qs, urlsplit

from pydantic import AfterValidator, Field, Strict

from icf.sections.base import Count, Number, Positive, Section


def _refuse_credentials(value: str) -> str:
    secret = {"access_key", "secret_key", "session_token", "password"} & parse_qs(urlsplit(value).query).keys()
    if "://" in value and ("@" in urlsplit(value).netloc or secret):
        raise ValueError("must hold no credentials; they come from the environment, as from AWS_ACCESS_KEY_ID")
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
    memory_format: Literal["auto", "channels-last", "contiguous"] = Field(
        default="auto",
        description="Order of weights and images in memory while training; auto: what is measured to be faster on this"
        " machine's processor, else channels-last. It can change last digits",
    )
    tune: Literal["auto", "off"] = Field(
        default="auto",
        description="'auto': a few trial steps choose number format, memory format and threads, where the recipe leaves"
        " them open",
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
    storage: Annotated[str, Field(min_length=1), AfterValidator(_refuse_credentials)] | None = Field(
        default=None,
        description="Folder for run folders in place of --runs, which all machines of a cluster must see under this"
        " path; or an address, such as s3://bucket/runs, where checkpoints and products are kept",
    )
    checkpoint_minutes: Positive = Field(
        default=5.0,
        description="Minutes of an epoch after which training is saved, besides its end; they never change a result",
    )
