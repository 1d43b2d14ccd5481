"""Statistics of batch normalisation, computed anew for weights that no training step has seen."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from contextlib import closing

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from icf.pipeline.training.averaging import EpochAverage
from icf.pipeline.training.clock import count_seconds
from icf.pipeline.training.network import set_training_mode
from icf.pipeline.training.number_format import autocast
from icf.pipeline.training.trainer import Trainer, cut_batch


@contextlib.contextmanager
def averaged_weights(trainer: Trainer) -> Iterator[None]:
    """Put the mean of the weights, if the recipe asks for one and there is one yet, in their place for the block."""
    average = trainer.average
    if average is None or not average.count:
        yield
        return
    with average.applied():
        if isinstance(average, EpochAverage):
            with count_seconds(trainer.state.seconds, "validation"):
                recompute_statistics(trainer, trainer.state.epoch)
        yield


def recompute_statistics(trainer: Trainer, epoch: int) -> None:
    """Let the network see the training images of an epoch, augmented and not mixed, and keep their statistics."""
    rows = trainer.data.train_rows[trainer.order(epoch)]
    batches = np.array_split(rows, trainer.steps)
    requests = [(p.rows, p.seed) for step, batch in enumerate(batches) for p in cut_batch(trainer, batch, step)]
    set_training_mode(trainer.model)
    norms = [module for module in trainer.model.modules() if _is_updated(module)]
    if not norms:
        return
    trainer.model.eval()  # what is dropped in training is not in evaluation
    with closing(trainer.loader.load(requests)) as images, autocast(trainer.device, trainer.precision):
        update_statistics(trainer.model, norms, images)


def _is_updated(module: nn.Module) -> bool:
    return isinstance(module, _BatchNorm) and module.training and module.running_mean is not None


@torch.no_grad()
def update_statistics(model: nn.Module, norms: Iterable[nn.Module], images: Iterable[torch.Tensor]) -> None:
    """Set the running statistics of ``norms`` to their means over batches of images, as torch's ``update_bn`` does."""
    momenta = {norm: norm.momentum for norm in norms if isinstance(norm, _BatchNorm)}
    for norm in momenta:
        norm.reset_running_stats()
        norm.train()
        norm.momentum = None  # each batch counts the same
    for batch in images:
        model(batch)
    for norm, momentum in momenta.items():
        norm.momentum = momentum
        norm.eval()
