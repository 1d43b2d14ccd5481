"""Checks of models."""

from __future__ import annotations

import io

import torch
from torch import Tensor, nn

from icf.components import Model, ModelContext, ModelInfo
from icf.plugins import load_object
from icf.testing.case import Case, expect

SIDE = 64
ROWS = 4


def build_model(case: Case, *, classes: int = 5, channels: int = 3, seed: int = 1) -> nn.Module:
    """Build the model as a run would, without fetching weights."""
    torch.manual_seed(seed)
    model: nn.Module = case.build(make_context(classes=classes, channels=channels, seed=seed))
    return model


def make_context(*, classes: int = 5, channels: int = 3, seed: int = 1) -> ModelContext:
    """Return the context of the checks."""
    return ModelContext(num_classes=classes, channels=channels, image_size=(SIDE, SIDE), seed=seed, pretrained=False)


def draw_images(channels: int = 3) -> Tensor:
    """Return normalised images, float32 [ROWS, C, SIDE, SIDE]."""
    return torch.randn(ROWS, channels, SIDE, SIDE, generator=torch.Generator().manual_seed(7))


def evaluate(model: nn.Module, images: Tensor, seed: int | None = None) -> Tensor:
    """Return the logits in evaluation mode, perhaps with torch's own generator seeded anew."""
    model.eval()
    if seed is not None:
        torch.manual_seed(seed)
    with torch.no_grad():
        logits: Tensor = model(images)
    return logits


def check_output(case: Case) -> None:
    """Images float32 [N, C, H, W] become logits float [N, K], for grey images and for any number of classes."""
    for channels, classes in ((3, 5), (1, 2)):
        model = build_model(case, classes=classes, channels=channels)
        expect(isinstance(model, nn.Module), f"the factory returns {type(model).__name__}, not torch.nn.Module")
        logits = evaluate(model, draw_images(channels))
        expect(isinstance(logits, Tensor), f"the model returns {type(logits).__name__}, not a tensor")
        found, wanted = tuple(logits.shape), (ROWS, classes)
        expect(found == wanted, f"logits of shape {found} for {ROWS} images and {classes} classes, not {wanted}")
        expect(logits.is_floating_point(), f"logits are {logits.dtype}")


def check_finite(case: Case) -> None:
    """Logits are finite, in training and in evaluation, also for an image of one colour."""
    model = build_model(case)
    for name, images in (("ordinary images", draw_images()), ("images of zeros", torch.zeros(ROWS, 3, SIDE, SIDE))):
        expect(evaluate(model, images).isfinite().all(), f"evaluation: logits of {name} are not finite")
        model.train()
        expect(model(images).isfinite().all(), f"training: logits of {name} are not finite")


def check_gradients(case: Case) -> None:
    """A gradient reaches every trainable parameter, and is finite."""
    model = build_model(case).train()
    trainable = {name: item for name, item in model.named_parameters() if item.requires_grad}
    expect(trainable, "the model has no trainable parameter")
    nn.functional.cross_entropy(model(draw_images()), torch.arange(ROWS)).backward()  # type: ignore[no-untyped-call]
    missed = [name for name, item in trainable.items() if item.grad is None]
    expect(not missed, f"no gradient reaches {', '.join(missed[:5])}")
    wild = [name for name, item in trainable.items() if item.grad is not None and not item.grad.isfinite().all()]
    expect(not wild, f"the gradient of {', '.join(wild[:5])} is not finite")


def check_state_dict(case: Case) -> None:
    """Weights that are saved and loaded into a new model, without pickle, give the same logits."""
    model, images = build_model(case), draw_images()
    # A training pass moves what is no parameter, such as running means.
    model.train()(images)
    saved = io.BytesIO()
    torch.save(model.state_dict(), saved)
    saved.seek(0)
    other = build_model(case, seed=2)
    other.load_state_dict(torch.load(saved, weights_only=True))
    same = torch.equal(evaluate(model, images, seed=0), evaluate(other, images, seed=0))
    expect(same, "the restored model gives other logits")


def check_seed(case: Case) -> None:
    """The same seed gives the same weights."""
    first, second = build_model(case).state_dict(), build_model(case).state_dict()
    different = [name for name in first if not torch.equal(first[name], second[name])]
    expect(not different, f"{', '.join(different[:5])} differ between two models of one seed")


def check_evaluation(case: Case) -> None:
    """In evaluation nothing is random, nothing changes, and a row's logits do not depend on the other rows."""
    model, images = build_model(case), draw_images()
    model.train()(images)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    logits = evaluate(model, images)
    expect(torch.equal(logits, evaluate(model, images)), "the same images give other logits the second time")
    after = model.state_dict()
    changed = [name for name in before if not torch.equal(before[name], after[name])]
    expect(not changed, f"evaluation changes {', '.join(changed[:5])}")
    alone = torch.cat([evaluate(model, images[row : row + 1]) for row in range(ROWS)])
    difference = float((alone - logits).abs().max())
    expect(
        torch.allclose(alone, logits, rtol=1e-3, atol=1e-4), f"rows alone give logits that differ by {difference:.2g}"
    )


def check_inspect(case: Case) -> None:
    """What ``inspect`` says of the model is a ModelInfo."""
    if isinstance(case.descriptor, Model) and case.descriptor.inspect is not None:
        info = load_object(case.descriptor.inspect)(case.params, make_context())
        expect(isinstance(info, ModelInfo), f"{case.descriptor.inspect} returns {type(info).__name__}, not ModelInfo")


MODEL_CHECKS = (
    check_output,
    check_finite,
    check_gradients,
    check_state_dict,
    check_seed,
    check_evaluation,
    check_inspect,
)
