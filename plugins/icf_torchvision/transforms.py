"""Transforms of torchvision.transforms.v2, applied image by image."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor
from torchvision.transforms import AutoAugmentPolicy, InterpolationMode, v2

import icf
from icf_torchvision.plugin import AugMixParams, AutoAugmentParams, PolicyParams, RandAugmentParams, TransformParams

DETERMINISTIC = frozenset({"CenterCrop", "Grayscale", "Pad", "RGB", "Resize"})
"""They do the same to every image, so a whole batch is changed at once."""

NORMALISING = frozenset(
    {
        "ConvertImageDtype",
        "LinearTransformation",
        "Normalize",
        "PILToTensor",
        "ToDtype",
        "ToImage",
        "ToPILImage",
        "ToPureTensor",
        "ToTensor",
    }
)
CROP_SCALE = 1.15
"""Images of which random parts are resized come so much larger than the network's, or most parts would be blurred."""

NESTING = frozenset({"Compose", "RandomApply", "RandomChoice", "RandomOrder"})
"""Their argument ``transforms`` is a list of others, each a table with ``op`` and ``args``."""

UNFIT = {
    "ClampBoundingBoxes": "it changes boxes, not images",
    "ClampKeyPoints": "it changes points, not images",
    "ConvertBoundingBoxFormat": "it changes boxes, not images",
    "CutMix": "it mixes labels too; use augment/cutmix in transforms.mix",
    "FiveCrop": "it makes several images of one",
    "Lambda": "a recipe holds no code",
    "MixUp": "it mixes labels too; use augment/mixup in transforms.mix",
    "RandomIoUCrop": "it needs boxes around objects",
    "SanitizeBoundingBoxes": "it changes boxes, not images",
    "SanitizeKeyPoints": "it changes points, not images",
    "SetClampingMode": "it changes boxes, not images",
    "TenCrop": "it makes several images of one",
    "Transform": "it does nothing",
    "UniformTemporalSubsample": "it is for video",
}


def build_transform(params: TransformParams, _ctx: icf.TransformContext) -> VisionTransform:
    """Build the transform: uint8 [N, C, H, W] -> uint8 [N, C, H', W'].

    Raises PluginError for an unknown class, arguments it does not take, and classes that normalise, change
    the number format or mix labels.
    """
    return VisionTransform(params.op, _build(params))


def build_rand_augment(params: RandAugmentParams, _ctx: icf.TransformContext) -> VisionTransform:
    """Build RandAugment."""
    return _build_policy(params.p, "RandAugment", num_ops=params.operations, magnitude=params.magnitude)


def build_trivial_augment(params: PolicyParams, _ctx: icf.TransformContext) -> VisionTransform:
    """Build TrivialAugment with its wide ranges."""
    return _build_policy(params.p, "TrivialAugmentWide")


def build_auto_augment(params: AutoAugmentParams, _ctx: icf.TransformContext) -> VisionTransform:
    """Build AutoAugment."""
    return _build_policy(params.p, "AutoAugment", policy=params.policy)


def build_aug_mix(params: AugMixParams, _ctx: icf.TransformContext) -> VisionTransform:
    """Build AugMix."""
    return _build_policy(
        params.p,
        "AugMix",
        severity=params.severity,
        mixture_width=params.chains,
        chain_depth=params.depth,
        alpha=params.alpha,
        all_ops=params.all_operations,
    )


def _build_policy(p: float, op: str, **args: Any) -> VisionTransform:
    transform = _build(TransformParams(op=op, args=args))
    return VisionTransform(op, transform if p == 1 else v2.RandomApply([transform], p=p))


def _build(params: TransformParams) -> torch.nn.Module:
    transform_class = _find_class(params.op)
    try:
        return transform_class(**_convert_arguments(params))
    except (TypeError, ValueError) as error:
        takes = ", ".join(inspect.signature(transform_class).parameters)
        raise icf.PluginError(
            f"torchvision/transform: {params.op} does not take args = {params.args}: {error} (it takes: {takes})"
        ) from None


