from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy import stats
from timm.data import mixup as timm_mixup
from torchvision.transforms import v2

import icf
from icf_augment.mixing import Partners, Strangers, build_cutmix, build_mixup
from icf_augment.plugin import CutMixParams, MixParams, icf_mixers

Build = Callable[..., icf.BatchMixer]

ALWAYS = {"probability": 1.0}
CASES: list[tuple[Build, MixParams]] = [
    (build_mixup, MixParams(**ALWAYS)),
    (build_mixup, MixParams(**ALWAYS, partners="same-label")),
    (build_cutmix, CutMixParams(**ALWAYS)),
    (build_cutmix, CutMixParams(**ALWAYS, direction="vertical", share=0.5)),
    (build_cutmix, CutMixParams(**ALWAYS, direction="horizontal", partners="within", groups=((0, 1),))),
    (build_mixup, MixParams(**ALWAYS, partners="other-label")),
]
CLASSES = 5


def draw_batch(count: int = 16, channels: int = 3, height: int = 12, width: int = 10) -> tuple[torch.Tensor, ...]:
    generator = seeded(5)
    pixels = torch.randint(0, 256, (count, height, width, channels), generator=generator, dtype=torch.uint8)
    return pixels.permute(0, 3, 1, 2), torch.arange(count) % CLASSES


def context(images: torch.Tensor) -> icf.MixerContext:
    height, width = images.shape[-2:]
    return icf.MixerContext(num_classes=CLASSES, image_size=(height, width), channels=images.shape[1])


def seeded(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(("build", "params"), CASES)
@pytest.mark.parametrize("channels", [1, 3])
def test_mixers_keep_the_contract(build: Build, params: MixParams, channels: int) -> None:
    images, targets = draw_batch(channels=channels)
    original = images.clone()
    mixer = build(params, context(images))
    state = torch.get_rng_state()
    mixed = mixer(images, targets, seeded())
    again = mixer(images.contiguous(), targets, seeded())
    assert mixed.images.dtype == torch.uint8
    assert mixed.images.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(mixed.images, again.images)
    assert torch.equal(mixed.partners, again.partners)
    assert mixed.weight == again.weight
    assert not torch.equal(mixed.images, original)
    assert torch.equal(images, original)
    assert torch.equal(state, torch.get_rng_state())
    assert not torch.equal(mixer(images, targets, seeded(2)).images, mixed.images)


@pytest.mark.parametrize(("build", "params"), CASES)
def test_probability_is_that_of_a_batch(build: Build, params: MixParams) -> None:
    images, targets = draw_batch(5, height=6, width=6)
    mixer = build(params.model_copy(update={"probability": 0.25}), context(images))
    batches = [mixer(images, targets, seeded(seed)) for seed in range(600)]
    left = [mixed for mixed in batches if mixed.weight == 1]
    assert all(torch.equal(mixed.images, images) for mixed in left)
    assert all(mixed.partners.tolist() == [0, 1, 2, 3, 4] for mixed in left if mixed.images is images)
    drawn = sum(mixed.images is images for mixed in batches)
    assert 0.69 < drawn / len(batches) < 0.81


# -- partners ---------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    labels=st.lists(st.integers(0, 4), min_size=1, max_size=24),
    groups=st.lists(st.integers(-1, 2), min_size=5, max_size=5),
    seed=st.integers(0, 1000),
)
def test_partners_are_a_circle_within_each_group(labels: list[int], groups: list[int], seed: int) -> None:
    found = Partners(torch.tensor(groups)).draw(torch.tensor(labels), seeded(seed)).tolist()
    assert sorted(found) == list(range(len(labels)))
    group_of = [groups[label] for label in labels]
    for place, partner in enumerate(found):
        members = [other for other, group in enumerate(group_of) if group == group_of[place]]
        assert partner in members
        if group_of[place] < 0:
            assert partner == place
            continue
        circle = [place]
        while found[circle[-1]] != place:
            circle.append(found[circle[-1]])
        assert sorted(circle) == members


def test_every_other_image_is_the_partner_equally_often() -> None:
    partners = [int(Partners().draw(torch.zeros(5, dtype=torch.int64), seeded(seed))[0]) for seed in range(2000)]
    assert np.bincount(partners, minlength=5).tolist() == pytest.approx([0, 500, 500, 500, 500], rel=0.2)


@settings(max_examples=60, deadline=None)
@given(labels=st.lists(st.integers(0, 4), min_size=1, max_size=24), seed=st.integers(0, 1000))
def test_strangers_have_another_label_wherever_there_is_one(labels: list[int], seed: int) -> None:
    found = Strangers().draw(torch.tensor(labels), seeded(seed)).tolist()
    for place, partner in enumerate(found):
        if set(labels) == {labels[place]}:
            assert partner == place
        else:
            assert labels[partner] != labels[place]


