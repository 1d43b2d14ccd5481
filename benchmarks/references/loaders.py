"""Loaders as most people write them: two workers, Pillow, torchvision's transforms, one image at a time."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from benchmarks.references.options import Photo

Batch = tuple[torch.Tensor, torch.Tensor]


class Photos(Dataset[tuple[torch.Tensor, int]]):
    """Photos, decoded each time they are asked for."""

    def __init__(self, photos: Sequence[Photo], size: int, *, augment: bool) -> None:
        self.photos = photos
        flips = [transforms.RandomHorizontalFlip()] if augment else []
        self.transform = transforms.Compose(
            [
                transforms.Resize((size, size)),
                *flips,
                transforms.ToTensor(),
                transforms.Normalize([0.5, 0.5, 0.5], [0.5, 0.5, 0.5]),
            ]
        )

    def __len__(self) -> int:
        return len(self.photos)

    def __getitem__(self, row: int) -> tuple[torch.Tensor, int]:
        photo = self.photos[row]
        return self.transform(Image.open(photo.path).convert("RGB")), photo.target


def make_loader(
    photos: Sequence[Photo], size: int, batch_size: int, *, train: bool, flips: bool = True, workers: int = 2
) -> DataLoader[tuple[torch.Tensor, int]]:
    """Return a loader that shuffles and flips for training; its workers live as long as it does."""
    return DataLoader(
        Photos(photos, size, augment=train and flips),
        batch_size=batch_size,
        shuffle=train,
        num_workers=workers,
        persistent_workers=workers > 0,
    )
