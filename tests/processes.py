"""What the processes of a test are and on which addresses they listen, from /proc."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable
from pathlib import Path

PROC = Path("/proc")
LISTENING = "0A"
LOOPBACK = ("0100007F", "00000000000000000000000001000000", "0000000000000000FFFF00000100007F")
"""127.0.0.1, ::1 and ::ffff:127.0.0.1 as the kernel writes them on a little-endian machine."""


def list_listening(processes: Iterable[int]) -> dict[str, str]:
    """Return the TCP sockets on which processes listen: address and port in hexadecimal -> the command."""
    owners: dict[str, int] = {}
    for process in processes:
        try:
            links = [os.readlink(link) for link in (PROC / str(process) / "fd").iterdir()]
        except OSError:
            continue
        owners |= {number: process for link in links for number in re.findall(r"^socket:\[(\d+)\]$", link)}
    found: dict[str, str] = {}
    for table in ("tcp", "tcp6"):
        for line in (PROC / "net" / table).read_text().splitlines()[1:]:
            columns = line.split()
            if columns[3] == LISTENING and columns[9] in owners:
                found[columns[1]] = read_command(owners[columns[9]])
    return found


def is_loopback(address: str) -> bool:
    """Tell whether an address of list_listening can be reached from this machine only."""
    return address.partition(":")[0] in LOOPBACK


def read_command(process: int) -> str:
    """Return the command line of a process; empty when it is gone."""
    try:
        return (PROC / str(process) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


def has_ended(process: int) -> bool:
    """Tell whether a process is gone, or dead and not yet buried."""
    try:
        return (PROC / str(process) / "stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


def sleep_long(*_: object) -> None:
    """Do nothing for longer than any test lasts."""
    time.sleep(3600)
