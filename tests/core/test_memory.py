from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping

import pytest

from icf.memory import OPTIONS, SWITCH, memory_variables

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="glibc's malloc is meant")

OURS = {SWITCH, "THP_MEM_ALLOC_ENABLE", *(name for _, name, _ in OPTIONS)}

PAGES = 40_000_000 // os.sysconf("SC_PAGE_SIZE") if sys.platform == "linux" else 0

COUNT = """
import json, resource, sys
if "keep" in sys.argv:
    from icf.memory import keep_memory
    keep_memory()
import torch
faults = []
for _ in range(8):
    torch.ones(10_000_000)
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
print(json.dumps([after - before for before, after in zip(faults[1:], faults[2:])]))
"""


def count_faults(*arguments: str, **variables: str) -> list[int]:
    """Page faults of each 40 MB tensor but the first two, in a process of its own."""
    inherited = {name: value for name, value in os.environ.items() if name not in OURS}
    done = subprocess.run(
        [sys.executable, "-c", COUNT, *arguments],
        env={**inherited, **variables},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    faults: list[int] = json.loads(done.stdout)
    return faults


@pytest.mark.parametrize(
    ("arguments", "variables"), [((), {}), (("keep",), {SWITCH: "0"}), (("keep",), {"MALLOC_MMAP_MAX_": "65536"})]
)
def test_memory_that_is_not_kept_is_fetched_page_by_page(
    arguments: tuple[str, ...], variables: Mapping[str, str]
) -> None:
    # With huge pages a fault may bring 512 pages; the third case asks for them.
    assert min(count_faults(*arguments, **variables)) >= PAGES // 512


def test_a_process_keeps_its_memory() -> None:
    assert max(count_faults("keep")) < PAGES // 512


def test_a_process_keeps_its_memory_by_its_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in OURS:
        monkeypatch.delenv(name, raising=False)
    assert max(count_faults(**memory_variables())) < PAGES // 512


def test_variables_for_workers_follow_the_switch_and_a_persons_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MALLOC_TOP_PAD_", "4096")
    assert memory_variables()["MALLOC_TOP_PAD_"] == "4096"
    monkeypatch.setenv(SWITCH, "0")
    assert memory_variables() == {}
