"""Errors that are meant for a person: shown as lines, never as a traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

SHOWN = 20
"""How many problems of one kind are shown before the rest is only counted."""


class IcfError(Exception):
    """Something the user can mend; its text says what, where, what is allowed and what to do."""


class PluginError(IcfError):
    """A plugin or one of its components could not be used."""


class UsageError(IcfError):
    """What was given on the command line can't be used, whatever the recipe says."""


class DataError(IcfError):
    """The images or tables of the data set are not what the recipe says they are."""


class DiskFullError(IcfError):
    """There is no room for a file; what was written before is whole."""


class FoldError(IcfError):
    """One or more folds did not finish; the products of the others are kept."""


class FailedFoldsError(FoldError):
    """Folds of a run did not finish; ``lasting`` if some of them are tried again only when that is asked for."""

    def __init__(self, text: str, *, lasting: bool) -> None:
        super().__init__(text)
        self.lasting = lasting


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake: where it stands (a TOML path, file or row) and what is wrong with it."""

    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.where}: {self.message}"


class ProblemsError(IcfError):
    """Many mistakes, found in one pass and shown together; beyond ``shown`` they are only counted."""

    shown: ClassVar[int] = SHOWN

    def __init__(self, title: str, problems: Sequence[Problem]) -> None:
        super().__init__(title, tuple(problems))
        self.title = title
        self.problems = tuple(problems)

    def __str__(self) -> str:
        count = "1 problem" if len(self.problems) == 1 else f"{len(self.problems)} problems"
        lines = [f"  {problem}" for problem in self.problems[: self.shown]]
        if len(self.problems) > len(lines):
            lines.append(f"  ... and {len(self.problems) - len(lines)} more")
        return "\n".join([f"{self.title}: {count}", *lines])


class RecipeError(ProblemsError):
    """The recipe can't be used as it stands."""

    shown = 1000


class BadImagesError(ProblemsError, DataError):
    """Image files that can't be read, each with its name and the reason."""


def one_line(error: BaseException) -> str:
    """Return the type and text of an exception on one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def did_you_mean(name: str, allowed: Iterable[str]) -> str:
    """Return a hint such as ``; did you mean 'lr'? (allowed: lr, momentum)``, or an empty string."""
    names = sorted(allowed)
    if not names:
        return ""
    shown = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
    return f"{suggest(name, names, most=1)} (allowed: {shown})"


def suggest(name: str, allowed: Iterable[str], most: int = 4) -> str:
    """Return a hint such as ``; did you mean 'resnet18' or 'resnet10t'?``, empty when nothing is near."""
    close = difflib.get_close_matches(name, sorted(allowed), n=most, cutoff=0.6)
    if not close:
        return ""
    return "; did you mean " + " or ".join(f"'{candidate}'" for candidate in close) + "?"
