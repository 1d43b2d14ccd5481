"""Ten plain passes: five models, each over the plain and the mirrored images, decoded anew for every pass."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn
from torchvision.models import resnet18

from benchmarks.references.loaders import make_loader
from benchmarks.references.options import Photo, make_parser, read_listing


@torch.inference_mode()
def predict(model: nn.Module, photos: list[Photo], size: int, *, mirrored: bool) -> torch.Tensor:
    """Return probabilities, float32 [N, K]."""
    model.eval()
    parts = []
    for images, _ in make_loader(photos, size, 256, train=False):
        parts.append(model(images.flip(3) if mirrored else images).softmax(1))
    return torch.cat(parts)


def main() -> None:
    parser = make_parser()
    parser.add_argument("--run", type=Path, required=True, help="a run folder of icf, for its weights")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    photos, classes = read_listing(options.listing)
    total = torch.zeros((len(photos), classes))
    for weights in sorted(options.run.glob("folds/*/checkpoint*/best.safetensors")):
        model = resnet18(num_classes=classes)
        model.load_state_dict(load_file(weights))
        for mirrored in (False, True):
            total += predict(model, photos, options.size, mirrored=mirrored)
    right = total.argmax(1) == torch.tensor([photo.target for photo in photos])
    print(json.dumps({"accuracy": float(right.float().mean())}))


if __name__ == "__main__":
    main()
