"""Whether all nodes of a cluster see the run folder: found out in the first seconds, not at the first checkpoint."""

from __future__ import annotations

import secrets
import time
from pathlib import Path
from typing import Any

from icf.errors import IcfError
from icf.executors.ray_nodes import ask_nodes

ATTEMPTS = 10
"""Looks at a file that another machine has just written, half a second apart: network file systems take a while."""


def require_shared_folder(ray: Any, folder: Path) -> None:
    """Let every node read what this process writes into a folder, and write what this process reads.

    Raises:
        IcfError: a node sees another folder under that path, or none, or can't write there.
    """
    nonce = secrets.token_hex(16)
    question = folder / f".probe-{nonce}.tmp"
    question.write_text(nonce, encoding="utf-8")
    try:
        answers = ask_nodes(ray, answer_probe, str(question), nonce)
        lines = [f"  node {node}: {problem}" for node, problem in answers.items() if problem]
        seen = list(folder.glob(f"{question.name}.*"))
        if not lines and len(seen) < len(answers):
            lines = [f"  of {len(answers)} nodes, {len(seen)} wrote where this process reads"]
    finally:
        for path in folder.glob(f"{question.name}*"):
            path.unlink(missing_ok=True)
    if lines:
        advice = (
            "give a folder that every machine sees under the same path, such as one on NFS: compute.storage ="
            ' "/shared/runs", or --runs /shared/runs'
        )
        raise IcfError("\n".join([f"the run folder {folder} is not shared by all nodes", *lines, advice]))


def answer_probe(path: str, nonce: str) -> str:
    """Read the nonce and write an answer beside it; return what is wrong, or an empty text."""
    question = Path(path)
    for attempt in range(ATTEMPTS):
        try:
            if question.read_text(encoding="utf-8") == nonce:
                Path(f"{path}.{secrets.token_hex(8)}").touch()
                return ""
            problem = "another file is there"
        except OSError as error:
            problem = f"{error.strerror}: {error.filename}"
        if attempt + 1 < ATTEMPTS:
            time.sleep(0.5)
    return problem
