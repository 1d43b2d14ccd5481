"""What must hold of a cluster before folds are sent to it: found out in seconds, not after hours."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from icf.executors.ray_nodes import require_plugins
from icf.executors.ray_storage import require_shared_folder, require_store
from icf.pipeline.jobs import FoldJob
from icf.pipeline.store import is_address


def require_cluster(ray: Any, jobs: Sequence[FoldJob]) -> None:
    """Raise IcfError if a node of the cluster lacks a plugin or does not see where the run is; an embedded one does.

    Raises:
        IcfError: every node that is the matter, and what to do.
    """
    if os.environ.get("RAY_ADDRESS") and jobs:
        require_plugins(ray, jobs[0].plan)
        storage = jobs[0].plan.recipe.compute.storage
        if is_address(storage):
            require_store(ray, str(storage))
        else:
            require_shared_folder(ray, jobs[0].run_dir)
