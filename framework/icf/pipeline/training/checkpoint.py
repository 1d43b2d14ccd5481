"""Checkpoints: weights as safetensors, everything else as tensors and plain data, never as pickled objects."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from icf.errors import IcfError
from icf.pipeline.files import write_file


def save_weights(path: Path, model: nn.Module, metadata: dict[str, Any]) -> None:
    """Write the model's parameters and buffers; ``metadata`` (JSON-able) tells how to use them."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    # Straight into the file: bytes in between would take as much memory again, twice.
    write_file(path, lambda file: save_file(_untie(tensors), file, metadata={"icf": json.dumps(metadata)}))


def _untie(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Copy tensors that share memory; safetensors stores each name by itself."""
    seen: set[int] = set()
    result = {}
    for name, tensor in tensors.items():
        pointer = tensor.untyped_storage().data_ptr()
        result[name] = tensor.clone() if pointer in seen else tensor
        seen.add(pointer)
    return result


def load_weights(path: Path, model: nn.Module) -> None:
    """Load weights into a model of the same shape; IcfError when the file is damaged or does not fit."""
    try:
        model.load_state_dict(load_file(path), strict=True)
    except (SafetensorError, OSError, RuntimeError) as error:
        raise IcfError(f"{path}: these weights can't be loaded into the model: {error}") from error


def read_metadata(path: Path) -> dict[str, Any]:
    """Return what save_weights was given beside the weights."""
    try:
        with safe_open(path, framework="pt") as file:
            value: dict[str, Any] = json.loads(file.metadata()["icf"])
            return value
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise IcfError(f"{path}: not a weights file of icf: {error}") from error


def name_state(epoch: int, step: int) -> str:
    """Return the name of a state after whole epochs and some steps of the next one; it sorts by time."""
    return f"epoch-{epoch:05d}" + (f"-step-{step:07d}" if step else "")


def save_state(folder: Path, name: str, model: nn.Module, state: dict[str, Any], same: Path | None = None) -> None:
    """Write ``folder/name`` whole or not at all, then remove older ones.

    ``same`` is a file that holds the model's present weights already, so that they need not be written again.
    """
    final = folder / name
    temporary = folder / f".{name}.{secrets.token_hex(4)}.tmp"
    temporary.mkdir(parents=True)
    try:
        if same is None or not _link(same, temporary / "model.safetensors"):
            save_weights(temporary / "model.safetensors", model, {"state": name})
        write_file(temporary / "state.pt", lambda file: torch.save(state, file))
        shutil.rmtree(final, ignore_errors=True)
        temporary.rename(final)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    for other in list_states(folder):
        if other.name < name:
            shutil.rmtree(other, ignore_errors=True)


def _link(path: Path, other: Path) -> bool:
    """Give a file a second name, if the file system can; files are replaced and never changed, so both stay whole."""
    try:
        os.link(path, other)
    except OSError:
        return False
    return True


def read_state(folder: Path) -> dict[str, Any] | None:
    """Return what save_state was given for the last state; None when there is none.

    Raises:
        IcfError: the file is damaged, or holds something else than tensors and plain data.
    """
    states = list_states(folder)
    if not states:
        return None
    path = states[-1] / "state.pt"
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    # torch raises whatever it stumbles over in a damaged file.
    except Exception as error:
        text = str(error).strip().partition("\n")[0]
        raise IcfError(f"{path}: this checkpoint can't be read ({text}); remove {folder} to train anew") from error
    return state


def load_state_weights(folder: Path, model: nn.Module) -> None:
    """Load the weights of the last state."""
    load_weights(list_states(folder)[-1] / "model.safetensors", model)


def list_states(folder: Path) -> list[Path]:
    """Return the complete states below a checkpoint folder, oldest first."""
    return sorted(folder.glob("epoch-[0-9]*"))
