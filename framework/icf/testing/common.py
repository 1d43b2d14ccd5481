"""Checks of every plugin and of every component, whatever its kind."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
import tomllib
from typing import Any

import tomli_w
from pydantic import ValidationError

from icf.catalogue import PluginInfo
from icf.errors import PluginError
from icf.plugins import load_object, load_plugins
from icf.testing.case import Case, CheckFailure, expect

HEAVY = frozenset(
    {
        "PIL",
        "albumentations",
        "cv2",
        "jax",
        "pandas",
        "pyarrow",
        "ray",
        "sklearn",
        "tensorboard",
        "tensorflow",
        "timm",
        "torch",
        "torchvision",
    }
)
"""Packages that take long to import, which the module of an entry point must not do."""

SECONDS_TO_IMPORT = 60

_LIST_MODULES = """
import importlib, json, sys
code = sys.stdin.read()
if code:
    from icf.local import LocalPlugin, restore_local_plugins
    restore_local_plugins([LocalPlugin.model_validate_json(code)])
importlib.import_module(sys.argv[1])
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""


# -- the plugin -------------------------------------------------------------------------------------


def check_loads(plugin: PluginInfo) -> None:
    """The plugin is imported, keeps the rules of hooks and names, and fits this version of icf."""
    expect(not plugin.problem, plugin.problem)


def check_light_import(plugin: PluginInfo) -> None:
    """The module of the entry point imports nothing heavy, so that commands that only tell stay fast."""
    module = plugin.module.partition(":")[0]
    found = subprocess.run(
        [sys.executable, "-c", _LIST_MODULES, module],
        input=plugin.local.model_dump_json() if plugin.local else "",
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)},
        capture_output=True,
        text=True,
        timeout=SECONDS_TO_IMPORT,
        check=False,
    )
    last_words = (found.stderr.strip() or "no message").splitlines()[-1]
    expect(found.returncode == 0, f"importing {module} in a new process fails: {last_words}")
    heavy = sorted(HEAVY & set(json.loads(found.stdout.splitlines()[-1])))
    place = "in the module that the factory names, or in the factory"
    expect(not heavy, f"{module} imports {', '.join(heavy)}; import it {place}")


def check_same_descriptors(plugin: PluginInfo) -> None:
    """A hook that is called again yields equal descriptors."""
    [again] = load_plugins(only=[plugin.name], local=[plugin.local] if plugin.local else ()).plugins
    expect(not again.problem, f"the second time, {again.problem}")
    first = {(item.kind, item.name): item for item in plugin.components}
    second = {(item.kind, item.name): item for item in again.components}
    for kind, name in sorted(first.keys() ^ second.keys()):
        raise CheckFailure(f"{kind}/{name} is offered by one call of the hook and not by another")
    for (kind, name), item in first.items():
        expect(item == second[kind, name], f"{kind}/{name}: two calls of the hook describe it differently")


PLUGIN_CHECKS = (check_loads, check_light_import, check_same_descriptors)


# -- the component ----------------------------------------------------------------------------------


def check_summary(case: Case) -> None:
    """The summary is one line that says what the component is."""
    summary = case.descriptor.summary
    expect(isinstance(summary, str) and summary.strip(), "the summary is empty")
    expect(len(summary.splitlines()) == 1, f"the summary has {len(summary.splitlines())} lines")


def check_factory(case: Case) -> None:
    """The factory's string, and a model's ``inspect``, resolve to functions of two arguments."""
    for path in (case.descriptor.factory, getattr(case.descriptor, "inspect", None)):
        if path is None:
            continue
        try:
            function = load_object(path)
        except PluginError as error:
            raise CheckFailure(str(error)) from None
        expect(callable(function), f"{path} is no function")
        try:
            inspect.signature(function).bind(None, None)
        except TypeError as error:
            raise CheckFailure(f"{path} can't be called as factory(params, ctx): {error}") from None


def check_parameters(case: Case) -> None:
    """The defaults, or the examples, are accepted parameters."""
    expect(case.params is not None, "there are no parameters")


def check_fields_explained(case: Case) -> None:
    """Every field of the parameters has a description."""
    fields = case.descriptor.params.model_fields
    bare = [name for name, field in fields.items() if not (field.description or "").strip()]
    expect(not bare, f"{case.descriptor.params.__name__} does not explain {', '.join(bare)}: Field(description=...)")


def check_round_trip(case: Case) -> None:
    """The parameters survive being written to a recipe and read from it."""
    written = case.params.model_dump(mode="json", exclude_none=True)
    read = tomllib.loads(tomli_w.dumps(written))
    try:
        again = type(case.params).model_validate(read)
    except ValidationError as error:
        first = error.errors()[0]
        raise CheckFailure(f"{_where(first)} = {first['input']!r} is refused: {first['msg']}") from None
    for name, value in case.params.model_dump().items():
        found = again.model_dump()[name]
        expect(found == value, f"{name} is {value!r}, and {found!r} after a recipe was written and read")


def _where(error: Any) -> str:
    return ".".join(map(str, error["loc"])) or "the whole"


def check_unknown_keys(case: Case) -> None:
    """A key that is no parameter is refused, so that a misspelt one is told."""
    params = case.descriptor.params
    try:
        params.model_validate({**case.example, "no_such_parameter": 1})
    except ValidationError as error:
        if any(item["type"] == "extra_forbidden" for item in error.errors()):
            return
    raise CheckFailure(f"{params.__name__} accepts an unknown key; leave icf.Params' model_config as it is")


COMPONENT_CHECKS = (
    check_summary,
    check_factory,
    check_parameters,
    check_fields_explained,
    check_round_trip,
    check_unknown_keys,
)
PARAMS_CHECKS = (check_round_trip,)
"""Those that need an instance of the parameters."""
