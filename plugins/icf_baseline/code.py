"""What a team's modules hold: looked up by name, called with arguments that fit, and explained when they fail."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

import icf

NETWORK_ERRORS = frozenset({"http", "httpx", "huggingface_hub", "requests", "socket", "ssl", "urllib", "urllib3"})
"""Packages whose exceptions say that something could not be fetched."""


def load_module(component: str, name: str) -> ModuleType:
    """Return a module of the folder named with --plugin; raises PluginError that names the component."""
    try:
        return icf.local_module(name)
    except icf.PluginError as error:
        raise icf.PluginError(f"{component}: {error}") from error


def find_callable(component: str, module: ModuleType, name: str) -> Callable[..., Any]:
    """Return a class or function of a module.

    Raises:
        PluginError: there is none of that name; the text names those that the module defines itself.
    """
    found: Callable[..., Any] | None = getattr(module, name, None)
    if callable(found):
        return found
    own = list_classes(module)
    held = f"; did you mean {own[0]}?" if len(own) == 1 else icf.did_you_mean(name, own)
    raise icf.PluginError(f'{component}: name = "{name}": {name_file(module)} has no such class{held}')


def list_classes(module: ModuleType) -> list[str]:
    """Return the classes that a module defines itself."""
    return sorted(
        name for name, item in vars(module).items() if inspect.isclass(item) and item.__module__ == module.__name__
    )


def name_file(module: ModuleType) -> str:
    """Return the file's own name, such as ``model.py``."""
    return Path(module.__file__ or module.__name__).name


def accepts(function: Callable[..., Any], name: str) -> bool:
    """Tell whether a function takes an argument of this name, or any."""
    parameters = list_parameters(function)
    return name in parameters or any(item.kind is item.VAR_KEYWORD for item in parameters.values())


def list_parameters(function: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    """Return the parameters by name; none where Python does not know them."""
    try:
        return inspect.signature(function).parameters
    except (TypeError, ValueError):
        return {}


def call(component: str, name: str, function: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
    """Call a team's class or function with arguments that a recipe gives.

    Raises:
        PluginError: it does not take these arguments, or fails; one line that says which and where.
    """
    try:
        inspect.signature(function).bind(**arguments)
    except TypeError as error:
        takes = ", ".join(list_parameters(function)) or "nothing"
        raise icf.PluginError(f"{component}: {name} can't be called so: {error} (it takes: {takes})") from None
    except ValueError:
        pass  # a function whose signature Python does not know
    try:
        return function(**arguments)
    except Exception as error:  # noqa: BLE001 - a team's code may raise anything
        explain(component, f"{name} failed", error)


def explain(component: str, what: str, error: Exception) -> NoReturn:
    """Raise PluginError for whatever a team's code raised, with the line where it happened."""
    if isinstance(error, icf.IcfError):
        raise error
    text = " ".join(str(error).split()) or "no message"
    advice = ""
    if is_network_error(error):
        advice = (
            ". It fetches pretrained weights, and there is no network: run it once where there is one (weights are"
            " kept in the caches TORCH_HOME and HF_HOME), or turn them off in args, such as pretrained = false"
        )
    place = _find_place(error)
    raise icf.PluginError(f"{component}: {what}: {type(error).__name__}: {text} ({place}){advice}") from error


def _find_place(error: Exception) -> str:
    """Return file and line of the team's own code that raised, or called what raised."""
    frames = list(traceback.walk_tb(error.__traceback__))
    own = [item for item in frames if item[0].f_globals.get("__name__", "").startswith("icf_local_")]
    frame, line = (own or frames)[-1]
    return f"{Path(frame.f_code.co_filename).name}, line {line}"


def is_network_error(error: BaseException | None) -> bool:
    """Tell whether an exception, or one that led to it, says that something could not be fetched."""
    while error is not None:
        packages = {cls.__module__.partition(".")[0] for cls in type(error).__mro__}
        if packages & NETWORK_ERRORS or isinstance(error, ConnectionError | TimeoutError):
            return True
        error = error.__cause__ or error.__context__
    return False
