"""Caches of decoded images that no other test has filled."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def cache_of_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give a test a cache of its own."""
    monkeypatch.setenv("ICF_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def cache_of_file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Give the tests of a file a cache that they share."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ICF_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
