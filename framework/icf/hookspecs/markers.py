"""What marks a hook, and what marks a plugin's implementation of one."""

from __future__ import annotations

import pluggy

GROUP = "icf"
"""Name of the entry-point group and of the pluggy project."""

hookspec = pluggy.HookspecMarker(GROUP)
hookimpl = pluggy.HookimplMarker(GROUP)
