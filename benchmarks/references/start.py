"""Import torch and timm, and do one step of resnet18 on made-up images: SIZE BATCH THREADS."""

from __future__ import annotations

import json
import sys
import time

import timm
import torch


def main() -> None:
    size, batch, threads = map(int, sys.argv[1:])
    torch.set_num_threads(threads)
    model = timm.create_model("resnet18", num_classes=10)
    optimizer = torch.optim.AdamW(model.parameters())
    images, targets = torch.randn(batch, 3, size, size), torch.randint(10, (batch,))
    torch.nn.functional.cross_entropy(model(images), targets).backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    print(json.dumps({"first_step": time.monotonic()}))


if __name__ == "__main__":
    main()
