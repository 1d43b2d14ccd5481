"""One epoch of batches, without a network: each image decoded by Pillow and prepared by itself."""

from __future__ import annotations

import json
import time

import torch

from benchmarks.references.loaders import make_loader
from benchmarks.references.options import make_parser, read_listing


def main() -> None:
    parser = make_parser()
    parser.add_argument("--workers", type=int, required=True)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    photos, _ = read_listing(options.listing)
    chosen = [photo for photo in photos if photo.fold != 0]
    loader = make_loader(chosen, options.size, options.batch_size, train=True, workers=options.workers)
    started = time.perf_counter()
    for _ in loader:
        pass
    print(json.dumps({"seconds": time.perf_counter() - started}))


if __name__ == "__main__":
    main()
