from __future__ import annotations

import random
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import icf
from icf.local import read_local_plugins, restore_local_plugins
from icf_baseline.losses import build_loss
from icf_baseline.models import build_model, inspect_model
from icf_baseline.plugin import LossParams, ModelParams, TransformParams
from icf_baseline.transforms import build_transform
from samples import draw_photo

TEAM = Path(__file__).parents[1] / "baseline_team"
MEAN, STD = (0.548, 0.504, 0.479), (0.237, 0.247, 0.246)


@pytest.fixture(autouse=True)
def team():
    use(TEAM)
    yield
    restore_local_plugins(())


def use(*folders: Path) -> None:
    restore_local_plugins(read_local_plugins(folders))


def write(folder: Path, name: str, code: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(textwrap.dedent(code))
    use(folder)


def model(name="BlockNet", *, classes=5, channels=3, seed=1, pretrained=True, module="model", **args):
    ctx = icf.ModelContext(
        num_classes=classes, channels=channels, image_size=(16, 12), seed=seed, pretrained=pretrained
    )
    return build_model(ModelParams(name=name, args=args, module=module), ctx)


def loss(name, **args):
    classes = 4
    counts = np.full(classes, 3, dtype=np.int64)
    return build_loss(LossParams(name=name, args=args), icf.LossContext(num_classes=classes, class_counts=counts))


def transform(name, *, size=(24, 40), channels=3, **params):
    ctx = icf.TransformContext(image_size=size, channels=channels)
    return build_transform(TransformParams(name=name, **params), ctx)


def photos(count=4):
    return torch.stack([torch.from_numpy(draw_photo(seed=seed)).permute(2, 0, 1) for seed in range(count)])


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def global_states():
    return random.getstate(), np.random.get_state()[1].tolist(), torch.random.get_rng_state().tolist()


# -- models -----------------------------------------------------------------------------------------


def test_a_model_is_the_teams_own_class_with_its_arguments():
    network = model(width=4)
    assert type(network).__name__ == "BlockNet"
    assert network.training
    assert network.head[1].weight.shape == (5, 8)
    assert network(torch.zeros(2, 3, 16, 12)).shape == (2, 5)


def test_weights_come_from_the_seed_and_from_the_teams_initialisation():
    torch.manual_seed(7)
    expected = icf.local_module("model").BlockNet(num_classes=5).state_dict()
    torch.manual_seed(99)
    before = global_states()
    found = model(seed=7).state_dict()
    assert global_states() == before
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_grey_images_are_repeated():
    colour, grey = model(), model(channels=1)
    images = torch.rand(2, 1, 16, 12)
    assert torch.equal(colour.eval()(images.repeat(1, 3, 1, 1)), grey.eval()(images))


def test_the_class_is_looked_up_before_any_image_is_read():
    info = inspect_model(ModelParams(name="SmallNet"), icf.ModelContext(num_classes=2))
    assert info.weights == "as SmallNet makes them"
    with pytest.raises(icf.PluginError, match="no such class; did you mean 'SmallNet'"):
        inspect_model(ModelParams(name="SmalNet"), icf.ModelContext(num_classes=2))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "Blocknet"}, r"model.py has no such class; did you mean 'BlockNet'\? .*BlockNet, SmallNet, ThreeHea"),
        ({"name": "ThreeHeads"}, r"makes list of 3 outputs .* logits \[1, 5\]; several heads must be joined"),
        ({"widht": 3}, r"BlockNet can't be called so: .*'widht' \(it takes: num_classes, width, dropout\)"),
        ({"num_classes": 3}, "args may not set num_classes: the data set has 5 classes"),
        ({"dropout": 2}, r"BlockNet failed: ValueError: dropout probability .* \(model.py, line \d+\)"),
        ({"name": "make_block", "module": "utils"}, "make_block of utils.py takes no num_classes"),
        ({"module": "models.resnet"}, r"no models/resnet.py in the folders that were named .* has dataset.py, loss.py"),
    ],
)
def test_a_model_that_does_not_fit_is_one_line(arguments, message):
    with pytest.raises(icf.PluginError, match=f"^baseline/model: .*{message}") as found:
        model(**{"name": "BlockNet"} | arguments)
    assert "\n" not in str(found.value)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("def Net(num_classes):\n    return 3", "Net makes int, not torch.nn.Module"),
        (
            "from torch import nn\nclass Net(nn.Sequential):\n    def __init__(self, num_classes):\n"
            "        super().__init__(nn.Flatten(), nn.LazyLinear(7))",
            r"Net makes \[1, 7\] of one image, but must make logits \[1, 5\]$",
        ),
        (
            "from torch import nn\nclass Net(nn.Module):\n    def __init__(self, num_classes):\n"
            "        super().__init__()\n        self.fc = nn.Linear(100, num_classes)\n"
            "    def forward(self, x):\n        return self.fc(x.flatten(1))",
            r"failed on an image of 3 x 16 x 12: RuntimeError: mat1 and mat2 .* \(model.py, line 7\)",
        ),
    ],
)
def test_a_network_that_makes_no_logits_is_one_line(tmp_path, code, message):
    write(tmp_path / "team", "model.py", code)
    with pytest.raises(icf.PluginError, match=f"^baseline/model: .*{message}"):
        model("Net")


