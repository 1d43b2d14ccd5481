"""Transforms of albumentations, applied image by image."""

from __future__ import annotations

import inspect
import os
from types import ModuleType
from typing import Any

import numpy as np
import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

import icf
from icf_albumentations.plugin import TransformParams

CROP_SCALE = 1.15
"""Images of which random parts are resized come so much larger than the network's, or most parts would be blurred."""

GEOMETRY = frozenset({"crops", "geometric"})
"""Modules of albumentations whose classes move, crop and resize."""

NORMALISING = frozenset({"FromFloat", "Normalize", "ToFloat", "ToTensor3D", "ToTensorV2"})
UNFIT = {
    "BasicTransform": "it does nothing by itself",
    "CenterCrop3D": "it is for volumes",
    "CoarseDropout3D": "it is for volumes",
    "ConstrainedCoarseDropout": "it needs masks of objects; use CoarseDropout",
    "CropNonEmptyMaskIfExists": "it needs masks of objects",
    "CubicSymmetry": "it is for volumes",
    "DualTransform": "it does nothing by itself",
    "FDA": "it needs other images to imitate",
    "HistogramMatching": "it needs other images to imitate",
    "ImageOnlyTransform": "it does nothing by itself",
    "Lambda": "a recipe holds no code",
    "MaskDropout": "it needs masks of objects",
    "Mosaic": "it mixes images and labels; use augment/cutmix in transforms.mix",
    "OverlayElements": "it needs other images to lay over",
    "Pad3D": "it is for volumes",
    "PadIfNeeded3D": "it is for volumes",
    "PixelDistributionAdaptation": "it needs other images to imitate",
    "RandomCrop3D": "it is for volumes",
    "RandomCropNearBBox": "it needs boxes around objects",
    "BBoxSafeRandomCrop": "it needs boxes around objects",
    "RandomSizedBBoxSafeCrop": "it needs boxes around objects",
    "TextImage": "it needs texts to write",
    "Transform3D": "it does nothing by itself",
}
NESTING = frozenset({"OneOf", "OneOrOther", "RandomOrder", "SelectiveChannelTransform", "Sequential", "SomeOf"})
"""Their argument ``transforms`` is a list of others, each a table with ``op``, ``args`` and ``p``."""


def build_transform(params: TransformParams, _ctx: icf.TransformContext) -> AlbumentationsTransform:
    """Build the transform: uint8 [N, C, H, W] -> uint8 [N, C, H', W'].

    Raises PluginError for an unknown class, arguments it does not take, and classes that normalise or
    change the number format.
    """
    library = _import_quietly()
    transform = _build(library, params)
    geometric = any(part in GEOMETRY for part in type(transform).__module__.split("."))
    return AlbumentationsTransform(params.op, library.Compose([transform]), geometric=geometric)


def _build(library: ModuleType, params: TransformParams) -> Any:
    transform_class = _find_class(library, params.op)
    takes = [name for name in inspect.signature(transform_class).parameters if name != "p"]
    unknown = sorted(set(params.args) - set(takes))
    if unknown:
        raise icf.PluginError(
            f"albumentations/transform: {params.op} has no argument '{unknown[0]}'{icf.suggest(unknown[0], takes)} "
            f"(it takes: {', '.join(takes)})"
        )
    args: dict[str, Any] = dict(params.args)
    if params.op in NESTING and "transforms" in args:
        args["transforms"] = [_build(library, part) for part in _read_parts(params.op, args["transforms"])]
    try:
        return transform_class(**args, p=params.p)
    except (TypeError, ValueError) as error:
        raise icf.PluginError(
            f"albumentations/transform: {params.op} does not take args = {params.args}: {error}"
        ) from None


def _read_parts(op: str, parts: Any) -> list[TransformParams]:
    try:
        return TypeAdapter(list[TransformParams]).validate_python(parts)
    except ValidationError as error:
        where = "".join(f"[{part}]" for part in error.errors()[0]["loc"])
        raise icf.PluginError(
            f"albumentations/transform: {op}: args.transforms{where}: {error.errors()[0]['msg']} (it must be a list"
            ' such as [{ op = "CLAHE", p = 1.0 }])'
        ) from None


def _import_quietly() -> ModuleType:
    """Import albumentations without the question to PyPI whether there is a newer one."""
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    import albumentations

    library: ModuleType = albumentations
    return library


def _find_class(library: ModuleType, op: str) -> type[Any]:
    known: dict[str, type[Any]] = {
        name: member
        for name, member in vars(library).items()
        if inspect.isclass(member) and (issubclass(member, library.BasicTransform) or name in NESTING)
    }
    if op not in known:
        nests = inspect.isclass(getattr(library, op, None)) and issubclass(getattr(library, op), library.BaseCompose)
        reason = "it is not needed; use Sequential" if nests else f"no such class{icf.suggest(op, known)}"
        raise icf.PluginError(f'albumentations/transform: op = "{op}": {reason}')
    if op in NORMALISING:
        raise icf.PluginError(
            f"albumentations/transform: {op} is not needed: images stay uint8, and icf converts and normalises "
            "them itself, last. Leave it out."
        )
    if op in UNFIT:
        raise icf.PluginError(f"albumentations/transform: {op} can't be used here: {UNFIT[op]}.")
    return known[op]


class AlbumentationsTransform:
    """A transform of albumentations, seeded for each batch from the generator that is passed in."""

    def __init__(self, op: str, compose: Any, *, geometric: bool) -> None:
        self.op = op
        self.compose = compose
        self.geometric = geometric
        self.input_scale = CROP_SCALE if op == "RandomResizedCrop" else 1.0

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Return the changed batch, laid out as [N, H, W, C] in memory; raises PluginError on failure."""
        self.compose.set_random_seed(int(torch.randint(2**31 - 1, (), generator=generator)))
        if not len(images):
            return images
        changed = [self._apply(image) for image in images.permute(0, 2, 3, 1).cpu().numpy()]
        sizes = sorted({image.shape[:2] for image in changed})
        if len(sizes) > 1:
            raise icf.PluginError(
                f"albumentations/transform: {self.op} made images of different sizes {sizes[0]}, {sizes[1]}; "
                "a batch needs one size"
            )
        return torch.from_numpy(np.stack(changed)).permute(0, 3, 1, 2).to(images.device)

    def _apply(self, image: icf.PixelArray) -> icf.PixelArray:
        # Some transforms write into their input, which may be the caller's memory.
        try:
            changed: icf.PixelArray = self.compose(image=image.copy())["image"]
        except Exception as error:  # OpenCV and albumentations raise a dozen kinds
            raise icf.PluginError(
                f"albumentations/transform: {self.op} failed on an image of {image.shape}: {error}"
            ) from error
        if changed.ndim == 2:
            changed = changed[:, :, None]
        if changed.dtype != np.uint8 or changed.shape[2:] != image.shape[2:]:
            raise icf.PluginError(
                f"albumentations/transform: {self.op} made {changed.dtype} {changed.shape} of uint8 {image.shape}; "
                f"it must keep uint8 and the number of channels ({image.shape[2]})"
            )
        return changed
