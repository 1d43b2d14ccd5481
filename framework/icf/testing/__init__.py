"""The conformance kit: what icf promises of a plugin's components, as tests that a plugin's author inherits.

In a plugin's tests::

    from icf.testing import parametrize_with_checks

    @parametrize_with_checks("poly")
    def test_conformance(check, tmp_path):
        check(tmp_path)

From the command line: ``icf check-plugin poly``. Fixtures are in ``icf.testing.fixtures``. Importing this
package is cheap: torch and pytest are imported when a check needs them.
"""

from __future__ import annotations

from icf.testing.case import Case, CheckFailure, CheckSkipped
from icf.testing.parametrize import parametrize_with_checks
from icf.testing.suite import BoundCheck, Outcome, Result, list_checks, run_checks

__all__ = [
    "BoundCheck",
    "Case",
    "CheckFailure",
    "CheckSkipped",
    "Outcome",
    "Result",
    "list_checks",
    "parametrize_with_checks",
    "run_checks",
]
