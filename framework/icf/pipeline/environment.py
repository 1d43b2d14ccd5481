"""On what a run was made: versions and hardware, for the report and for reproduction."""

from __future__ import annotations

import importlib.metadata
import platform
from typing import Any

import torch

from icf.pipeline.cache import count_cores

PACKAGES = (
    "icf", "torch", "torchvision", "timm", "albumentations", "ray", "numpy", "scikit-learn", "pillow", "pluggy",
)  # fmt: skip


def describe_environment() -> dict[str, Any]:
    """Return versions, processor and GPUs as plain data."""
    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return {
        "python": platform.python_version(),
        "system": platform.platform(),
        "processor": read_processor(),
        "cores": count_cores(),
        "gpus": gpus,
        "packages": {name: _find_version(name) for name in PACKAGES},
    }


def _find_version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def read_processor() -> str:
    """Return the processor's name."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor()
