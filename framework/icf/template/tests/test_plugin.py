"""Rules that hold for every component of this plugin, whatever it computes.

This is also the place for checks that icf brings for all plugins: they need the descriptors, ``COMPONENTS``.
"""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys

import icf
import pytest

from icf_example import plugin

HEAVY = {"torch", "torchvision", "sklearn", "pandas", "PIL", "cv2"}


def list_components() -> list[icf.Component]:
    """Return what the component hooks yield; they are those without an argument."""
    hooks = [
        function for name, function in sorted(vars(plugin).items()) if name.startswith("icf_") and callable(function)
    ]
    return [item for hook in hooks if not inspect.signature(hook).parameters for item in hook()]


COMPONENTS = [pytest.param(item, id=f"{item.kind} {item.name}") for item in list_components()]


@pytest.mark.parametrize("component", COMPONENTS)
def test_a_factory_takes_parameters_and_a_context(component: icf.Component) -> None:
    module, _, function = component.factory.partition(":")
    factory = getattr(importlib.import_module(module), function)
    assert len(inspect.signature(factory).parameters) == 2


@pytest.mark.parametrize("component", COMPONENTS)
def test_every_parameter_has_a_default_and_a_description(component: icf.Component) -> None:
    component.params()
    assert [name for name, field in component.params.model_fields.items() if not field.description] == []


def test_the_hooks_import_nothing_heavy() -> None:
    code = f"import sys, icf_example.plugin; print(sorted({HEAVY!r} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert (found.returncode, found.stdout) == (0, "[]\n"), found.stderr
