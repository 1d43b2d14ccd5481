"""Reference (b): the same training, tuned by hand with everything that is known to help on a CPU.

Images are decoded once by all cores, JPEG at a reduced scale, into one uint8 array; batches are flipped as
uint8 and normalised into a buffer that is kept; weights and images are in channels-last memory; bfloat16
or float32, whichever was found to be faster; a fused optimizer; malloc keeps its memory.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4


def keep_memory() -> None:
    """Tell glibc to keep what is freed: a fresh page costs more than the arithmetic on it. Before torch is imported."""
    os.environ["THP_MEM_ALLOC_ENABLE"] = "1"
    malloc = ctypes.CDLL(None)
    for name, value in ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, 2**31 - 1), (M_TOP_PAD, 64 << 20)):
        malloc.mallopt(name, value)


keep_memory()

import numpy as np  # noqa: E402
import simplejpeg  # noqa: E402
import torch  # noqa: E402
from PIL import Image  # noqa: E402
from torch import nn  # noqa: E402
from torchvision.models import resnet18  # noqa: E402

from benchmarks.references.options import Photo, list_folds, make_parser, read_listing  # noqa: E402


def decode(photo: Photo, size: int) -> torch.Tensor:
    """Return uint8 [size, size, 3]; a JPEG is decoded at a half or a quarter, at least 1.5 times the size."""
    if photo.path.suffix == ".jpg":
        least = int(1.5 * size)
        pixels = simplejpeg.decode_jpeg(photo.path.read_bytes(), "RGB", min_height=least, min_width=least)
    else:
        pixels = np.array(Image.open(photo.path).convert("RGB"))
    image = torch.from_numpy(pixels)
    if image.shape[:2] == (size, size):
        return image
    view = image.permute(2, 0, 1).unsqueeze(0)
    resized = nn.functional.interpolate(view, (size, size), mode="bilinear", antialias=True)
    return resized[0].permute(1, 2, 0)


def decode_all(photos: list[Photo], size: int, threads: int) -> torch.Tensor:
    """Return all pixels, uint8 [N, H, W, 3]."""
    pixels = torch.empty((len(photos), size, size, 3), dtype=torch.uint8)

    def fill(row: int) -> None:
        pixels[row] = decode(photos[row], size)

    torch.set_num_threads(1)
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(fill, range(len(photos))))
    torch.set_num_threads(threads)
    return pixels


class Batches:
    """Normalised batches in one kept buffer, channels-last."""

    def __init__(self, pixels: torch.Tensor, largest: int, dtype: torch.dtype) -> None:
        self.pixels = pixels
        size = pixels.shape[1]
        self.buffer = torch.empty((largest, size, size, 3), dtype=dtype)

    def read(self, rows: torch.Tensor, *, flip: bool) -> torch.Tensor:
        images = self.pixels.index_select(0, rows)
        if flip:
            chosen = torch.rand(len(rows)) < 0.5
            images[chosen] = images[chosen].flip(2)
        batch = self.buffer[: len(rows)]
        batch.copy_(images)
        return batch.sub_(127.5).mul_(1 / 127.5).permute(0, 3, 1, 2)


def train_fold(pixels: torch.Tensor, photos: list[Photo], fold: int, classes: int, options: argparse.Namespace) -> int:
    """Train one fold, keep the weights of the best epoch, and return how many rows it predicts rightly."""
    torch.manual_seed(fold)
    half = options.precision == "bf16"
    batches = Batches(pixels, max(256, options.batch_size), torch.bfloat16 if half else torch.float32)
    targets = torch.tensor([photo.target for photo in photos])
    folds = torch.tensor([photo.fold for photo in photos])
    train, validation = torch.nonzero(folds != fold)[:, 0], torch.nonzero(folds == fold)[:, 0]
    model = resnet18(num_classes=classes).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), lr=options.rate, weight_decay=0.0, fused=True)
    steps = -(-len(train) // options.batch_size)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, options.epochs * steps)
    best = -1
    for _ in range(options.epochs):
        model.train()
        for rows in torch.split(train[torch.randperm(len(train))], options.batch_size):
            with autocast(half):
                loss = nn.functional.cross_entropy(model(batches.read(rows, flip=options.flips)), targets[rows])
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
        right = count_right(model, batches, validation, targets, half)
        if right > best:
            best = right
            torch.save(model.state_dict(), options.output / f"fold-{fold}.pt")
    return best


@torch.inference_mode()
def count_right(model: nn.Module, batches: Batches, rows: torch.Tensor, targets: torch.Tensor, half: bool) -> int:
    model.eval()
    right = 0
    for part in torch.split(rows, 256):
        with autocast(half):
            right += int((model(batches.read(part, flip=False)).argmax(1) == targets[part]).sum())
    return right


def autocast(half: bool) -> torch.autocast | nullcontext[None]:
    return torch.autocast("cpu", dtype=torch.bfloat16) if half else nullcontext()


def main() -> None:
    parser = make_parser()
    parser.add_argument("--precision", choices=("fp32", "bf16"), required=True)
    options = parser.parse_args()
    photos, classes = read_listing(options.listing)
    pixels = decode_all(photos, options.size, options.threads)
    folds = list_folds(photos)
    right = sum(train_fold(pixels, photos, fold, classes, options) for fold in folds)
    print(json.dumps({"accuracy": right / sum(photo.fold in folds for photo in photos)}))


if __name__ == "__main__":
    main()
