"""Groups of parameters with a learning rate and weight decay of their own."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from icf.errors import IcfError, RecipeError
from icf.pipeline.training.fit import train_epoch
from icf.pipeline.training.team import Team
from icf.pipeline.training.trainer import Trainer, build_trainer
from training import fit, make_jobs, make_plan, read_history

PLAIN = '{use="optimizer/sgd", lr=0.1, momentum=0.0, nesterov=false, weight_decay=0.01, groups=%s}'
GROUPS = '[{match="^head", lr_factor=10.0, weight_decay=0.5}, {match="stages\\\\.1", lr_factor=0.5}]'


pytestmark = pytest.mark.usefixtures("cache_of_test")


def make_trainer(runs: Path, *overrides: str) -> Trainer:
    torch.set_num_threads(1)
    return build_trainer(make_jobs(make_plan(*overrides), runs)[0], Team())


def describe(trainer: Trainer) -> dict[str, tuple[float, float]]:
    """Return learning rate and weight decay of every parameter, by name."""
    names = {id(parameter): name for name, parameter in trainer.whole.named_parameters()}
    rates = zip(trainer.base_rates, trainer.optimizer.param_groups, strict=True)
    return {names[id(p)]: (rate, group["weight_decay"]) for rate, group in rates for p in group["params"]}


def test_groups_have_rates_and_decays_of_their_own(tmp_path: Path) -> None:
    found = describe(make_trainer(tmp_path, f"optimizer={PLAIN % GROUPS}"))
    assert found["head.weight"] == found["head.bias"] == pytest.approx((1.0, 0.5))
    of_stages = {
        name: setting for name, setting in found.items() if name.startswith("stages.") and name.endswith(".weight")
    }
    assert len(of_stages) >= 4
    for name, (rate, decay) in of_stages.items():
        matrix = decay == 0.01
        assert (rate, decay) == pytest.approx((0.05 if name.startswith("stages.1") else 0.1, 0.01 if matrix else 0.0))


def test_rates_of_groups_multiply_those_of_layers(tmp_path: Path) -> None:
    plain = describe(make_trainer(tmp_path / "a", "model.layer_decay=0.5"))
    groups = 'optimizer.groups=[{match="^stages", lr_factor=3.0}]'
    found = describe(make_trainer(tmp_path / "b", "model.layer_decay=0.5", groups))
    assert len({rate for rate, _ in plain.values()}) >= 3
    for name, (rate, decay) in plain.items():
        assert found[name] == pytest.approx((rate * (3 if name.startswith("stages") else 1), decay))


def test_a_group_is_trained_with_its_rate(tmp_path: Path) -> None:
    one_batch = ("train.batch_size=1000", 'scheduler="scheduler/constant"')
    plain = PLAIN.replace("0.01", "0.0")
    moves = []
    for factor in ("1.0", "3.0"):
        groups = f'[{{match="^head", lr_factor={factor}}}]'
        trainer = make_trainer(tmp_path / factor, *one_batch, f"optimizer={plain % groups}")
        before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
        train_epoch(trainer)
        after = trainer.model.state_dict()
        moves.append({name: after[name] - before[name] for name, _ in trainer.model.named_parameters()})
    for name, move in moves[0].items():
        torch.testing.assert_close(moves[1][name], move * (3 if name.startswith("head") else 1), rtol=1e-3, atol=1e-6)


def test_the_history_has_the_rate_of_no_group(tmp_path: Path) -> None:
    job = fit(tmp_path, f"optimizer={PLAIN % GROUPS}", 'scheduler="scheduler/constant"', "train.epochs=1")
    assert [row["learning_rate"] for row in read_history(job.folder)] == pytest.approx([0.1])


def test_groups_are_found_by_the_whole_networks_names_when_only_its_head_is_trained(tmp_path: Path) -> None:
    groups = 'optimizer.groups=[{match="^head", lr_factor=2}]'
    found = describe(make_trainer(tmp_path, 'model.freeze="backbone"', groups))
    assert set(found) == {"head.weight", "head.bias"}
    assert {rate for rate, _ in found.values()} == {0.008}


def test_a_pattern_that_is_found_nowhere_is_told(tmp_path: Path) -> None:
    with pytest.raises(IcfError, match=r"optimizer\.groups\[0\]\.match: '\^fc' is found in no name .*head\.bias"):
        make_trainer(tmp_path, 'optimizer.groups=[{match="^fc", lr_factor=2}]')


@pytest.mark.parametrize(
    ("group", "where"),
    [
        ('{match="(", lr_factor=2}', r"optimizer\.groups\[0\]\.match.*is no regular expression"),
        ('{match="a", lr_factor=0}', r"optimizer\.groups\[0\]\.lr_factor"),
        ("{lr_factor=2}", r"optimizer\.groups\[0\]\.match"),
    ],
)
def test_a_group_that_can_not_be_is_told_where_it_stands(group: str, where: str) -> None:
    with pytest.raises(RecipeError, match=where):
        make_plan(f"optimizer.groups=[{group}]")
