"""A classifier head of cosines, which losses with an angular margin need."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from icf.errors import PluginError


class CosineHead(nn.Module):
    """Cosines of features and each class's weights, times ``scale``, computed in float32.

    Wang et al. 2017, "NormFace: L2 Hypersphere Embedding for Face Verification", equation 4.
    """

    def __init__(self, in_features: int, out_features: int, scale: float) -> None:
        super().__init__()
        self.in_features = in_features
        self.out_features = out_features
        self.scale = scale
        self.weight = nn.Parameter(torch.empty(out_features, in_features))
        nn.init.xavier_uniform_(self.weight)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return logits float32 [N, K], from -scale to scale, of features [N, F]."""
        with torch.autocast(features.device.type, enabled=False):
            directions = functional.normalize(features.float()), functional.normalize(self.weight.float())
            return self.scale * functional.linear(*directions)


def use_cosine_head(model: nn.Module, head: nn.Module, scale: float, name: str) -> None:
    """Put a cosine head, with weights from torch's generator, in the place of a network's linear one.

    Raises PluginError if the head is no linear layer within the network; ``name`` is the network's.
    """
    place = next(place for place, module in model.named_modules() if module is head)
    if not isinstance(head, nn.Linear) or not place:
        raise PluginError(
            f'{name}: the head is a {type(head).__name__}, but model.head = "cosine" can only take the place of a'
            " Linear within the network"
        )
    parent, _, attribute = place.rpartition(".")
    setattr(model.get_submodule(parent), attribute, CosineHead(head.in_features, head.out_features, scale))
