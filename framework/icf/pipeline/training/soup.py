"""Greedy soup: the mean of a fold's best epochs, as many as do not lower its score (Wortsman et al. 2022)."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file

from icf.pipeline.results.inference import predict_logits
from icf.pipeline.results.products import blame
from icf.pipeline.results.score import build_metrics
from icf.pipeline.training import checkpoint
from icf.pipeline.training.batch_norm import recompute_statistics
from icf.pipeline.training.fold_result import describe_weights, find_best_weights
from icf.pipeline.training.trainer import Trainer

Weights = dict[str, torch.Tensor]


def rank_epochs(trainer: Trainer) -> list[int]:
    """Return the epochs that may become part of the soup, the best first; of equals the earlier."""
    metric, history = trainer.job.plan.metrics[0], trainer.state.history
    sign = -1 if metric.maximize else 1
    ranked = sorted(range(len(history)), key=lambda epoch: (sign * history[epoch][metric.key], epoch))
    return ranked[: trainer.job.plan.recipe.train.soup_size]


def save_ingredient(trainer: Trainer) -> None:
    """Keep the weights of the epoch that was just validated, if it is one of the best so far."""
    epoch = trainer.state.epoch - 1
    if epoch in rank_epochs(trainer):
        checkpoint.save_weights(_find_ingredient(trainer, epoch), trainer.model, describe_weights(trainer))


def remove_ingredients(trainer: Trainer, kept: list[int]) -> None:
    """Remove the weights of all other epochs."""
    names = {_find_ingredient(trainer, epoch).name for epoch in kept}
    for path in trainer.job.folder.checkpoints.glob("ingredient-*.safetensors"):
        if path.name not in names:
            path.unlink()


def cook_soup(trainer: Trainer) -> list[int]:
    """Write the soup in the place of the best epoch's weights; return the epochs that it is made of.

    Algorithm 1 of Wortsman et al. 2022, arXiv:2203.05482: from the best epoch on, each is added if the validation
    score of the mean does not fall. The statistics of batch normalisation are those of the mean.
    """
    metric = trainer.job.plan.metrics[0]
    first, *others = rank_epochs(trainer)
    epochs, soup = [first], load_file(_find_ingredient(trainer, first))
    best = trainer.state.history[first][metric.key]
    checkpoint.load_weights(_find_ingredient(trainer, first), trainer.model)
    checkpoint.save_weights(find_best_weights(trainer), trainer.model, describe_weights(trainer))
    for epoch in others:
        mean = stir(soup, load_file(_find_ingredient(trainer, epoch)), len(epochs))
        trainer.model.load_state_dict(mean)
        recompute_statistics(trainer, first)
        score = score_validation(trainer)
        if score >= best if metric.maximize else score <= best:
            epochs, soup, best = [*epochs, epoch], mean, score
            checkpoint.save_weights(find_best_weights(trainer), trainer.model, describe_weights(trainer))
    return epochs


def stir(soup: Weights, weights: Weights, count: int) -> Weights:
    """Return the mean of ``count`` weights, whose mean is ``soup``, and further ones; what is no float stays."""
    return {
        name: torch.lerp(tensor, weights[name], 1 / (count + 1)) if tensor.is_floating_point() else tensor
        for name, tensor in soup.items()
    }


def score_validation(trainer: Trainer) -> float:
    """Return the selecting metric of the present weights on the fold's validation rows."""
    data, plan = trainer.data, trainer.job.plan
    size = trainer.job.predicts.batch_size
    with blame(plan.model, "in validation"):
        logits = predict_logits(trainer.model, trainer.batches, data.val_rows, size, trainer.device, trainer.precision)
    score = build_metrics(plan, data.attributes)[plan.metrics[0].key]
    return score(data.output.decode(logits), data.targets[data.val_rows])


def _find_ingredient(trainer: Trainer, epoch: int) -> Path:
    return trainer.job.folder.checkpoints / f"ingredient-{epoch:05d}.safetensors"
