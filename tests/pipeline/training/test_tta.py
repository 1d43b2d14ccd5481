from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from icf.errors import PluginError
from icf.pipeline.data.preprocess import Preprocessing
from icf.pipeline.training.heads import ClassHead, OrdinalHead
from icf.pipeline.training.joint import JointOutput
from icf.pipeline.training.output import Sigmoid, Softmax
from icf.pipeline.training.trial import try_views
from icf.pipeline.training.tta import Views, ViewTransform, build_views
from icf.plan import Plan, load_plan

SPEC = Preprocessing(image_size=(12, 10), channels=3, resize="stretch", mean=(0.5,) * 3, std=(0.2,) * 3)
LOGITS = np.random.default_rng(0).normal(0, 3, (3, 5, 7))
RANDOM = '{use="augment/erasing", p=0.9, fill="noise"}'

RECIPE = """
    dataset = "sklearn/digits"
    model = "nn/sequential-cnn"
"""

SCRIBBLER = """
    import icf

    @icf.hookimpl
    def icf_transforms():
        yield icf.Transform(name="scribble", factory="scribbler:make", summary="Writes into its input")

    def make(params, ctx):
        def scribble(images, generator):
            return images.zero_()
        return scribble
"""


def plan_views(folder: Path, views: str, *overrides: str, plugins: tuple[Path, ...] = ()) -> Plan:
    (folder / "small.toml").write_text(RECIPE)
    return load_plan(folder / "small.toml", [f"inference.tta={views}", *overrides], plugin_files=plugins)


def open_views(folder: Path, views: str, *overrides: str) -> list[ViewTransform]:
    return list(build_views(plan_views(folder, views, *overrides), SPEC).transforms)


def draw_images(count: int = 9) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (count, 12, 10, 3), dtype=torch.uint8, generator=generator).permute(0, 3, 1, 2)


def softmax(values: np.ndarray) -> np.ndarray:
    powers = np.exp(values)
    return powers / powers.sum(axis=-1, keepdims=True)


def sigmoid(values: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-values))


def test_probabilities_or_logits_of_classes_are_averaged() -> None:
    output, logits = Softmax(classes=7), torch.from_numpy(LOGITS)
    np.testing.assert_allclose(Views().join(output, logits), softmax(LOGITS).mean(axis=0))
    found = Views(average="logits").join(output, logits)
    np.testing.assert_allclose(found, softmax(LOGITS.mean(axis=0)))
    geometric = np.exp(np.log(softmax(LOGITS)).mean(axis=0))
    np.testing.assert_allclose(found, geometric / geometric.sum(axis=1, keepdims=True))


def test_probabilities_or_logits_of_labels_are_averaged() -> None:
    output, logits = Sigmoid(labels=7), torch.from_numpy(LOGITS)
    np.testing.assert_allclose(Views().join(output, logits), sigmoid(LOGITS).mean(axis=0))
    np.testing.assert_allclose(Views(average="logits").join(output, logits), sigmoid(LOGITS.mean(axis=0)))


def join_heads(logits: np.ndarray) -> np.ndarray:
    """Two classes times three ordered values, six classes in all."""
    above = sigmoid(logits[..., 2:4])
    first = softmax(logits[..., :2])
    values = np.stack([1 - above[..., 0], above[..., 0] - above[..., 1], above[..., 1]], axis=-1)
    return (first[..., :, None] * values[..., None, :]).reshape(*logits.shape[:-1], 6)


def test_heads_are_averaged_before_they_are_joined() -> None:
    heads = (
        ClassHead(attribute="kind", of_class=(0, 0, 0, 1, 1, 1), values=2, weight=1.0),
        OrdinalHead(attribute="age", of_class=(0, 1, 2, 0, 1, 2), values=3, weight=1.0),
    )
    output = JointOutput(heads=heads, decoding="product", experts=False)
    outputs = LOGITS[..., :4].copy()
    outputs[..., 3] = outputs[..., 2] - np.abs(outputs[..., 3])  # a threshold never contradicts the one below
    logits = torch.from_numpy(outputs)
    np.testing.assert_allclose(Views().join(output, logits), join_heads(outputs).mean(axis=0))
    np.testing.assert_allclose(Views(average="logits").join(output, logits), join_heads(outputs.mean(axis=0)))


