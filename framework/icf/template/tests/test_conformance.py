"""What icf promises of every plugin, whatever it computes: docs/plugins/testing.md of icf."""

from __future__ import annotations

from pathlib import Path

from icf.testing import BoundCheck, parametrize_with_checks


@parametrize_with_checks("example")
def test_the_plugin_keeps_the_contract(check: BoundCheck, tmp_path: Path) -> None:
    check(tmp_path)
