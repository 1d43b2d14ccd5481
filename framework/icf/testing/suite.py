"""Which checks there are, for which components, and how they are run."""

from __future__ import annotations

import os
import tempfile
import traceback
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeAlias

from icf.catalogue import PluginInfo
from icf.components import Component
from icf.errors import IcfError, PluginError, did_you_mean, one_line
from icf.local import LocalPlugin, read_local_plugins, restore_local_plugins
from icf.plugins import load_object, load_plugins
from icf.testing import common
from icf.testing.case import Case, CheckFailure, CheckSkipped, Example, Given

Check: TypeAlias = Callable[[Any], None]
"""A function named ``check_...`` whose docstring is a sentence of the contract; raises CheckFailure."""

CHECKS_OF_KINDS = {
    "dataset": "icf.testing.datasets:DATASET_CHECKS",
    "sampler": "icf.testing.datasets:SAMPLER_CHECKS",
    "model": "icf.testing.models:MODEL_CHECKS",
    "transform": "icf.testing.transforms:TRANSFORM_CHECKS",
    "mixer": "icf.testing.mixers:MIXER_CHECKS",
    "loss": "icf.testing.losses:LOSS_CHECKS",
    "optimizer": "icf.testing.optimizers:OPTIMIZER_CHECKS",
    "scheduler": "icf.testing.schedulers:SCHEDULER_CHECKS",
    "metric": "icf.testing.metrics:METRIC_CHECKS",
    "ensembler": "icf.testing.ensemblers:ENSEMBLER_CHECKS",
}
"""Kind -> its checks; they are imported on first use, with torch. The first is the basis of the others."""


class Outcome(StrEnum):
    """What became of a check."""

    ok = "ok"
    failed = "failed"
    expected = "expected failure"
    skipped = "skipped"


@dataclass(frozen=True)
class Result:
    """What became of one check of one component ("kind/name"; empty: the whole plugin), and why."""

    component: str
    check: str
    outcome: Outcome
    reason: str
    sentence: str


@dataclass(frozen=True)
class BoundCheck:
    """A check of one component or of a whole plugin. Call it with an empty folder.

    It raises CheckFailure, or CheckSkipped if it says nothing: where it fails only because one of
    ``bases`` does, that one alone is to be told. ``local`` is the code that was named for the checks.
    """

    component: str
    function: Check
    subjects: Callable[[Path], Iterable[Any]]
    bases: tuple[Check, ...] = ()
    local: tuple[LocalPlugin, ...] = ()

    @property
    def name(self) -> str:
        """The name of the check, such as ``state-dict``."""
        return name_of(self.function)

    @property
    def id(self) -> str:
        """What names it among the checks of a plugin, such as ``model/sequential-cnn:state-dict``."""
        return f"{self.component}:{self.name}" if self.component else self.name

    @property
    def sentence(self) -> str:
        """The sentence of the contract that is checked."""
        return " ".join((self.function.__doc__ or "").replace("``", "'").split())

    def __call__(self, folder: Path) -> None:
        """Run the check."""
        __tracebackhide__ = True
        restore_local_plugins(self.local)
        try:
            self._apply(self.function, folder)
        except CheckFailure:
            for basis in self.bases:
                if basis is not self.function and self._fails(basis, folder):
                    raise CheckSkipped(f"because '{name_of(basis)}' fails") from None
            raise

    def _fails(self, check: Check, folder: Path) -> bool:
        try:
            self._apply(check, folder)
        except CheckFailure:
            return True
        return False

    def _apply(self, check: Check, folder: Path) -> None:
        """Apply a check to every subject; it is skipped if it says nothing about any of them."""
        __tracebackhide__ = True
        skipped: list[CheckSkipped] = []
        said = False
        for subject in self.subjects(Path(tempfile.mkdtemp(dir=folder))):
            try:
                check(subject)
                said = True
            except CheckSkipped as error:
                skipped.append(error)
            except (Exception, SystemExit) as error:  # noqa: BLE001 - a plugin may raise anything
                # The author of the plugin wants to see the plugin's own traceback, and none of ours.
                cause = None if isinstance(error, CheckFailure) else error
                raise CheckFailure(self._rename(_explain(error, getattr(subject, "example", {})))) from cause
        if skipped and not said:
            raise skipped[0]

    def _rename(self, text: str) -> str:
        """Call the code of a file or folder as its author does, and not by the name under which it is imported."""
        for plugin in self.local:
            text = text.replace(plugin.package, Path(plugin.title).stem)
        return text


def name_of(check: Check) -> str:
    """Return the name of a check: ``check_state_dict`` is ``state-dict``."""
    return check.__name__.removeprefix("check_").replace("_", "-")


def _explain(error: BaseException, example: Example) -> str:
    if isinstance(error, CheckFailure | IcfError):
        text = str(error)
    else:
        place = traceback.extract_tb(error.__traceback__)[-1]
        text = f"{one_line(error)} ({Path(place.filename).name}, line {place.lineno})"
    return f"with {dict(example)}: {text}" if example else text