@pytest.mark.parametrize(
    "failure", ["urllib.error.URLError('no route')", "ConnectionResetError('gone')", "OSError('x') from TimeoutError()"]
)
def test_weights_that_can_not_be_fetched_are_explained(tmp_path, failure):
    code = "import urllib.error\ndef Net(num_classes, pretrained=True):\n    raise "
    write(tmp_path / "team", "model.py", code + failure)
    with pytest.raises(icf.PluginError, match=r"line 3\)\. It fetches pretrained weights, and there is no network: .*"):
        model("Net")


def test_weights_that_a_checkpoint_replaces_are_not_fetched(tmp_path):
    code = """
        from torch import nn
        class Net(nn.Sequential):
            def __init__(self, num_classes, pretrained=True):
                if pretrained:
                    raise ConnectionError
                super().__init__(nn.Flatten(), nn.Linear(576, num_classes))
    """
    write(tmp_path / "team", "model.py", code)
    assert isinstance(model("Net", pretrained=False), nn.Module)
    ctx = icf.ModelContext(num_classes=5, image_size=(16, 12), pretrained=False)
    assert isinstance(build_model(ModelParams(name="Net", args={"pretrained": True}), ctx), nn.Module)
    with pytest.raises(icf.PluginError, match="there is no network"):
        model("Net")


def test_a_class_may_stand_in_a_folder_of_its_own(tmp_path):
    write(tmp_path / "team", "nets.py", (TEAM / "model.py").read_text().replace("import utils\n", ""))
    assert type(model("SmallNet", module="nets")).__name__ == "SmallNet"


# -- losses -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "args"),
    [("cross_entropy", {}), ("focal", {"gamma": 0.5}), ("label_smoothing", {"smoothing": 0.2}), ("f1", {})],
)
def test_a_loss_is_what_create_criterion_makes_for_the_number_of_classes(name, args):
    generator = torch.Generator().manual_seed(0)
    logits, targets = torch.randn(6, 4, generator=generator), torch.tensor([0, 1, 2, 3, 3, 0])
    counted = args | ({"classes": 4} if name in {"label_smoothing", "f1"} else {})
    expected = icf.local_module("loss").create_criterion(name, **counted)(logits, targets)
    assert torch.equal(loss(name, **args)(logits, targets), expected)
    assert loss(name, **args)(logits.bfloat16(), targets).dtype == torch.float32


def test_label_smoothing_is_that_of_torch():
    logits, targets = torch.randn(5, 4), torch.tensor([0, 1, 2, 3, 3])
    # The team spreads the smoothing over the other classes, torch over all of them.
    expected = nn.functional.cross_entropy(logits, targets, label_smoothing=0.1 * 4 / 3)
    assert torch.allclose(loss("label_smoothing", smoothing=0.1)(logits, targets), expected)


