"""A team's networks, as most teams wrote them: classes that take the number of classes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
import utils
from torch import nn


class SmallNet(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, kernel_size=3, padding=1)
        self.conv2 = nn.Conv2d(16, 32, kernel_size=3, padding=1)
        self.dropout = nn.Dropout(0.1)
        self.fc = nn.Linear(32, num_classes)

    def forward(self, x):
        x = F.relu(self.conv1(x))
        x = self.dropout(F.relu(self.conv2(x)))
        return self.fc(F.adaptive_avg_pool2d(x, 1).flatten(1))


class BlockNet(nn.Module):
    def __init__(self, num_classes, width=8, dropout=0.2):
        super().__init__()
        self.blocks = nn.Sequential(utils.make_block(3, width), nn.MaxPool2d(2), utils.make_block(width, 2 * width))
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(2 * width, num_classes))

    def forward(self, x):
        return self.head(self.blocks(x).mean(dim=(2, 3)))


class ThreeHeads(nn.Module):
    """Mask, gender and age at once; icf asks one question."""

    def __init__(self, num_classes):
        super().__init__()
        self.backbone = SmallNet(num_classes=8)
        self.heads = nn.ModuleList([nn.Linear(8, size) for size in (3, 2, 3)])

    def forward(self, x):
        features = torch.relu(self.backbone(x))
        return [head(features) for head in self.heads]
