"""Where folds run: in this process, as Ray tasks, or with Ray Train; nothing below this floor knows of Ray."""

from icf.executors.placement import choose_executor

__all__ = ["choose_executor"]
