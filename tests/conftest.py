"""For all tests."""

from __future__ import annotations

import signal

# Shells let programs in the background ignore Ctrl-C, and these hand that on; the programs that tests start must not.
signal.signal(signal.SIGINT, signal.default_int_handler)