def _find_class(op: str) -> type[torch.nn.Module]:
    known: dict[str, type[torch.nn.Module]] = {
        name: member for name, member in vars(v2).items() if _is_transform(member)
    }
    if op not in known:
        raise icf.PluginError(
            f'torchvision/transform: op = "{op}": torchvision.transforms.v2 has no such class{icf.suggest(op, known)}'
        )
    if op in NORMALISING:
        raise icf.PluginError(
            f"torchvision/transform: {op} is not needed: images stay uint8, and icf converts and normalises "
            "them itself, last. Leave it out."
        )
    if op in UNFIT:
        raise icf.PluginError(f"torchvision/transform: {op} can't be used here: {UNFIT[op]}.")
    return known[op]


def _is_transform(member: object) -> bool:
    return inspect.isclass(member) and issubclass(member, v2.Transform)


def _convert_arguments(params: TransformParams) -> dict[str, Any]:
    """Turn names of interpolations and policies into torchvision's enumerations, and tables into transforms."""
    converted: dict[str, Any] = dict(params.args)
    if params.op in NESTING and "transforms" in converted:
        converted["transforms"] = [_build(part) for part in _read_parts(params.op, converted["transforms"])]
    for key, enumeration in (("interpolation", InterpolationMode), ("policy", AutoAugmentPolicy)):
        if isinstance(converted.get(key), str):
            converted[key] = enumeration(converted[key])
    return converted


def _read_parts(op: str, parts: Any) -> list[TransformParams]:
    try:
        return TypeAdapter(list[TransformParams]).validate_python(parts)
    except ValidationError as error:
        where = "".join(f"[{part}]" for part in error.errors()[0]["loc"])
        raise icf.PluginError(
            f"torchvision/transform: {op}: args.transforms{where}: {error.errors()[0]['msg']} (it must be a list such"
            ' as [{ op = "ColorJitter", args = { hue = 0.1 } }])'
        ) from None


class VisionTransform:
    """A transform of torchvision with its randomness taken from the generator that is passed in.

    torchvision draws once per call and from torch's global generator. So random transforms are called
    for one image at a time, with the global state seeded before and restored after.
    """

    def __init__(self, op: str, transform: torch.nn.Module) -> None:
        self.op = op
        self.transform = transform
        self.deterministic = self.thread_safe = op in DETERMINISTIC
        self.input_scale = CROP_SCALE if op == "RandomResizedCrop" else 1.0
        self.geometric = type(transform).__module__.endswith("._geometry")

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Return the changed batch; raises PluginError when the result is no batch of such images."""
        if self.op in DETERMINISTIC:
            return self._check(self._apply(images), images)
        seed = int(torch.randint(2**62, (), generator=generator))
        with torch.random.fork_rng(devices=[images.device] if images.is_cuda else []):
            torch.default_generator.manual_seed(seed)
            if images.is_cuda:
                torch.cuda.manual_seed(seed)
            changed = [self._check(self._apply(image), image) for image in images]
        return self._join(changed, images)

    def _apply(self, images: Tensor) -> Any:
        try:
            return self.transform(images)
        except (TypeError, ValueError, RuntimeError) as error:
            raise icf.PluginError(
                f"torchvision/transform: {self.op} failed on images of {tuple(images.shape)}: {error}"
            ) from error

    def _check(self, changed: Any, images: Tensor) -> Tensor:
        fits = isinstance(changed, Tensor) and changed.dtype == torch.uint8 and changed.ndim == images.ndim
        if not fits or changed.shape[-3] != images.shape[-3]:
            found = f"{changed.dtype} {tuple(changed.shape)}" if isinstance(changed, Tensor) else type(changed)
            raise icf.PluginError(
                f"torchvision/transform: {self.op} made {found} of uint8 {tuple(images.shape)}; it must "
                f"keep uint8 and the number of channels ({images.shape[-3]})"
            )
        result: Tensor = changed
        return result

    def _join(self, changed: list[Tensor], images: Tensor) -> Tensor:
        sizes = sorted({tuple(image.shape[-2:]) for image in changed})
        if len(sizes) > 1:
            raise icf.PluginError(
                f"torchvision/transform: {self.op} made images of different sizes {sizes[0]}, {sizes[1]}; "
                "a batch needs one size"
            )
        batch = torch.stack(changed) if changed else images
        if images.is_contiguous(memory_format=torch.channels_last):
            return batch.contiguous(memory_format=torch.channels_last)
        return batch
