"""A penalty of sure predictions around any loss, as the plugin my-penalty in one file."""

from pydantic import Field

import icf


class EntropyParams(icf.Params):
    """Parameters of the penalty."""

    of: icf.NestedLoss = Field(description="The loss: its name, or a table of 'use' and its parameters")
    beta: float = Field(default=0.1, ge=0, le=10, description="Weight of the entropy, in nats, that is taken off")


@icf.hookimpl
def icf_losses():
    """Yield the losses of this plugin."""
    yield icf.Loss(
        name="entropy",
        factory=":build_entropy",
        params=EntropyParams,
        summary="A loss, less the entropy of its predictions (Pereyra et al. 2017)",
        examples=({"of": "loss/cross-entropy"}, {"of": {"use": "loss/focal", "gamma": 1.0}, "beta": 0.3}),
    )


def build_entropy(params, ctx):
    """Build the loss around the one that was named."""
    import torch

    class Penalised(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.of = params.of.build(ctx)

        def forward(self, logits, targets):
            logarithms = logits.float().log_softmax(dim=1)
            entropy = -(logarithms.exp() * logarithms).sum(dim=1).mean()
            return self.of(logits, targets) - params.beta * entropy

    return Penalised()
