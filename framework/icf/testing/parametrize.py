"""The checks of a plugin as parameters of a pytest function."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from icf.local import read_local_plugins
from icf.testing.case import CheckFailure, Given
from icf.testing.suite import find_plugin, list_checks, refuse_unknown_checks

if TYPE_CHECKING:
    import pytest


def parametrize_with_checks(
    plugin: str,
    *,
    expected_failures: Mapping[str, str] | None = None,
    examples: Mapping[str, Given] | None = None,
    plugin_files: Iterable[Path] = (),
) -> pytest.MarkDecorator:
    """Parametrize ``test(check, tmp_path)``, whose body is ``check(tmp_path)``, with every check of a plugin.

    ``expected_failures`` maps the id of a check, such as "loss/poly:gradient", to the reason why it fails;
    a check that passes nevertheless fails the test. ``examples`` maps "kind/name" to parameters: a mapping,
    a sequence of them, or a function that gets an empty folder, writes files there and returns either.
    ``plugin_files`` are folders from which an adapter takes its code. Raises PluginError if there is no such
    plugin, and for ids and components that it has not.
    """
    import pytest

    expected = expected_failures or {}
    checks = list_checks(find_plugin(plugin), examples, read_local_plugins(plugin_files))
    refuse_unknown_checks(expected, checks)

    def marks(name: str) -> list[pytest.MarkDecorator]:
        if name not in expected:
            return []
        return [pytest.mark.xfail(reason=expected[name], strict=True, raises=CheckFailure)]

    return pytest.mark.parametrize("check", [pytest.param(item, id=item.id, marks=marks(item.id)) for item in checks])
