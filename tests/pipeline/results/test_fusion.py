from __future__ import annotations

import pytest
import timm
import torch
from torch import nn

from icf.pipeline.results.fusion import TOLERANCE, UnfusedError, fuse_norms, try_fusion

CLASSES = 5


def draw(count: int = 6, side: int = 32) -> torch.Tensor:
    return torch.randn((count, 3, side, side), generator=torch.Generator().manual_seed(0))


def train_a_little(model: nn.Module) -> nn.Module:
    """Give normalisations statistics, scales and shifts that matter."""
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
    model.train()
    with torch.no_grad():
        for _ in range(3):
            model(torch.randn(8, 3, 32, 32) * 2 + 1)
    return model


def count_norms(model: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in model.modules())


@pytest.mark.parametrize("arch", ["resnet18", "tf_efficientnet_lite0", "mobilenetv3_small_050"])
def test_a_fused_network_has_no_norms_and_the_same_probabilities(arch: str) -> None:
    model = train_a_little(timm.create_model(arch, num_classes=CLASSES))
    names, before = list(model.state_dict()), count_norms(model)
    fused = fuse_norms(model, draw())
    others = draw(9, 48)
    with torch.no_grad():
        expected, found = model.eval()(others).softmax(1), fused(others).softmax(1)
    assert (count_norms(fused), fused.training) == (0, False)
    assert before == count_norms(model) > 10
    assert list(model.state_dict()) == names
    assert [name for name, _ in fused.named_modules()] == [name for name, _ in model.named_modules()]
    assert float((found - expected).abs().max()) < TOLERANCE
    assert float(expected.std(dim=0).max()) > 100 * TOLERANCE  # images are told apart


class Shared(nn.Module):
    """What lies between convolution and normalisation is used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, CLASSES)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        between = self.conv(images)
        return self.head((between + self.norm(between)).mean((2, 3)))


class Twice(Shared):
    """A convolution runs twice, normalised once."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.norm(self.conv(images)).mean((2, 3)) - self.conv(images).mean((2, 3)))


class Picky(Shared):
    """Refuses to be a copy of itself."""

    def __deepcopy__(self, _: object) -> Picky:
        raise TypeError("there is only one")


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (Shared(), "would change a probability by"),
        (Twice(), "no convolution"),
        (Picky(), "there is only one"),
        (nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, CLASSES)), "no convolution"),
        (nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.BatchNorm2d(4), nn.Flatten()), "no convolution"),
        (nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten()), "expected input"),
    ],
)
def test_what_cannot_be_fused_is_left_and_the_reason_told(model: nn.Module, reason: str) -> None:
    if reason != "expected input":
        train_a_little(model)
    same, told = try_fusion(model, draw())
    assert same is model
    assert reason in told
    with pytest.raises(UnfusedError, match=reason):
        fuse_norms(model, draw())
