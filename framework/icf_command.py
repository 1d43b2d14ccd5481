"""The program ``icf``. It is no part of the package, whose import takes a moment in which Ctrl-C must be quiet, too."""

from __future__ import annotations

import os
import signal


def main() -> int:
    """Run the command line; return its exit code."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:  # not where it is ignored, as under nohup
        signal.signal(signal.SIGINT, _end)
    from icf.cli.main import main as run_command

    signal.signal(signal.SIGINT, before)
    return run_command()


def _end(number: int, frame: object) -> None:
    """End at once: nothing has begun, and an exception in the middle of an import may come out as another one."""
    del number, frame
    os.write(2, b"interrupted\n")
    os._exit(130)
