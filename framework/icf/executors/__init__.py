"""Where folds run: in this process, in others beside it, or with Ray; nothing below this floor knows of Ray."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from icf.executors.placement import choose_executor

__all__ = ["choose_executor"]


def __getattr__(name: str) -> Any:
    """Import what chooses only when it is asked for: it needs torch, and a fork server is started before that."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from icf.executors.placement import choose_executor

    return choose_executor
