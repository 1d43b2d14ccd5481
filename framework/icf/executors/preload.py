"""Imported once by the server from which folds are forked: everything that training needs, so that folds share it."""

from __future__ import annotations

import contextlib
import importlib
import os
import signal

from icf.memory import collect_later

MODULES = "_ICF_PRELOAD"
"""Environment variable with the names of the modules, separated by commas; for the server only."""

if MODULES in os.environ:
    # A terminal sends Ctrl-C to every process; the one that the person started ends the server and the folds.
    signal.signal(signal.SIGINT, signal.SIG_IGN)

with collect_later():
    for name in filter(None, os.environ.get(MODULES, "").split(",")):
        # Whatever is wrong with a module is told where it is used, by the fold that needs it.
        with contextlib.suppress(Exception):
            importlib.import_module(name)
