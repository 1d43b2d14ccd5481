"""The number format that a network computes in: float32, or bfloat16 or float16 where torch finds that safe."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from functools import cache
from typing import Any

import torch
from torch import nn

from icf.pipeline.training.measured import recall_or_measure, use_threads

PRECISIONS = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}
"""Name in recipes -> type of autocast; None for float32."""

CLEARLY = 1.2
"""How many times as fast as float32 bfloat16 has to be, so that noise does not decide."""

CONVOLUTIONS = 6


def choose_precision(wanted: str, model: nn.Module, device: torch.device) -> torch.dtype | None:
    """Return the autocast type, or None for float32.

    "auto" is a fixed rule, for where nothing was measured: bfloat16 where the hardware
    computes in it, except for depthwise networks on a CPU, which it makes slower; else float16 on a GPU.
    """
    if wanted != "auto":
        return PRECISIONS[wanted]
    if device.type == "cuda":
        major, _ = torch.cuda.get_device_capability(device)
        return torch.bfloat16 if major >= 8 else torch.float16
    return torch.bfloat16 if has_fast_bf16() and not is_depthwise(model) else None


@cache
def has_fast_bf16() -> bool:
    """Tell whether the processor convolves in bfloat16 clearly faster than in float32; measured once, and remembered.

    That it has the instructions does not say so: where a virtual machine hides the matrix unit of a Xeon, those that
    are left reach 0.6 times the speed of float32, and elsewhere twice that speed.
    """
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    native = [bool(getattr(torch.cpu, name, lambda: False)()) for name in checks]
    known = torch.backends.cpu.get_cpu_capability() != "DEFAULT" and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    if not (known and any(native)):
        return False
    formats = {"fp32": torch.float32, "bf16": torch.bfloat16}
    speeds = recall_or_measure(["convolution", native], list(formats), lambda: _measure_formats(formats))
    return speeds["bf16"] > CLEARLY * speeds["fp32"]


def _measure_formats(formats: Mapping[str, torch.dtype]) -> dict[str, float]:
    """Return convolutions per second on one thread, the fastest of some that take turns; it takes .03 s.

    The fastest, since what one thread can do is asked, and not what other programs leave of it.
    """
    with use_threads(1):
        rounds = [{name: _time_convolution(dtype) for name, dtype in formats.items()} for _ in range(CONVOLUTIONS)]
    return {name: max(found[name] for found in rounds) for name in formats}


@torch.inference_mode()
def _time_convolution(dtype: torch.dtype) -> float:
    images = torch.zeros((4, 64, 28, 28), dtype=dtype).to(memory_format=torch.channels_last)
    weights = torch.zeros((64, 64, 3, 3), dtype=dtype).to(memory_format=torch.channels_last)
    started = time.perf_counter()
    nn.functional.conv2d(images, weights, padding=1)
    return 1 / (time.perf_counter() - started)


def is_depthwise(model: nn.Module) -> bool:
    """Tell whether a network is built of depthwise convolutions."""
    kernels = [m for m in model.modules() if isinstance(m, nn.Conv2d) and m.kernel_size != (1, 1)]
    depthwise = [m for m in kernels if m.groups > 1 and m.groups == m.in_channels]
    return len(depthwise) * 2 > len(kernels)


def autocast(device: torch.device, dtype: torch.dtype | None) -> contextlib.AbstractContextManager[Any]:
    """Return the mixed-precision context, or one that does nothing."""
    if dtype is None:
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=dtype)
