"""A process that renders a part of the demo: ``python -m icf_mask.demo_shard ROOT PARAMS SHARD SHARDS``."""

from __future__ import annotations

import sys
from pathlib import Path

from icf_mask.demo import render_shard
from icf_mask.plugin import CompetitionParams

if __name__ == "__main__":
    root, params, shard, shards = sys.argv[1:]
    render_shard(CompetitionParams.model_validate_json(params), Path(root), int(shard), int(shards))
