"""Which part of a network to train: the four cases of transfer learning, by how much data and how near ImageNet."""

from __future__ import annotations

import numpy as np
from torch import nn

from icf.errors import PluginError
from icf.pipeline.data.prepare import Prepared
from icf.pipeline.training.layers import list_layers
from icf.pipeline.training.network import find_head
from icf.plan import Plan

LITTLE = 1000
"""Training images per class, on average, below which data is little; ImageNet has about 1,300."""

SMALL_SIDE = 64
"""Pixels of a side below which images are far from ImageNet's, unless the recipe says otherwise."""

SAMPLE = 32


def advise(plan: Plan, data: Prepared, model: nn.Module) -> tuple[str, ...]:
    """Return what is usually done with such data, and the keys of the recipe for it, in two sentences.

    The four cases are those of Stanford's course CS231n, "Transfer Learning". Near or far is ``problem.domain``, or a
    guess: images that are grey, or smaller than SMALL_SIDE, are far.
    """
    per_class = len(data.train) / len(data.classes)
    declared = plan.recipe.problem.domain
    domain = declared or guess_domain(data)
    amount = "little" if per_class < LITTLE else "much"
    reason = "says problem.domain" if declared else "a guess; problem.domain says it"
    found = f"{per_class:,.0f} images per class is {amount} (under {LITTLE:,}: little), {domain} ImageNet ({reason})"
    return found.replace("far ImageNet", "far from ImageNet"), _choose(amount, domain, plan, data, model)


def guess_domain(data: Prepared) -> str:
    """Return "far" for grey or small images, else "near"."""
    spec = data.preprocessing
    if spec.channels == 1 or min(spec.image_size) < SMALL_SIDE:
        return "far"
    rows = data.train.pixel_rows[np.linspace(0, len(data.train) - 1, min(SAMPLE, len(data.train))).astype(np.int64)]
    pixels = data.train.cache.source.gather(rows)
    grey = (pixels == pixels[..., :1]).flatten(1).all(dim=1)
    return "far" if grey.float().mean() > 0.5 else "near"


def _choose(amount: str, domain: str, plan: Plan, data: Prepared, model: nn.Module) -> str:
    known = "pretrained" in plan.model.params
    start = "model.pretrained = true" if known else 'model.use = "timm/model", pretrained = true'
    if (amount, domain) == ("little", "near"):
        return f'usual then: train the head alone on pretrained features: {start}, freeze = "backbone"'
    if (amount, domain) == ("little", "far"):
        middle = _find_middle(plan, data, model) if known else "layer2"
        return (
            "usual then: keep the pretrained features of earlier layers and train the later ones:"
            f' {start}, freeze = "{middle}" or another module in the middle'
        )
    if (amount, domain) == ("much", "near"):
        return (
            "usual then: fine-tune the whole pretrained network with a small rate:"
            f" {start}, layer_decay = 0.75, unfreeze = [1], and a tenth of optimizer.lr"
        )
    scratch = "model.pretrained = false" if known else "as the recipe does"
    return f"usual then: train from scratch, {scratch}, or fine-tune everything, {start}; try both"


def _find_middle(plan: Plan, data: Prepared, model: nn.Module) -> str:
    """Return the name of a module in the middle of the network; of one whose head is not found, a usual name."""
    try:
        layers = list_layers(model, find_head(model, data.output.units, plan.model.source))
    except PluginError:
        return "layer2"
    return layers[(len(layers) - 1) // 2].name
