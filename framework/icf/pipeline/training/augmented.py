"""A picture of the first training batch, as the network sees it."""

from __future__ import annotations

import io

import torch
from PIL import Image

from icf.pipeline.data.inputs import open_train_images
from icf.pipeline.files import write_bytes
from icf.pipeline.seeds import Purpose, derive_seed
from icf.pipeline.training.batches import draw_grid
from icf.pipeline.training.mixing import mix_lines
from icf.pipeline.training.trainer import Trainer


def write_augmented(trainer: Trainer) -> None:
    """Write the picture of a fold; where folds train on embeddings, of the first fold only."""
    job, data = trainer.job, trainer.data
    if trainer.embeddings is not None and job.fold > 0:
        return  # one picture of images that training never reads is enough
    images = open_train_images(job.plan, data.train_pixels, data.preprocessing, trainer.device)
    seed = derive_seed(job.plan.recipe.train.seed, Purpose.AUGMENT, job.fold)
    rows = trainer.data.train_rows[trainer.order(0)[:32]]
    pictures = images.augment(rows, seed)
    if trainer.mixing.is_active(0):
        pictures = mix_lines(trainer.mixing, pictures, torch.from_numpy(data.trained[rows]), seed)
    grid = Image.fromarray(draw_grid(pictures))
    path = trainer.job.folder.augmented
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    grid.save(buffer, format="PNG")
    write_bytes(path, buffer.getvalue())
