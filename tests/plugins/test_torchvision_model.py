from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from timm.models import adapt_input_conv

import icf
from icf_torchvision.models import build_model, inspect_model
from icf_torchvision.plugin import ModelParams, icf_models
from icf_torchvision.surgery import spread_channels

FAMILIES = [
    "alexnet",
    "densenet121",
    "efficientnet_b0",
    "googlenet",
    "mnasnet0_5",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "regnet_y_400mf",
    "resnet18",
    "shufflenet_v2_x0_5",
    "squeezenet1_1",
    "swin_t",
]


def context(channels: int = 3, classes: int = 5, side: int = 64, seed: int = 0) -> icf.ModelContext:
    return icf.ModelContext(num_classes=classes, channels=channels, image_size=(side, side), seed=seed)


@pytest.fixture
def no_server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for proxy in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(proxy, "http://127.0.0.1:9")
        monkeypatch.setenv(proxy.upper(), "http://127.0.0.1:9")
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    return tmp_path / "hub" / "checkpoints"


@pytest.mark.parametrize("arch", FAMILIES)
@pytest.mark.parametrize("channels", [1, 4])
def test_every_family_fits_channels_and_classes(arch: str, channels: int) -> None:
    model = build_model(ModelParams(arch=arch), context(channels))
    logits = model(torch.rand(2, channels, 64, 64))
    assert isinstance(logits, torch.Tensor)
    assert logits.shape == (2, 5)


def test_vision_transformer_fits_the_image_size() -> None:
    model = build_model(ModelParams(arch="vit_b_32"), context(channels=1)).eval()
    with torch.no_grad():
        assert model(torch.rand(1, 1, 64, 64)).shape == (1, 5)
    with pytest.raises(icf.PluginError, match="square"):
        build_model(ModelParams(arch="vit_b_32"), icf.ModelContext(num_classes=5, image_size=(64, 32)))


def test_same_seed_same_weights_and_global_state_is_untouched() -> None:
    before = torch.get_rng_state()
    first, same, other = (build_model(ModelParams(), context(seed=seed)).state_dict() for seed in (3, 3, 4))
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(first[key], same[key]) for key in first)
    assert not torch.equal(first["fc.weight"], other["fc.weight"])


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 6, 7])
def test_channels_are_spread_as_timm_does(channels: int) -> None:
    weight = torch.randn(8, 3, 3, 3)
    assert torch.allclose(spread_channels(weight, channels), adapt_input_conv(channels, weight), atol=1e-6)


@pytest.mark.parametrize(("arch", "head"), [("mobilenet_v2", "classifier.1."), ("squeezenet1_1", "classifier.1.")])
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_local_file_loads_everything_but_the_head(tmp_path: Path, arch: str, head: str, suffix: str) -> None:
    trained = torchvision.models.get_model(arch, weights=None).state_dict()
    file = tmp_path / f"weights{suffix}"
    save_file(trained, file) if suffix == ".safetensors" else torch.save(trained, file)
    params = ModelParams(arch=arch, pretrained=True, weights=file)
    loaded = build_model(params, context()).state_dict()
    assert all(torch.equal(loaded[key], trained[key]) for key in trained if not key.startswith(head))
    assert loaded[f"{head}weight"].shape[0] == 5
    original = build_model(params, context(classes=1000)).state_dict()
    assert all(torch.equal(original[key], trained[key]) for key in trained)


@pytest.mark.parametrize("arch", ["mobilenet_v3_small", "resnet18"])
def test_a_network_answers_as_torchvisions_own_does(tmp_path: Path, arch: str) -> None:
    reference = torchvision.models.get_model(arch, num_classes=5).eval()
    file = tmp_path / "weights.safetensors"
    save_file(reference.state_dict(), file)
    model = build_model(ModelParams(arch=arch, pretrained=True, weights=file), context()).eval()
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(model(images), reference(images))


def test_pretrained_network_answers_grey_as_it_answers_equal_channels(tmp_path: Path) -> None:
    file = tmp_path / "weights.pth"
    torch.save(torchvision.models.resnet18().state_dict(), file)
    params = ModelParams(pretrained=True, weights=file)
    grey_model = build_model(params, context(channels=1, classes=1000)).eval()
    colour_model = build_model(params, context(channels=3, classes=1000)).eval()
    grey = torch.rand(2, 1, 64, 64)
    with torch.no_grad():
        assert torch.allclose(grey_model(grey), colour_model(grey.expand(-1, 3, -1, -1)), atol=1e-4)


