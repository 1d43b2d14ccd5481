"""Checks of the conformance kit."""

from __future__ import annotations

from collections.abc import Iterable

from docs.reference.markdown import clean, write_table

from icf.components import KINDS
from icf.plugins import load_object
from icf.testing import common
from icf.testing.suite import CHECKS_OF_KINDS, Check, name_of


def write_checks() -> list[str]:
    """List every check of the conformance kit with its sentence of the contract."""
    lines = ["### Every plugin", "", *_check_table(common.PLUGIN_CHECKS)]
    lines += ["", "### Every component", "", *_check_table(common.COMPONENT_CHECKS)]
    for kind in KINDS:
        lines += ["", f"### Components of kind {kind}", "", *_check_table(load_object(CHECKS_OF_KINDS[kind]))]
    return lines


def _check_table(checks: Iterable[Check]) -> list[str]:
    return write_table(["check", "what it promises"], ((f"`{name_of(item)}`", clean(item.__doc__)) for item in checks))