@pytest.mark.parametrize(
    ("name", "args", "message"),
    [
        ("focl", {}, r"loss.py knows no such loss; did you mean 'focal'\? \(allowed: cross_entropy, f1, focal, label"),
        ("f1", {"classes": 3}, "args.classes = 3, but the data set has 4 classes; leave it out, and icf gives it"),
        ("label_smoothing", {}, r"smooths by 0 unless it is told, .* write args = \{ smoothing = 0.1 \}"),
        ("focal", {"gama": 1}, r"'focal' has no argument 'gama'; did you mean 'gamma'\? \(it takes: weight, gamma"),
        ("cross_entropy", {"reduction": "men"}, None),
    ],
)
def test_a_loss_that_does_not_fit_is_one_line(name, args, message):
    if message is None:
        with pytest.raises(icf.PluginError, match="baseline/loss: cross_entropy failed on targets of shape"):
            loss(name, **args)(torch.randn(2, 4), torch.tensor([0, 1]))
        return
    with pytest.raises(icf.PluginError, match=f"^baseline/loss: .*{message}"):
        loss(name, **args)


def test_a_loss_of_each_row_is_refused():
    criterion = loss("focal", reduction="none")
    with pytest.raises(icf.PluginError, match=r"focal gives \[2\], not one number; set its reduction to the mean"):
        criterion(torch.randn(2, 4), torch.tensor([0, 1]))


def test_soft_targets_are_passed_on_and_a_loss_that_takes_none_says_so():
    logits, soft = torch.randn(3, 4), torch.full((3, 4), 0.25)
    expected = nn.functional.cross_entropy(logits, soft)
    assert torch.allclose(loss("cross_entropy")(logits, soft), expected)
    with pytest.raises(icf.PluginError, match="does it take only class indices"):
        loss("focal")(logits, soft)


def test_a_loss_without_a_table_is_asked_of_create_criterion_or_found_by_its_class(tmp_path):
    write(
        tmp_path / "team",
        "loss.py",
        "from torch import nn\ndef create_criterion(name, **kwargs):\n    return getattr(nn, name)(**kwargs)",
    )
    logits, targets = torch.randn(3, 4), torch.tensor([0, 1, 2])
    expected = nn.functional.cross_entropy(logits, targets, label_smoothing=0.1)
    assert torch.equal(loss("CrossEntropyLoss", label_smoothing=0.1)(logits, targets), expected)
    with pytest.raises(icf.PluginError, match=r"create_criterion\('Nothing'\) failed: AttributeError"):
        loss("Nothing")
    write(
        tmp_path / "team",
        "loss.py",
        "import torch.nn.functional as F\ndef plain(n_classes):\n"
        "    return lambda logits, targets: F.cross_entropy(logits, targets) * n_classes",
    )
    assert torch.equal(loss("plain")(logits, targets), nn.functional.cross_entropy(logits, targets) * 4)
    with pytest.raises(icf.PluginError, match=r"loss.py has no such class"):
        loss("plan")


# -- transforms -------------------------------------------------------------------------------------


@pytest.mark.parametrize("numbers", [{}, {"mean": MEAN, "std": STD}])
def test_pixels_survive_normalising_and_back_exactly(numbers):
    images = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(2, 3, -1, -1).contiguous()
    found = transform("BaseAugmentation", size=(16, 16), **numbers)(images.clone(), generator())
    assert torch.equal(found, images)


def test_an_augmentation_does_what_the_teams_own_class_does():
    images = photos()
    found = transform("CustomAugmentation", mean=MEAN, std=STD, args={"noise": 0.2})(images, generator(5))
    seeds = torch.randint(2**31 - 1, (4,), generator=generator(5)).tolist()
    own = icf.local_module("dataset").CustomAugmentation(resize=(24, 40), mean=MEAN, std=STD, noise=0.2)
    for image, seed, result in zip(images, seeds, found, strict=True):
        torch.manual_seed(seed)
        floats = own(Image.fromarray(image.permute(1, 2, 0).numpy()))
        undone = floats * torch.tensor(STD).view(3, 1, 1) + torch.tensor(MEAN).view(3, 1, 1)
        assert torch.equal(result, (undone * 255).round().clamp(0, 255).byte())


