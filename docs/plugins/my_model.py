"""A network of one's own, as the plugin my-model in one file."""

import icf


@icf.hookimpl
def icf_models():
    """Yield the models of this plugin."""
    yield icf.Model(name="net", factory=":build_net", summary="Two convolutions and a linear head")


def build_net(_params, ctx):
    """Build the network: images float32 [N, C, H, W] to logits [N, K]."""
    from torch import nn

    first = [nn.Conv2d(ctx.channels, 16, 3), nn.ReLU(), nn.Conv2d(16, 32, 3), nn.ReLU()]
    return nn.Sequential(*first, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, ctx.num_classes))
