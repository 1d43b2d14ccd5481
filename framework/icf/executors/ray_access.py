"""Who can use a cluster: icf never talks to one that takes orders from everybody on the network.

Whoever reaches Ray's ports can execute code on every node, so that only two kinds of clusters are used: those on a
loopback address (of this machine, or the end of a tunnel), and those that ask for Ray's authentication token.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path
from urllib.parse import urlsplit

from icf.errors import IcfError

MODE = "RAY_AUTH_MODE"
TURN_ON = (
    "turn on its token authentication: `ray get-auth-token --generate`, the same ~/.ray/auth_token on every machine,"
    " and RAY_AUTH_MODE=token wherever Ray starts and where you are; or tunnel to it: ssh -L 8265:127.0.0.1:8265 HEAD"
)
"""What a refusal says to do."""

PROBE_SECONDS = 10.0


def require_loopback_or_token(address: str) -> None:
    """Refuse a Ray address ("10.0.0.1:6379") that is neither loopback nor to be used with a token.

    Raises:
        IcfError: it is on the network, and this process has not turned on authentication.
    """
    if not is_loopback(find_host(address)) and os.environ.get(MODE, "").lower() != "token":
        raise IcfError(f"the Ray cluster at {address} is on the network, and {MODE} is not 'token'; {TURN_ON}")


def require_protection(url: str) -> int | None:
    """Refuse a dashboard on the network that answers without a token; return its status, None if nobody is there.

    Raises:
        IcfError: anybody on the network can execute code on this cluster.
    """
    status = probe(url)
    if status == 200 and not is_loopback(find_host(url)):
        raise IcfError(f"the Ray cluster at {url} takes orders from everybody on the network; {TURN_ON}")
    return status


def probe(url: str) -> int | None:
    """Ask a dashboard for its version without a token; return the HTTP status, None where no HTTP is spoken.

    200: no token is needed; 401 or 403: one is; anything else is no dashboard of Ray's.
    """
    try:
        with urllib.request.urlopen(f"{url}/api/version", timeout=PROBE_SECONDS) as answer:  # noqa: S310
            return 200 if b"ray_version" in answer.read(10_000) else 404
    except urllib.error.HTTPError as error:
        return error.code
    except (OSError, ValueError, HTTPException):
        return None


def find_host(address: str) -> str:
    """Return the host of "host:port", "http://host:port" or "ray://host:port"."""
    return urlsplit(address if "://" in address else f"//{address}").hostname or ""


def is_loopback(host: str) -> bool:
    """Tell whether a name or address leads to this machine only; a name that can't be resolved does not."""
    try:
        found = {str(entry[4][0]).partition("%")[0] for entry in socket.getaddrinfo(host or "-", None)}
    except OSError:
        return False
    return all(ipaddress.ip_address(address).is_loopback for address in found)


def has_token() -> bool:
    """Tell whether Ray would find a token for this process."""
    if os.environ.get("RAY_AUTH_TOKEN"):
        return True
    path = os.environ.get("RAY_AUTH_TOKEN_PATH")
    return (Path(path) if path else Path.home() / ".ray" / "auth_token").is_file()