@pytest.mark.parametrize("name", ["CustomAugmentation", "CutoutAugmentation", "AlbumentationsStyle"])
def test_randomness_comes_from_the_generator_alone_and_global_states_stay(name):
    call = "albumentations" if name.startswith("Alb") else "torchvision"
    results = []
    for other in (1, 2):
        random.seed(other)
        np.random.seed(other)
        torch.manual_seed(other)
        before = global_states()
        augment = transform(name, call=call)
        results.append([augment(photos(), generator(seed)) for seed in (0, 0, 1)])
        assert global_states() == before
    (first, again, another), (elsewhere, _, _) = results
    assert torch.equal(first, again)
    assert torch.equal(first, elsewhere)
    assert not torch.equal(first, another)


def test_each_image_has_randomness_of_its_own():
    images = photos(1).expand(8, -1, -1, -1)
    found = transform("CustomAugmentation")(images, generator())
    assert len({image.numpy().tobytes() for image in found}) > 4


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"name": "CustomAugmentaton"}, r"dataset.py has no such class; did you mean 'CustomAugmentation'"),
        ({"name": "CutoutAugmentation", "args": {"sise": 2}}, r"it takes: resize, mean, std, size\)"),
        (
            {"name": "OwnNormalization"},
            r"makes -2.04 of black pixels, .* give these as mean and std, and they",
        ),
        (
            {"name": "CroppingAugmentation"},
            r"crops 320 x 256 pixels, but images are 24 x 40 by now .*shared",
        ),
        (
            {"name": "CroppingAugmentation", "without": ["CenterCrob"]},
            "has no step CenterCrob; did you mean 'CenterCrop'. .allowed: CenterCrop, Normalize, Resize, ToTensor",
        ),
        ({"name": "AddGaussianNoise"}, r"AddGaussianNoise failed on an image of \[24, 40, 3\]: .*\(dataset.py, line"),
        ({"name": "AlbumentationsStyle"}, "AlbumentationsStyle failed on an image"),
        ({"name": "BaseAugmentation", "channels": 1}, "works on colour images; set transforms.channels = 3"),
    ],
)
def test_an_augmentation_that_does_not_fit_is_one_line(params, message):
    with pytest.raises(icf.PluginError, match=f"^baseline/transform: .*{message}"):
        transform(**params)(photos(), generator())


def test_a_normalisation_of_the_classs_own_is_undone_with_its_numbers():
    images = photos()
    assert torch.equal(transform("OwnNormalization", mean=MEAN, std=STD)(images, generator()), images)


def test_a_step_is_left_out():
    images = photos()
    found = transform("CroppingAugmentation", without=["CenterCrop"])(images, generator())
    assert torch.equal(found, images)


def test_a_crop_that_fits_is_done():
    images = torch.randint(0, 256, (2, 3, 512, 384), dtype=torch.uint8, generator=generator())
    found = transform("CroppingAugmentation", size=(320, 256))(images, generator())
    assert torch.equal(found, images[:, :, 96:416, 64:320])


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("import os, torch\n        return torch.full((3, 4, 4), os.urandom(1)[0] / 255)", "two results for one seed"),
        ("return 3", "Odd: it gives int, not a tensor or picture"),
        ("import torch\n        return torch.zeros(1, 4, 4)", r"the shape \[1, 4, 4\], not \[3, height, width\]"),
        ("import torch\n        return torch.zeros(3, 4, 4, dtype=torch.int64)", "it gives torch.int64"),
        (
            "import torch\n        return torch.zeros(3, 4, 4 if torch.rand(()) < 0.5 else 5)",
            "images of different sizes",
        ),
    ],
)
def test_what_is_no_image_is_refused(tmp_path, body, message):
    write(tmp_path / "team", "dataset.py", f"class Odd:\n    def __call__(self, image):\n        {body}\n")
    with pytest.raises(icf.PluginError, match=f"^baseline/transform: .*{message}"):
        transform("Odd")(photos(16), generator())


@pytest.mark.parametrize("made", ["image", "np.array(image)", "{'image': np.array(image)}"])
def test_pictures_and_arrays_are_as_good_as_tensors(tmp_path, made):
    code = f"import numpy as np\nclass Same:\n    def __call__(self, image):\n        return {made}\n"
    write(tmp_path / "team", "dataset.py", code)
    assert torch.equal(transform("Same", mean=MEAN, std=STD)(photos(), generator()), photos())


def test_nothing_becomes_nothing():
    assert transform("CustomAugmentation")(photos()[:0], generator()).shape == (0, 3, 24, 40)
