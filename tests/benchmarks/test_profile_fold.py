from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks.profile_fold import KINDS, OUTSIDE, sum_kinds

ROOT = Path(__file__).parents[2]


def test_the_kinds_are_the_whole_time():
    operators = {"aten::mkldnn_convolution": 3.0, "aten::native_batch_norm": 1.0, "aten::index_select": 0.5}
    kinds = sum_kinds(operators, 6.0)
    assert kinds["convolution"] == 3.0
    assert kinds["batch normalisation"] == 1.0
    assert kinds["gathering and augmenting"] == 0.5
    assert kinds[OUTSIDE] == 1.5
    assert sum(kinds.values()) == 6.0
    assert next(iter(kinds)) == "convolution"


@pytest.mark.parametrize(
    ("operator", "kind"),
    [
        ("aten::convolution_backward", "convolution"),
        ("Optimizer.step#AdamW.step", "optimizer"),
        ("aten::_fused_adamw_", "optimizer"),
        ("aten::copy_", "copies and number formats"),
        ("aten::threshold_backward", "activation and pooling"),
        ("aten::addmm", "other arithmetic"),
        ("autograd::engine::evaluate_function", OUTSIDE),
    ],
)
def test_an_operator_has_a_kind(operator, kind):
    kinds = sum_kinds({operator: 1.0}, 1.0)
    assert {name: seconds for name, seconds in kinds.items() if seconds} == {kind: 1.0}


def test_a_fold_is_profiled(tmp_path):
    command = [sys.executable, "-m", "benchmarks.profile_fold", "--quick", "--data", str(tmp_path)]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=600)
    assert "one fold of resnet18 at 128x128" in found.stdout
    shares = dict(line.rsplit(maxsplit=2)[::2] for line in found.stdout.splitlines() if line.endswith("%"))
    assert set(KINDS) <= set(shares)
    kinds = [float(shares[kind].rstrip("%")) for kind in (*KINDS, OUTSIDE)]
    assert sum(kinds) == pytest.approx(100, abs=1)
    assert float(shares["aten::convolution_backward"].rstrip("%")) > 0