def test_the_steps_of_a_view_are_done_in_order(tmp_path: Path) -> None:
    images = draw_images()
    crop = '{use="augment/crop", place="top-left", share=0.5}'
    views = open_views(tmp_path, f'["horizontal-flip", {crop}, ["horizontal-flip", {crop}], [{crop}, "vertical-flip"]]')
    flipped, cropped, flipped_first, flipped_last = (view(images) for view in views)
    assert torch.equal(flipped, images.flip(3))
    assert torch.equal(flipped_first, views[1](flipped))
    assert torch.equal(flipped_last, cropped.flip(2))
    assert not torch.equal(flipped_first, cropped.flip(3))
    assert [view.key for view in views] == [
        "horizontal-flip", "2: augment/crop", "3: horizontal-flip + augment/crop", "4: augment/crop + vertical-flip",
    ]  # fmt: skip
    assert all(view.any_device for view in views)


@settings(max_examples=20, deadline=None)
@given(order=st.permutations(range(9)), size=st.integers(1, 9))
def test_a_random_view_is_the_same_in_any_batch(
    tmp_path_factory: pytest.TempPathFactory, order: list[int], size: int
) -> None:
    images = draw_images()
    [view] = open_views(tmp_path_factory.mktemp("recipe"), f"[{RANDOM}]")
    whole = view(images)
    parts = torch.cat([view(part) for part in images[list(order)].split(size)])
    assert torch.equal(parts, whole[list(order)])
    assert not torch.equal(whole, images)
    assert not view.any_device


def test_a_random_view_follows_from_seed_number_and_image(tmp_path: Path) -> None:
    image = draw_images(1)
    other = image.clone()
    other[0, 0, 0, 0] ^= 1
    first, second = open_views(tmp_path, f"[{RANDOM}, {RANDOM}]")
    [seeded] = open_views(tmp_path, f"[{RANDOM}]", "train.seed=1")
    seen = first(image)
    changed = first(other)
    changed[0, 0, 0, 0] = seen[0, 0, 0, 0]
    different = [second(image), seeded(image), changed]
    assert not any(torch.equal(seen, each) for each in different)
    assert torch.equal(open_views(tmp_path, f"[{RANDOM}]")[0](image), seen)


def test_transforms_of_albumentations_and_torchvision_are_views(tmp_path: Path) -> None:
    images = draw_images()
    vision = '{use="torchvision/transform", op="RandomRotation", args={degrees=30}}'
    resized = '{use="torchvision/transform", op="Resize", args={size=[6, 5]}}'
    enlarged = '{use="torchvision/transform", op="Resize", args={size=[12, 10]}}'
    drawn = '{use="albumentations/transform", op="GaussNoise"}'
    for view in open_views(tmp_path, f"[{vision}, [{resized}, {enlarged}], {drawn}]"):
        seen = view(images)
        assert not torch.equal(seen, images)
        assert torch.equal(torch.cat([view(image) for image in images.split(1)]), seen)


def test_a_view_that_changes_the_size_is_refused_before_the_training(tmp_path: Path) -> None:
    resized = '{use="torchvision/transform", op="Resize", args={size=[6, 5]}}'
    with pytest.raises(PluginError, match=r"inference.tta\[1\] gives images of \[6, 5\] pixels.* takes \[12, 10\]"):
        try_views(plan_views(tmp_path, f'["horizontal-flip", {resized}]'), SPEC)


def test_a_view_that_writes_into_images_spoils_no_other(tmp_path: Path) -> None:
    (tmp_path / "scribbler.py").write_text("\n".join(line[4:] for line in SCRIBBLER.splitlines()))
    plan = plan_views(tmp_path, '["scribbler/scribble"]', plugins=(tmp_path / "scribbler.py",))
    assert plan.view_transforms[0].ref == "scribbler/scribble"
    images = draw_images()
    [view] = build_views(plan, SPEC).transforms
    assert not view(images).any()
    assert torch.equal(images, draw_images())
