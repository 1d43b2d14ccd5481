from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

import distributions
from icf.errors import BadImagesError, DataError, IcfError, PluginError
from icf.pipeline.check import CheckResult, check_plan
from icf.pipeline.listener import Listener
from icf.plan import load_plan
from training import TOY, TOY_PARTS, make_plan, save_digits

installer = pytest.fixture(distributions.installer)

SHARED = """
    import icf

    class SharedParams(icf.Params):
        probability: float = 1.0

    @icf.hookimpl
    def icf_transforms():
        yield icf.Transform(name="invert", factory="{module}:build", params=SharedParams, summary="Inverts some")

    def build(params, ctx):
        import torch

        def invert(images, generator):
            chosen = torch.rand(len(images), generator=generator) < params.probability
            return torch.where(chosen[:, None, None, None], 255 - images, images)

        return invert
"""


@pytest.fixture(autouse=True)
def _surroundings(tmp_path: Path, installer: distributions.Installer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ICF_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    installer.install("toy", {"toy": TOY, "toy_parts": TOY_PARTS}, entry_points={"toy": "toy"})
    installer.install("shared", {"shared_kit": SHARED}, entry_points={"shared": "shared_kit"})


def check(*overrides: str) -> CheckResult:
    return check_plan(make_plan(*overrides), Listener())


def test_a_good_recipe_is_described_without_training(tmp_path: Path) -> None:
    result = check("train.epochs=1000000", "optimizer.lr=0.003")
    assert result.facts["training rows"] == sum(result.folds) == 539
    assert len(result.folds) == 3
    assert result.method == "stratified-kfold"
    assert result.weights == "random initialisation"
    assert result.step.startswith("19,562 parameters, 19,562 trained, cpu, float32; loss 2.")
    assert not (tmp_path / "runs").exists()
    assert {path.name for path in tmp_path.iterdir()} == {"cache", "site"}


def test_a_frozen_backbone_is_counted() -> None:
    assert "19,562 parameters, 650 trained" in check('model.freeze="backbone"').step


@pytest.mark.parametrize("probability", [0.5, 0.1])
def test_a_random_shared_transform_is_found(probability: float) -> None:
    with pytest.raises(PluginError, match=r"transforms\.shared\[1\]: shared/invert is random.*transforms\.train"):
        check(f'transforms.shared=["shared/invert", {{use="shared/invert", probability={probability}}}]')


def test_a_shared_transform_that_is_always_the_same_is_allowed() -> None:
    assert check('transforms.shared=["shared/invert"]').facts["training rows"] == 539


def test_shared_transforms_get_whole_images_one_after_the_other(tmp_path: Path) -> None:
    save_digits(tmp_path / "data" / "train", range(20), scale=4)
    crop = '{use="albumentations/transform", op="CenterCrop", args={height=%d, width=%d}, p=1.0}'
    assert check_folder(f"transforms.shared=[{crop % (30, 30)}, {crop % (20, 20)}]").facts["training rows"] == 20
    with pytest.raises(PluginError, match="CenterCrop failed on an image of"):
        check_folder(f"transforms.shared=[{crop % (20, 20)}, {crop % (30, 30)}]")


def test_logits_of_the_wrong_shape_are_found() -> None:
    with pytest.raises(
        PluginError, match=r"'toy/hidden' \(toy 1\.0\): logits are a tensor of float32 \[2, 7\], but .* \[2, 10\]"
    ):
        check('model={use="toy/hidden", outputs=7}')


def test_a_model_that_does_not_fit_the_images_is_named() -> None:
    with pytest.raises(PluginError, match=r"model 'toy/hidden' \(toy 1\.0\) failed on two images: RuntimeError"):
        check('model={use="toy/hidden", side=5}')


def test_a_loss_that_fails_is_named(tmp_path: Path) -> None:
    (tmp_path / "grudge").touch()
    with pytest.raises(PluginError, match=r"loss 'toy/spiteful' \(toy 1\.0\) failed on two images: ValueError: this"):
        check('loss={use="toy/spiteful", grudge="grudge"}')


def test_a_wrong_number_of_class_weights_is_found() -> None:
    with pytest.raises(PluginError, match="3 weights are given, but the data set has 10 classes"):
        check("loss.class_weights=[1.0, 2.0, 3.0]")


def test_a_training_transform_that_changes_the_size_is_found() -> None:
    with pytest.raises(PluginError, match=r"transforms\.train"):
        check('transforms.train=[{use="albumentations/transform", op="Resize", args={height=5, width=5}, p=1.0}]')


def test_missing_weights_are_found_before_anything_is_trained(tmp_path: Path) -> None:
    weights = tmp_path / "no-such.safetensors"
    with pytest.raises(IcfError, match="no-such"):
        check(f'model={{use="timm/model", arch="resnet10t", pretrained=true, weights="{weights}"}}')


RECIPE = """
    dataset = { use = "images/folder", root = "data" }
    transforms = { channels = 1, image_size = 8 }
    model = { use = "nn/sequential-cnn", widths = [8] }
    split = { folds = 2 }
"""


def check_folder(*overrides: str) -> CheckResult:
    Path("folder.toml").write_text(RECIPE)
    return check_plan(load_plan(Path("folder.toml"), overrides), Listener())


def test_every_bad_image_is_named_or_skipped(tmp_path: Path) -> None:
    images = save_digits(tmp_path / "data" / "train", range(60))
    images[0].write_bytes(b"no image")
    images[1].write_bytes(images[2].read_bytes()[:60])
    with pytest.raises(BadImagesError) as caught:
        check_folder()
    assert sorted(problem.where for problem in caught.value.problems) == sorted(
        f"{path.relative_to(tmp_path)}" for path in images[:2]
    )
    result = check_folder('dataset.on_bad_image="skip"')
    assert result.facts["training rows"] == 58
    assert len(result.skipped) == 2


def test_a_single_class_is_found(tmp_path: Path) -> None:
    save_digits(tmp_path / "data" / "train" / "only", range(10), by_class=False)
    with pytest.raises(DataError, match="at least two folders, one per class"):
        check_folder()


def test_what_is_usual_with_such_data_is_told(tmp_path: Path) -> None:
    first, second = check().advice
    assert (
        first
        == "54 images per class is little (under 1,000: little), far from ImageNet (a guess; problem.domain says it)"
    )
    assert 'model.use = "timm/model", pretrained = true, freeze = "layer2"' in second
    near = check('problem.domain="near"').advice
    assert near[0].endswith("near ImageNet (says problem.domain)")
    assert near[1].endswith('pretrained = true, freeze = "backbone"')


@pytest.mark.parametrize("arch", ["test_resnet", "test_vit"])
def test_the_module_that_is_named_can_be_frozen(arch: str) -> None:
    model = f'model={{use="timm/model", arch="{arch}"}}'
    settings = (model, "transforms.channels=3", "transforms.image_size=160", "dataset.test_share=0.9")
    _, second = check(*settings).advice
    name = second.split('freeze = "')[1].partition('"')[0]
    total, trained = (
        int(word.replace(",", "")) for word in check(*settings, f'model.freeze="{name}"').step.split()[:3:2]
    )
    assert 0.1 * total < trained < total


@pytest.mark.parametrize(
    ("domain", "expected"),
    [
        ("near", 'with a small rate: model.use = "timm/model", pretrained = true, layer_decay = 0.75'),
        ("far", "train from scratch"),
    ],
)
def test_much_data_is_fine_tuned_or_learned_from_scratch(
    monkeypatch: pytest.MonkeyPatch, domain: str, expected: str
) -> None:
    monkeypatch.setattr("icf.pipeline.advice.LITTLE", 50)
    first, second = check(f'problem.domain="{domain}"').advice
    assert "54 images per class is much" in first
    assert expected in second


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (("transforms.channels=3", "transforms.image_size=64"), "far"),  # grey all the same
        (("transforms.channels=3", "transforms.image_size=32", "COLOUR"), "far"),
        (("transforms.channels=3", "transforms.image_size=64", "COLOUR"), "near"),
    ],
)
def test_grey_and_small_images_are_taken_for_far_from_imagenet(
    tmp_path: Path, settings: tuple[str, ...], expected: str
) -> None:
    for number, path in enumerate(save_digits(tmp_path / "data" / "train", range(20), scale=8)):
        if "COLOUR" in settings:
            image = Image.open(path).convert("RGB")
            image.paste((255, number, 0), (0, 0, 20, 20))
            image.save(path)
    first, _ = check_folder(*(text for text in settings if text != "COLOUR")).advice
    assert ("far from ImageNet" if expected == "far" else ", near ImageNet") in first


def test_each_layer_can_have_a_rate_of_its_own() -> None:
    assert "19,562 trained" in check("model.layer_decay=0.5", "model.unfreeze=[1]").step
