"""Installs small distributions for a test: real metadata and modules in a folder on sys.path."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

LOSS = """
    import icf

    class PolyParams(icf.Params):
        epsilon: float = 1.0

    @icf.hookimpl
    def icf_losses():
        yield icf.Loss(name="poly", factory="{module}:build", params=PolyParams, summary="PolyLoss")

    def build(params, ctx):
        return ("poly", params.epsilon, ctx)
"""


class Installer:
    """Puts distributions on sys.path, and takes them away again at the end of the test."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        self.monkeypatch = monkeypatch
        self.modules: list[str] = []

    def install(
        self,
        name: str,
        modules: Mapping[str, str],
        *,
        version: str = "1.0",
        entry_points: Mapping[str, str] | None = None,
        requires: Sequence[str] = (),
    ) -> Path:
        """Install a distribution; without ``entry_points``, each module is a plugin of its own name."""
        folder = self.root / f"{name}-{version}"
        info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir(parents=True)
        needs = "".join(f"Requires-Dist: {text}\n" for text in requires)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}")
        points = entry_points or {module.replace("_", "-"): module for module in modules}
        lines = [f"{point} = {value}" for point, value in points.items()]
        (info / "entry_points.txt").write_text("\n".join(["[icf]", *lines, ""]))
        for module, code in modules.items():
            (folder / f"{module}.py").write_text(textwrap.dedent(code).replace("{module}", module))
        self.modules += modules
        self.monkeypatch.syspath_prepend(folder)
        return folder

    def forget(self) -> None:
        """Let the next test import its own modules of the same names."""
        for module in self.modules:
            sys.modules.pop(module, None)


def installer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Installer]:
    """The body of the fixture ``installer``."""
    found = Installer(tmp_path / "site", monkeypatch)
    yield found
    found.forget()
