from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from icf.pipeline.data.preprocess import Preprocessing
from icf.pipeline.files import read_json
from icf.pipeline.jobs import Workload
from icf.pipeline.training import compiling
from icf.pipeline.training.compiling import UncompiledError, choose_compiling, compile_network, is_worthwhile
from icf.pipeline.training.fit import fit_fold
from icf.pipeline.training.kernels import find_products
from icf.pipeline.training.output import Softmax
from training import fit, fit_until_killed, make_jobs, make_plan, multiply_from, read_history, read_oof, without_speed

SMALL = ("train.epochs=2", "model.widths=[8, 16]", "train.batch_size=100", 'scheduler="scheduler/constant"')


pytestmark = pytest.mark.usefixtures("cache_of_test")


@pytest.fixture
def _multiplied() -> Iterator[None]:
    """Let the second convolution of SMALL be products, and not the first."""
    with multiply_from(50):
        yield


@pytest.mark.usefixtures("_multiplied")
def test_a_compiled_fold_learns_the_same_and_continues_to_the_same_bits(tmp_path: Path) -> None:
    # The one test that calls the real compiler: some seconds.
    settings = ((3, 3), (1, 1), (1, 1), (1, 1))
    assert not find_products((8, 8), *settings, 72)
    assert find_products((4, 4), *settings, 1152)
    plain = fit(tmp_path / "plain", *SMALL)
    torch._dynamo.utils.counters.clear()
    whole = fit(tmp_path / "whole", *SMALL, "compute.compile='on'")
    assert read_json(whole.folder.metrics)["compiler"] == "used"
    assert read_json(plain.folder.metrics)["compiler"] == "not used"
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0
    assert not torch._dynamo.utils.counters["graph_break"]
    np.testing.assert_allclose(read_oof(whole.folder), read_oof(plain.folder), atol=1e-3)
    weights = [load_file(job.folder.checkpoints / "best.safetensors") for job in (plain, whole)]
    assert weights[0].keys() == weights[1].keys()

    job = make_jobs(make_plan(*SMALL, "compute.compile='on'"), tmp_path / "parts")[0]
    fit_until_killed(job, 1)
    fit_fold(job)
    assert without_speed(read_history(job.folder)) == without_speed(read_history(whole.folder))
    np.testing.assert_array_equal(read_oof(job.folder), read_oof(whole.folder))


def break_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> Callable[..., Any]:
        raise OSError("no C++ compiler here")

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=fail))


def test_a_fold_whose_network_cannot_be_compiled_trains_as_ever_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = fit(tmp_path / "plain", *SMALL)
    break_compiler(monkeypatch)
    job = fit(tmp_path / "broken", *SMALL, "compute.compile='on'")
    told = read_json(job.folder.metrics)["compiler"]
    assert told.startswith("not used: ")
    assert "no C++ compiler here" in told
    assert "\n" not in told
    assert read_json(job.folder.progress)["warnings"] == [f"torch.compile is {told}"]
    np.testing.assert_array_equal(read_oof(job.folder), read_oof(plain.folder))


@pytest.mark.parametrize("fails", [True, False])
def test_trying_changes_nothing(monkeypatch: pytest.MonkeyPatch, fails: bool) -> None:
    if fails:
        break_compiler(monkeypatch)
    else:
        monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Flatten(), nn.Linear(64, 2))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    state = torch.get_rng_state()
    images = torch.randn(5, 3, 6, 6, generator=torch.Generator())
    try:
        compiled = compile_network(network, images, None)
        assert not fails
        torch.manual_seed(3)
        found = compiled(images[:3])
        torch.manual_seed(3)
        assert torch.equal(found, network(images[:3]))
        network.load_state_dict(before)
        torch.set_rng_state(state)
    except UncompiledError:
        assert fails
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())
    assert torch.equal(torch.get_rng_state(), state)


def make_work(images: int = 10_000_000) -> Workload:
    spec = Preprocessing.model_construct(image_size=(8, 8), channels=1)
    return Workload(folds=5, images=images, num_classes=10, preprocessing=spec, output=Softmax(classes=10))


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of what was measured: 1,000 images a second, 1.5 times as many after 60 seconds of compiling."""
    asked: list[str] = []
    monkeypatch.setattr(compiling, "measure_speed", lambda *_: asked.append("speed") or {"speed": 1000.0})
    found = {"seconds": 60.0, "plain": 1000.0, "compiled": 1500.0}
    monkeypatch.setattr(compiling, "measure_gain", lambda *_: asked.append("gain") or found)
    return asked


def test_long_work_that_gains_is_compiled(measured: list[str]) -> None:
    plan = make_plan("model.widths=[8]")
    compiled, told = choose_compiling(plan, make_work(), "fp32", 1, 2)
    assert (compiled, told) == (True, "compiled: steps 1.50 times as fast after 60 s of compiling")
    assert measured == ["speed", "gain"]
    assert choose_compiling(plan, make_work(), "fp32", 1, 2) == (compiled, told)
    assert measured == ["speed", "gain"]


def test_shorter_work_is_not_even_tried(measured: list[str]) -> None:
    plan = make_plan("model.widths=[8]")
    assert choose_compiling(plan, make_work(2 * 3_600_000 - 2), "fp32", 1, 2) == (False, "")
    assert measured == ["speed"]


@pytest.mark.parametrize(("setting", "expected"), [("on", True), ("off", False)])
def test_what_the_recipe_says_is_not_measured(measured: list[str], setting: str, expected: bool) -> None:
    plan = make_plan(f"compute.compile='{setting}'")
    assert choose_compiling(plan, make_work(), "fp32", 1, 2) == (expected, "")
    assert measured == []


@pytest.mark.parametrize(
    ("seconds", "gain", "compiling_seconds", "pays"),
    [(4000, 1.5, 1300, True), (4000, 1.5, 1400, False), (1e6, 1.0, 1, False), (1e6, 0.9, 1, False)],
)
def test_what_is_saved_must_be_more_than_compiling_takes(
    seconds: float, gain: float, compiling_seconds: float, pays: bool
) -> None:
    assert is_worthwhile(seconds, gain, compiling_seconds) == pays


@pytest.mark.usefixtures("measured")
def test_a_failing_compiler_leaves_the_network_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> dict[str, float]:
        raise UncompiledError("no compiler")

    monkeypatch.setattr(compiling, "measure_gain", fail)
    found = choose_compiling(make_plan("model.widths=[8]"), make_work(), "fp32", 1, 2)
    assert found == (False, "not compiled: no compiler")


def test_the_gain_of_real_steps_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    monkeypatch.setattr("icf.pipeline.training.trial_steps.SECONDS", 0.01)
    monkeypatch.setattr(compiling, "LONG", 0.0)
    threads = torch.get_num_threads()
    _, told = choose_compiling(make_plan("model.widths=[8]"), make_work(), "bf16", 2, 1)
    assert "times as fast after 0 s of compiling" in told or "after 1 s" in told
    assert torch.get_num_threads() == threads
