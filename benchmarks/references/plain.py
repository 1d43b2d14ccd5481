"""Reference (a): cross-validation of resnet18 with a loop written by hand, float32, as most people write it."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import nn
from torchvision.models import resnet18

from benchmarks.references.loaders import Batch, make_loader
from benchmarks.references.options import Photo, list_folds, make_parser, read_listing


def train_epoch(
    model: nn.Module,
    loader: Iterable[Batch],
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
) -> None:
    model.train()
    for images, targets in loader:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(images), targets)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()


@torch.inference_mode()
def count_right(model: nn.Module, loader: Iterable[Batch]) -> int:
    model.eval()
    return sum(int((model(images).argmax(1) == targets).sum()) for images, targets in loader)


def train_fold(photos: list[Photo], fold: int, classes: int, options: argparse.Namespace) -> int:
    """Train one fold, keep the weights of the best epoch, and return how many rows it predicts rightly."""
    torch.manual_seed(fold)
    rest = [p for p in photos if p.fold != fold]
    train = make_loader(rest, options.size, options.batch_size, train=True, flips=options.flips)
    validation = make_loader([p for p in photos if p.fold == fold], options.size, 256, train=False)
    model = resnet18(num_classes=classes)
    optimizer = torch.optim.AdamW(model.parameters(), lr=options.rate, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, options.epochs * len(train))
    best = -1
    for _ in range(options.epochs):
        train_epoch(model, train, optimizer, schedule)
        right = count_right(model, validation)
        if right > best:
            best = right
            save(model, options.output, fold)
    return best


def save(model: nn.Module, folder: Path, fold: int) -> None:
    torch.save(model.state_dict(), folder / f"fold-{fold}.pt")


def main() -> None:
    options = make_parser().parse_args()
    torch.set_num_threads(options.threads)
    photos, classes = read_listing(options.listing)
    folds = list_folds(photos)
    right = sum(train_fold(photos, fold, classes, options) for fold in folds)
    print(json.dumps({"accuracy": right / sum(photo.fold in folds for photo in photos)}))


if __name__ == "__main__":
    main()
