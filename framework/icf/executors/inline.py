"""Executor "inline": one fold after another in this process; the one to debug in."""

from __future__ import annotations

import os
import traceback
from collections.abc import Mapping, Sequence

import torch

from icf.errors import IcfError, one_line
from icf.pipeline.disk import is_disk_full
from icf.pipeline.jobs import Failure, FoldJob
from icf.pipeline.store import StoreError
from icf.pipeline.training.fit import fit_fold


class InlineExecutor:
    """Calls the training function; Ctrl-C and debuggers work as everywhere."""

    def run(self, jobs: Sequence[FoldJob]) -> Mapping[int, Failure]:
        """Run all jobs in order; a fold that fails does not stop the next."""
        failed: dict[int, Failure] = {}
        for job in jobs:
            try:
                fit_fold(job)
            # Whatever a plugin raises costs its own fold only.
            except (Exception, SystemExit) as error:  # noqa: BLE001
                failed[job.fold] = explain(error)
        return failed


def explain(error: BaseException) -> Failure:
    """Return what a fold's error means for the run."""
    if isinstance(error, IcfError) or not is_disk_full(error):
        return Failure(describe_failure(error), passing=is_disk_full(error) or isinstance(error, StoreError))
    name = getattr(error, "filename", None)
    where = f" at {name}" if name else ""
    return Failure(f"a disk is full{where}: {describe_failure(error)}; make room to continue", passing=True)


def describe_failure(error: BaseException) -> str:
    """Return one line for people; with ICF_DEBUG=1 the traceback is printed as well."""
    if os.environ.get("ICF_DEBUG"):
        traceback.print_exception(error)
    cause = getattr(error, "cause", None)  # what Ray wraps: the rest of its text is a traceback
    if isinstance(cause, Exception):
        return describe_failure(cause)
    if isinstance(error, IcfError):
        return str(error)
    if isinstance(error, torch.OutOfMemoryError):
        return "the GPU's memory is full; lower train.batch_size, or raise train.accumulate"
    return one_line(error)
