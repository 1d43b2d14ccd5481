"""``python -m icf`` is the command ``icf``, also where no folder of scripts is on the path, as in a cluster's job."""

from __future__ import annotations

import sys

from icf.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
