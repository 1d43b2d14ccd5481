"""Cosine heads, with which losses of an angular margin train."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from sklearn.metrics.pairwise import cosine_similarity
from torch import nn

from icf.errors import PluginError
from icf.pipeline.files import read_json
from icf.pipeline.training.cosine_head import CosineHead, use_cosine_head
from training import fit

ARCFACE = ('model.head="cosine"', "model.head_scale=20.0", 'loss={use="loss/arcface", scale=20.0, margin=0.2}')


pytestmark = pytest.mark.usefixtures("cache_of_test")


def test_logits_are_scaled_cosines() -> None:
    head = CosineHead(6, 4, scale=30.0)
    features = torch.randn(5, 6)
    expected = 30 * cosine_similarity(features.numpy(), head.weight.detach().numpy())
    torch.testing.assert_close(head(features), torch.from_numpy(expected).float(), rtol=1e-4, atol=1e-4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert head(features.bfloat16()).dtype == torch.float32


def test_the_head_of_any_network_is_replaced() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 8), nn.ReLU(), nn.ModuleDict({"head": nn.Linear(8, 3)}))
    head = network[3]["head"]
    use_cosine_head(network, head, 10.0, "my network")
    assert isinstance(network[3]["head"], CosineHead)
    assert (network[3]["head"].in_features, network[3]["head"].out_features) == (8, 3)


def test_a_head_that_is_no_linear_layer_is_told() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 1))
    with pytest.raises(PluginError, match=r"my network: the head is a Conv2d, but model\.head"):
        use_cosine_head(network, network[0], 10.0, "my network")


@pytest.mark.parametrize("more", [(), ('model.freeze="backbone"',)])
def test_a_fold_learns_with_an_angular_margin(tmp_path: Path, more: tuple[str, ...]) -> None:
    job = fit(tmp_path, *ARCFACE, *more, "train.epochs=6", "optimizer.lr=0.01")
    assert read_json(job.folder.metrics)["metrics"]["metric/accuracy"] > (0.3 if more else 0.8)


def test_arcface_without_a_cosine_head_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match=r'it needs \[model\] head = "cosine" with head_scale = 0\.01'):
        fit(tmp_path, 'loss={use="loss/arcface", scale=0.01}')
