"""Is a server reachable? Asked once and briefly, because download libraries retry for half a minute."""

from __future__ import annotations

import threading
import urllib.error
import urllib.request
from functools import lru_cache

PATIENCE = 3.0
"""Seconds to wait for an answer, name resolution included."""


@lru_cache(maxsize=16)
def is_reachable(url: str) -> bool:
    """Return whether the server of an http address answers within three seconds; proxies are honoured."""
    answers: list[bool] = []
    # urllib's timeout doesn't cover name resolution, so the wait is bounded from outside.
    asking = threading.Thread(target=lambda: answers.append(_answers(url)), daemon=True)
    asking.start()
    asking.join(PATIENCE)
    return any(answers)


def _answers(url: str) -> bool:
    request = urllib.request.Request(url, method="HEAD")  # noqa: S310 - callers give https addresses
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE):  # noqa: S310
            return True
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