def test_vit_weights_are_resized_to_the_image_size(tmp_path: Path) -> None:
    file = tmp_path / "vit.pth"
    torch.save(torchvision.models.vit_b_32().state_dict(), file)
    model = build_model(ModelParams(arch="vit_b_32", pretrained=True, weights=file), context(side=96)).eval()
    with torch.no_grad():
        assert model(torch.rand(1, 3, 96, 96)).shape == (1, 5)


def test_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "partial.pth"
    state = torchvision.models.resnet18().state_dict()
    del state["layer1.0.conv1.weight"]
    torch.save(state, file)
    with pytest.raises(icf.PluginError, match=r"layer1\.0\.conv1\.weight"):
        build_model(ModelParams(pretrained=True, weights=file), context())
    with pytest.raises(icf.PluginError, match="does not fit 'mobilenet_v2'"):
        build_model(ModelParams(arch="mobilenet_v2", pretrained=True, weights=file), context())


def test_pickled_models_damaged_and_absent_files_are_refused(tmp_path: Path) -> None:
    pickled, damaged, absent = (tmp_path / name for name in ("a.pth", "damaged.safetensors", "absent.pth"))
    torch.save(torchvision.models.squeezenet1_1(), pickled)
    damaged.write_bytes(b"not weights")
    for file in (pickled, damaged, absent):
        with pytest.raises(icf.PluginError, match=file.name):
            build_model(ModelParams(pretrained=True, weights=file), context())


def test_unreachable_server_is_found_out_quickly_and_ways_out_are_named(no_server: Path) -> None:
    start = time.monotonic()
    with pytest.raises(icf.PluginError) as caught:
        inspect_model(ModelParams(arch="resnet34", pretrained=True), context())
    assert time.monotonic() - start < 4
    for part in ("ResNet34_Weights", "can't be reached", "weights =", "pretrained = false"):
        assert part in str(caught.value)


def test_weights_in_the_cache_need_no_server(no_server: Path) -> None:
    url = torchvision.models.SqueezeNet1_1_Weights.DEFAULT.url
    trained = torchvision.models.squeezenet1_1().state_dict()
    torch.save(trained, no_server / url.rsplit("/", 1)[-1])
    params = ModelParams(arch="squeezenet1_1", pretrained=True)
    info = inspect_model(params, context())
    assert info.mean == (0.485, 0.456, 0.406)
    assert info.std == (0.229, 0.224, 0.225)
    assert info.image_size == (224, 224)
    loaded = build_model(params, context()).state_dict()
    assert torch.equal(loaded["features.0.weight"], trained["features.0.weight"])


def test_weights_are_never_looked_for_when_a_checkpoint_follows(no_server: Path) -> None:
    ctx = icf.ModelContext(num_classes=2, image_size=(64, 64), pretrained=False)
    params = ModelParams(arch="squeezenet1_1", pretrained=True)
    assert build_model(params, ctx)(torch.rand(2, 3, 64, 64)).shape == (2, 2)
    assert inspect_model(params, ctx).weights == "random initialisation"


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (ModelParams(arch="resnet81"), "did you mean 'resnet18'"),
        (ModelParams(arch="fcn_resnet50"), "no such classification network"),
        (ModelParams(args={"num_classes": 3}), "num_classes"),
        (ModelParams(args={"dropuot": 0.1}), "dropuot"),
    ],
)
def test_bad_parameters_are_refused(params: ModelParams, message: str) -> None:
    with pytest.raises(icf.PluginError, match=message):
        build_model(params, context())


def test_plugin_offers_the_model() -> None:
    assert [model.name for model in icf_models()] == ["model"]


def test_dropout_and_stochastic_depth_are_arguments_of_the_architecture() -> None:
    args = {"dropout": 0.35, "stochastic_depth_prob": 0.4}
    model = build_model(ModelParams(arch="efficientnet_b0", args=args), context())
    assert model.classifier[0].p == 0.35  # type: ignore[index]
    rates = [module.p for module in model.modules() if isinstance(module, torchvision.ops.StochasticDepth)]
    assert rates[-1] == pytest.approx(0.4, abs=0.05)
    assert rates == sorted(rates)
