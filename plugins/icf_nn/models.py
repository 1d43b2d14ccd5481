"""A small convolutional network for small images."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

import icf
from icf_nn.plugin import SequentialCnnParams

SMALLEST_POOLED = 4
"""An image side below this many pixels is not halved: what is left would be hardly an image."""


class ConvolutionBlock(nn.Sequential):
    """3x3 convolution, batch norm and ReLU: [N, C, H, W] -> [N, D, H, W]."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
        )


class ResidualBlock(nn.Module):
    """Two convolution blocks whose input is added to their output: [N, C, H, W] -> [N, C, H, W]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = ConvolutionBlock(channels, channels)
        self.second = ConvolutionBlock(channels, channels)

    def forward(self, features: Tensor) -> Tensor:
        """Return the features plus what the two blocks make of them."""
        change: Tensor = self.second(self.first(features))
        return features + change


class SequentialCnn(nn.Module):
    """Stages of convolution blocks, global average pooling and a linear head.

    With ``residual``, the first, third, fifth, ... stage has a residual block, the layout of ResNet-9
    (Page 2018, "How to train your ResNet"): widths (32, 64, 128) are then about 0.4 M parameters.
    Images float [N, C, H, W] of at least ``image_size`` -> logits [N, K].
    """

    def __init__(
        self,
        *,
        widths: tuple[int, ...],
        num_classes: int,
        channels: int,
        image_size: tuple[int, int],
        dropout: float = 0.0,
        residual: bool = False,
    ) -> None:
        super().__init__()
        self.stages = nn.Sequential()
        side = min(image_size)
        for index, (inputs, outputs) in enumerate(pairwise((channels, *widths))):
            stage = nn.Sequential()
            if index > 0 and side >= SMALLEST_POOLED:
                stage.append(nn.MaxPool2d(2))
                side //= 2
            stage.append(ConvolutionBlock(inputs, outputs))
            if residual and index % 2 == 0:
                stage.append(ResidualBlock(outputs))
            self.stages.append(stage)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(widths[-1], num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits [N, K] of images [N, C, H, W]."""
        features = self.pool(self.stages(images)).flatten(1)
        logits: Tensor = self.head(self.dropout(features))
        return logits


def initialise_convolutions(network: nn.Module) -> None:
    """Draw convolution weights as He et al. (2015) do for ReLU networks, scaled by the fan-out."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def build_sequential_cnn(params: SequentialCnnParams, ctx: icf.ModelContext) -> SequentialCnn:
    """Build the network; the same seed gives the same weights, and torch's global state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(ctx.seed)
        network = SequentialCnn(
            widths=params.widths,
            num_classes=ctx.num_classes,
            channels=ctx.channels,
            image_size=ctx.image_size,
            dropout=params.dropout,
            residual=params.residual,
        )
        initialise_convolutions(network)
    return network
