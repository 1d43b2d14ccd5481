from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_file_imports_only_what_its_floor_allows():
    command = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    found = subprocess.run([sys.executable, "-c", command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr
    assert "0 broken" in found.stdout


def test_every_module_of_the_core_stands_on_a_floor():
    layers = (ROOT / "pyproject.toml").read_text()
    core = ROOT / "framework" / "icf"
    modules = {path.stem for path in core.glob("*.py")} | {path.parent.name for path in core.glob("*/__init__.py")}
    missing = [name for name in sorted(modules - {"__init__"}) if f"icf.{name}" not in layers]
    assert missing == []
