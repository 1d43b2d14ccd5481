"""Calls the observers of a recipe; one that raises is dropped and reported, and the run goes on."""

from __future__ import annotations

import re
from collections.abc import Callable

import pluggy

from icf import hookspecs
from icf.errors import PluginError, one_line
from icf.events import Event
from icf.plan import ObserverChoice
from icf.plugins import load_object


class Observers:
    """The recipe's observers, called in its order."""

    def __init__(self, choices: tuple[ObserverChoice, ...], warn: Callable[[str], None]) -> None:
        self._managers = {choice: _make_manager(choice) for choice in choices}
        self._warn = warn
        self.warnings: list[str] = []
        """One line for each observer that was dropped."""

    def tell(self, event: Event) -> None:
        """Send one event to every observer that is still there."""
        hook = "icf_" + re.sub(r"(?<!^)(?=[A-Z])", "_", type(event).__name__).lower()
        for choice, manager in list(self._managers.items()):
            try:
                getattr(manager.hook, hook)(event=event)
            # An observer is somebody else's code, and must not cost anybody a training run.
            except (Exception, SystemExit) as error:  # noqa: BLE001
                del self._managers[choice]
                self.warnings.append(f"{choice.source} was dropped, because {hook} raised {one_line(error)}")
                self._warn(self.warnings[-1])


def _make_manager(choice: ObserverChoice) -> pluggy.PluginManager:
    manager = pluggy.PluginManager(hookspecs.GROUP)
    manager.add_hookspecs(hookspecs)
    try:
        manager.register(load_object(choice.module), name=choice.name)
    except PluginError as error:
        raise PluginError(f"{choice.source}: {error}") from error
    return manager