def test_every_stranger_is_the_partner_equally_often() -> None:
    targets = torch.tensor([2, 0, 1, 0, 2, 4])
    drawn = [Strangers().draw(targets, seeded(seed)).tolist() for seed in range(2000)]
    for place in range(len(targets)):
        counts = np.bincount([partners[place] for partners in drawn], minlength=6)
        strangers = (targets != targets[place]).numpy()
        assert counts[~strangers].tolist() == [0] * int((~strangers).sum())
        assert stats.chisquare(counts[strangers]).pvalue > 1e-4


@pytest.mark.parametrize("build", [build_mixup, build_cutmix])
def test_the_filter_decides_who_is_mixed(build: Build) -> None:
    images, targets = draw_batch(40)
    params = CutMixParams if build is build_cutmix else MixParams

    def draw(**chosen: Any) -> list[tuple[int, int]]:
        mixed = build(params(**ALWAYS, **chosen), context(images))(images, targets, seeded())
        assert torch.equal(mixed.images[mixed.partners == torch.arange(40)], images[mixed.partners == torch.arange(40)])
        return list(zip(targets.tolist(), targets[mixed.partners].tolist(), strict=True))

    assert any(own != other for own, other in draw())
    assert all(own == other for own, other in draw(partners="same-label"))
    assert all(own != other for own, other in draw(partners="other-label"))
    pairs = set(draw(partners="within", groups=[[0, 1], [2, 3]]))
    assert {frozenset(pair) for pair in pairs if pair[0] != pair[1]} == {frozenset({0, 1}), frozenset({2, 3})}


def test_groups_may_name_classes() -> None:
    images, targets = draw_batch(40)
    names = ("wear male", "wear female", "none male", "none female", "7")
    mixers = [
        build_mixup(
            MixParams(**ALWAYS, partners="within", groups=groups),
            icf.MixerContext(num_classes=CLASSES, image_size=(12, 10), classes=names),
        )
        for groups in ((("wear male", 2), ("7", "none female")), ((0, 2), (4, 3)))
    ]
    named, numbered = (mixer(images, targets, seeded()) for mixer in mixers)
    assert torch.equal(named.partners, numbered.partners)
    assert not torch.equal(named.partners, torch.arange(40))


@pytest.mark.parametrize(
    ("group", "message"),
    [
        ((0, 7), "augment/mixup: groups names class 7, but the data set has 5 classes"),
        (("a", "bb"), "names the class 'bb', but the data set has none.*allowed: a, b, c, d, e"),
        (("b", 1), "groups names class 1 twice, once by its name, once by its number"),
    ],
)
def test_a_class_that_there_is_not_is_told_when_the_mixer_is_built(group: tuple[int | str, ...], message: str) -> None:
    params = MixParams(partners="within", groups=(group,))
    with pytest.raises(icf.PluginError, match=message):
        build_mixup(params, icf.MixerContext(num_classes=5, image_size=(4, 4), classes=tuple("abcde")))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"partners": "within"}, "needs groups"),
        ({"groups": [[0, 1]]}, 'groups need partners = "within", but partners is "any"'),
        ({"partners": "within", "groups": [[0, 1], [1, 2]]}, "class 1 is named twice"),
        ({"partners": "within", "groups": [[-1, 2]]}, "greater than or equal to 0"),
    ],
)
def test_groups_that_make_no_sense_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        CutMixParams.model_validate(values)


# -- weights and pixels -----------------------------------------------------------------------------


@pytest.mark.parametrize("alpha", [0.2, 1.0, 3.0])
def test_weights_follow_the_beta_distribution(alpha: float) -> None:
    images, targets = draw_batch(2, 1, 2, 2)
    mixer = build_mixup(MixParams(**ALWAYS, alpha=alpha), context(images))
    weights = [mixer(images, targets, seeded(seed)).weight for seed in range(2000)]
    assert stats.kstest(weights, stats.beta(alpha, alpha).cdf).pvalue > 0.001


