from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
import torchvision
from torch import nn

from icf.pipeline.training.fit import train_epoch
from icf.pipeline.training.head_dropout import drop_before, repeat_targets
from icf.pipeline.training.network import find_head
from icf.pipeline.training.team import Team
from icf.pipeline.training.trainer import build_trainer
from training import fit, make_jobs, make_plan, read_oof

pytestmark = pytest.mark.usefixtures("cache_of_file")


def test_the_loss_is_the_mean_of_those_of_the_masks() -> None:
    torch.manual_seed(0)
    head, features, targets = nn.Linear(20, 3), torch.randn(5, 20), torch.tensor([0, 1, 2, 0, 1])
    plain = head(features)
    drop_before(head, p=0.4, samples=6)
    torch.manual_seed(1)
    logits = head(features)
    loss = nn.functional.cross_entropy(logits, repeat_targets(targets, 6))
    torch.manual_seed(1)
    masks = torch.nn.functional.dropout(torch.ones(6 * 5, 20), 0.4).reshape(6, 5, 20)
    expected = [nn.functional.linear(features * mask, head.weight, head.bias) for mask in masks]
    losses = [nn.functional.cross_entropy(each, targets) for each in expected]
    torch.testing.assert_close(loss, torch.stack(losses).mean())
    assert len({round(each.item(), 6) for each in losses}) == 6
    assert torch.equal(head.eval()(features), plain)


@pytest.mark.parametrize(
    "model",
    [
        timm.create_model("test_vit", num_classes=7),
        timm.create_model("test_efficientnet", num_classes=7),
        torchvision.models.resnet18(num_classes=7),
        torchvision.models.squeezenet1_1(num_classes=7),  # its head is a convolution
    ],
)
def test_any_head_can_drop(model: nn.Module) -> None:
    images = torch.randn(2, 3, 160, 160)
    names = list(model.state_dict())
    expected = model.eval()(images)
    drop_before(find_head(model, 7, "a test"), p=0.5, samples=3)
    assert torch.equal(model(images), expected)
    assert list(model.state_dict()) == names
    logits = model.train()(images)
    assert logits.shape == (6, 7)
    parts = logits.reshape(3, 2, 7)
    assert not torch.equal(parts[0], parts[1])


def test_training_drops_and_prediction_does_not(tmp_path: Path) -> None:
    job = fit(tmp_path / "a", "model.head_dropout=0.5", "model.dropout_samples=4")
    plain = fit(tmp_path / "b")
    oof, other = read_oof(job.folder), read_oof(plain.folder)
    assert oof.shape == other.shape
    assert not (oof == other).all()
    assert (oof.argmax(axis=1) == other.argmax(axis=1)).mean() > 0.5


def test_more_masks_bring_the_loss_nearer_to_its_mean(tmp_path: Path) -> None:
    spreads = []
    for samples in (1, 32):
        plan = make_plan("model.head_dropout=0.5", f"model.dropout_samples={samples}", "train.batch_size=1000")
        job = make_jobs(plan, tmp_path / str(samples))[0]
        losses = []
        for _ in range(6):
            trainer = build_trainer(job, Team())
            trainer.base_rates = [0.0 for _ in trainer.base_rates]
            trainer.state.epoch = len(losses)  # another seed, the same weights
            losses.append(train_epoch(trainer)[0])
        spreads.append(torch.tensor(losses).std().item())
    assert spreads[1] < spreads[0] / 2
