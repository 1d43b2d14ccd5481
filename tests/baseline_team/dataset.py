"""A team's data set and its augmentations; icf takes only the augmentations."""

from __future__ import annotations

import random

import numpy as np
import torch
from loss import create_criterion
from PIL import Image
from torchvision.transforms import CenterCrop, ColorJitter, Compose, Normalize, RandomHorizontalFlip, Resize, ToTensor

IMG_EXTENSIONS = [".jpg", ".jpeg", ".png"]
CRITERION = create_criterion("cross_entropy")


class BaseAugmentation:
    def __init__(self, resize, mean, std, **kwargs):
        self.transform = Compose([Resize(resize, Image.Resampling.BILINEAR), ToTensor(), Normalize(mean=mean, std=std)])

    def __call__(self, image):
        return self.transform(image)


class AddGaussianNoise:
    """Torch's own generator decides, as in most teams' code."""

    def __init__(self, mean=0.0, std=1.0):
        self.std = std
        self.mean = mean

    def __call__(self, tensor):
        return tensor + torch.randn(tensor.size()) * self.std + self.mean


class CustomAugmentation:
    def __init__(self, resize, mean, std, noise=0.05, **kwargs):
        self.transform = Compose(
            [
                Resize(resize, Image.Resampling.BILINEAR),
                ColorJitter(0.1, 0.1, 0.1, 0.1),
                RandomHorizontalFlip(),
                ToTensor(),
                Normalize(mean=mean, std=std),
                AddGaussianNoise(std=noise),
            ]
        )

    def __call__(self, image):
        return self.transform(image)


class CroppingAugmentation:
    def __init__(self, resize, mean, std, **kwargs):
        self.transform = Compose([CenterCrop((320, 256)), Resize(resize), ToTensor(), Normalize(mean=mean, std=std)])

    def __call__(self, image):
        return self.transform(image)


class CutoutAugmentation:
    """Python's and numpy's own generators decide."""

    def __init__(self, resize, mean, std, size=2):
        self.base = BaseAugmentation(resize, mean, std)
        self.size = size

    def __call__(self, image):
        tensor = self.base(image)
        if random.random() < 0.5:
            top, left = np.random.randint(0, tensor.shape[1] - self.size), np.random.randint(0, 3)
            tensor[:, top : top + self.size, left : left + self.size] = 0
        return tensor


class OwnNormalization:
    """What it is told to normalise with is ignored."""

    def __init__(self, resize):
        normalize = Normalize(mean=(0.548, 0.504, 0.479), std=(0.237, 0.247, 0.246))
        self.transform = Compose([Resize(resize), ToTensor(), normalize])

    def __call__(self, image):
        return self.transform(image)


class AlbumentationsStyle:
    def __init__(self, resize, mean, std, **kwargs):
        import albumentations as A
        from albumentations.pytorch import ToTensorV2

        self.transform = A.Compose(
            [
                A.Resize(*resize),
                A.HorizontalFlip(p=0.5),
                A.RandomBrightnessContrast(p=1.0),
                A.Normalize(mean=mean, std=std),
                ToTensorV2(),
            ]
        )

    def __call__(self, image):
        return self.transform(image=image)["image"]