def swap_labels(batch: torch.Tensor, targets: torch.Tensor, weight: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Mix a batch of two with torchvision, where each is the other's partner."""
    mixup = v2.MixUp(num_classes=CLASSES)
    return mixup.transform(batch, {"lam": weight, "labels": targets, "batch_size": 2}), mixup.transform(
        targets, {"lam": weight, "labels": targets, "batch_size": 2}
    )


@pytest.mark.parametrize("seed", range(5))
def test_mixup_is_that_of_torchvision_and_of_timm(seed: int) -> None:
    images, targets = draw_batch(2)
    mixed = build_mixup(MixParams(**ALWAYS, alpha=1.0), context(images))(images, targets, seeded(seed))
    pixels, labels = swap_labels(images.float(), targets, mixed.weight)
    assert (mixed.images.float() - pixels).abs().max() <= 0.5 + 1e-4
    logits = torch.randn(2, CLASSES, generator=seeded(seed))
    ours = sum(
        share * torch.nn.functional.cross_entropy(logits, label)
        for label, share in ((targets, mixed.weight), (targets[mixed.partners], 1 - mixed.weight))
    )
    assert torch.allclose(torch.as_tensor(ours), torch.nn.functional.cross_entropy(logits, labels), atol=1e-6)
    soft = timm_mixup.mixup_target(targets, CLASSES, mixed.weight)
    assert torch.allclose(soft, labels, atol=1e-6)


def test_a_large_batch_is_averaged_like_a_small_one(monkeypatch: pytest.MonkeyPatch) -> None:
    images, targets = draw_batch(13)
    mixer = build_mixup(MixParams(**ALWAYS), context(images))
    whole = mixer(images, targets, seeded())
    monkeypatch.setattr("icf_augment.mixing.PIECE", 3 * images[0].numel())
    assert torch.equal(mixer(images, targets, seeded()).images, whole.images)


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(1, 20),
    width=st.integers(1, 20),
    seed=st.integers(0, 10_000),
    direction=st.sampled_from(["box", "vertical", "horizontal"]),
    share=st.none() | st.floats(0.01, 0.99),
)
def test_the_weight_of_cutmix_is_the_exact_share_of_pixels(
    height: int, width: int, seed: int, direction: Any, share: float | None
) -> None:
    levels = torch.tensor([10, 20], dtype=torch.uint8)
    images = levels[:, None, None, None].expand(2, 3, height, width)
    params = CutMixParams(**ALWAYS, direction=direction, share=share)
    mixed = build_cutmix(params, context(images))(images, torch.tensor([0, 1]), seeded(seed))
    kept = mixed.images[0, 0] == 10
    assert kept.double().mean() == pytest.approx(mixed.weight)
    assert torch.equal(mixed.images[1, 0] == 20, kept)
    assert torch.equal(mixed.images[:, :1].expand(-1, 3, -1, -1), mixed.images)


@pytest.mark.parametrize("seed", range(8))
def test_the_box_is_that_of_timm(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    height, width, share = 20, 14, 0.05 + 0.12 * seed
    images = torch.tensor([10, 20], dtype=torch.uint8)[:, None, None, None].expand(2, 1, height, width)
    mixer = build_cutmix(CutMixParams(**ALWAYS, share=share), context(images))
    replaced = mixer(images, torch.zeros(2).long(), seeded(seed)).images[0, 0] == 20
    rows, columns = replaced.any(1).nonzero().flatten(), replaced.any(0).nonzero().flatten()
    found = (int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1)
    assert int(replaced.sum()) == (found[1] - found[0]) * (found[3] - found[2])
    # timm draws the centre's row and then its column; here it is asked for every centre in turn.
    centres = iter([part for row in range(height) for column in range(width) for part in (row, column)])
    monkeypatch.setattr(np.random, "randint", lambda *_, **__: next(centres))
    boxes = {tuple(map(int, timm_mixup.rand_bbox(images.shape, 1 - share))) for _ in range(height * width)}
    assert found in boxes


def test_boxes_reach_every_pixel() -> None:
    images, targets = (
        torch.tensor([0, 1], dtype=torch.uint8)[:, None, None, None].expand(2, 1, 8, 8),
        torch.zeros(2).long(),
    )
    mixer = build_cutmix(CutMixParams(**ALWAYS, share=0.1), context(images))
    hits = sum(mixer(images, targets, seeded(seed)).images[0, 0].long() for seed in range(800))
    assert int(torch.as_tensor(hits).min()) > 10


@pytest.mark.parametrize(("direction", "axis"), [("vertical", 1), ("horizontal", 0)])
def test_a_half_face_is_the_left_or_the_right_half(direction: Any, axis: int) -> None:
    images = torch.tensor([0, 1], dtype=torch.uint8)[:, None, None, None].expand(2, 1, 6, 8)
    mixer = build_cutmix(CutMixParams(**ALWAYS, share=0.5, direction=direction), context(images))
    sides = []
    for seed in range(200):
        mixed = mixer(images, torch.zeros(2).long(), seeded(seed))
        first, last = mixed.images[0, 0].chunk(2, dim=axis)
        assert mixed.weight == 0.5
        assert {float(first.float().mean()), float(last.float().mean())} == {0.0, 1.0}
        sides.append(int(first.max()))
    assert 70 < sum(sides) < 130


def test_plugin_offers_the_mixers() -> None:
    assert [mixer.name for mixer in icf_mixers()] == ["mixup", "cutmix"]