def list_checks(
    plugin: PluginInfo, examples: Mapping[str, Given] | None = None, local: Collection[LocalPlugin] = ()
) -> list[BoundCheck]:
    """Return every check of a plugin.

    ``examples`` give parameters by "kind/name", in place of those of the descriptor; a component without
    either is checked with its defaults. ``local`` are folders from which an adapter takes its code. Raises
    PluginError for an example of a component that there is not.
    """
    examples = examples or {}
    if plugin.problem:
        return [BoundCheck("", common.check_loads, lambda _: [plugin])]
    components = {f"{item.kind}/{item.name}": item for item in plugin.components}
    _refuse_unknown("component", examples, components)
    bound = [BoundCheck("", check, lambda _: [plugin]) for check in common.PLUGIN_CHECKS]
    for ref, component in components.items():
        bound += _bind(plugin, ref, component, examples.get(ref, component.examples))
    own = () if plugin.local is None else (plugin.local,)
    return [replace(check, local=(*own, *(item for item in local if item not in own))) for check in bound]


def _bind(plugin: PluginInfo, ref: str, component: Component, given: Given) -> Iterator[BoundCheck]:
    def make_cases(folder: Path) -> list[Case]:
        return [Case(plugin, component, example, folder) for example in _make_examples(given, folder)]

    of_kind: tuple[Check, ...] = load_object(CHECKS_OF_KINDS[component.kind])
    bases = (common.check_factory, common.check_parameters, of_kind[0])
    of_all: tuple[Check, ...] = common.COMPONENT_CHECKS
    for check in of_all:
        yield BoundCheck(ref, check, make_cases, (common.check_parameters,) if check in common.PARAMS_CHECKS else ())
    for check in of_kind:
        yield BoundCheck(ref, check, make_cases, bases)


def _make_examples(given: Given, folder: Path) -> list[Example]:
    made = given(folder) if callable(given) else given
    return [made] if isinstance(made, Mapping) else list(made) or [{}]


def _refuse_unknown(noun: str, names: Iterable[str], known: Iterable[str]) -> None:
    known = list(known)
    for name in names:
        if name not in known:
            raise PluginError(f"there is no {noun} '{name}' in this plugin{did_you_mean(name, known)}")


def refuse_unknown_checks(names: Iterable[str], checks: Iterable[BoundCheck]) -> None:
    """Raise PluginError for an expected failure of a check that there is not."""
    _refuse_unknown("check", names, [check.id for check in checks])


def run_checks(
    plugin: str,
    folder: Path,
    *,
    expected_failures: Mapping[str, str] | None = None,
    examples: Mapping[str, Given] | None = None,
    plugin_files: Iterable[Path] = (),
) -> Iterator[Result]:
    """Run every check of a plugin, with files in ``folder``, and yield what became of each.

    The plugin is an installed one, or a file or folder such as ``./my_loss.py``. ``expected_failures`` maps the
    id of a check to the reason why it must fail; if it passes, that is a failure. ``plugin_files`` are folders
    from which an adapter takes its code. Raises PluginError if there is no such plugin, and for ids that there
    are not.
    """
    expected = expected_failures or {}
    checks = list_checks(find_plugin(plugin), examples, read_local_plugins(plugin_files))
    refuse_unknown_checks(expected, checks)
    return (_run(check, folder, expected.get(check.id)) for check in checks)


def find_plugin(name: str) -> PluginInfo:
    """Return an installed plugin, or one that is a file or folder, whether it loads or not.

    What ends in ``.py`` or has a slash in it is a path. Raises PluginError if there is no such plugin.
    """
    if not (name.endswith(".py") or os.sep in name):
        catalogue = load_plugins(only=[name])
        return catalogue.plugins[0] if catalogue.plugins else catalogue.plugin(name)
    [local] = read_local_plugins([Path(name)])
    if not local.has_hooks:
        raise PluginError(
            f"{name} has no plugin.py, so it offers no component to check; to check its modules in an adapter:"
            f" icf check-plugin baseline --plugin {name} --set model/model.name=CLASS"
        )
    [found] = load_plugins(only=(), local=[local]).plugins
    return found


def _run(check: BoundCheck, folder: Path, expected: str | None) -> Result:
    def result(outcome: Outcome, reason: str = "") -> Result:
        return Result(check.component, check.name, outcome, reason, check.sentence)

    try:
        check(folder)
    except CheckSkipped as error:
        return result(Outcome.skipped, str(error))
    except CheckFailure as error:
        return result(Outcome.failed, str(error)) if expected is None else result(Outcome.expected, expected)
    if expected is not None:
        return result(Outcome.failed, f"was expected to fail ({expected}), but passes; expect it no longer")
    return result(Outcome.ok)
