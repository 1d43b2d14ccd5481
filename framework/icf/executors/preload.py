"""Imported once by the server from which folds are forked: everything that training needs, so that folds share it."""

from __future__ import annotations

import contextlib
import gc
import importlib
import os

MODULES = "_ICF_PRELOAD"
"""Environment variable with the names of the modules, separated by commas; for the server only."""

for name in filter(None, os.environ.get(MODULES, "").split(",")):
    # Whatever is wrong with a module is told where it is used, by the fold that needs it.
    with contextlib.suppress(Exception):
        importlib.import_module(name)

# What is frozen is never garbage, so a fold's collector does not write to pages that folds share.
gc.freeze()
