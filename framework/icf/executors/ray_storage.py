"""Whether all nodes see the run folder or the store: found out in the first seconds, not at the first checkpoint."""

from __future__ import annotations

import secrets
import time
from pathlib import Path
from typing import Any

from icf.errors import IcfError
from icf.executors.ray_nodes import ask_nodes
from icf.pipeline.store import StoreError, open_store

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
            ' "/shared/runs", or --runs /shared/runs; or an address: compute.storage = "s3://bucket/runs"'
        )
        raise IcfError("\n".join([f"the run folder {folder} is not shared by all nodes", *lines, advice]))


def require_store(ray: Any, address: str) -> None:
    """Let every node read what this process writes at an address, and write there.

    Raises:
        IcfError: a node can't.
    """
    nonce = secrets.token_hex(16)
    store, name = open_store(address), f".probe-{nonce}"
    try:
        store.write(f"{name}/question", nonce.encode())
        answers = ask_nodes(ray, answer_store_probe, address, name, nonce)
        lines = [f"  node {node}: {problem}" for node, problem in answers.items() if problem]
    finally:
        store.remove(name)
    if lines:
        raise IcfError("\n".join([f"compute.storage = {address!r} can't be used by all nodes", *lines]))


def answer_store_probe(address: str, name: str, nonce: str) -> str:
    """Read the nonce and write an answer beside it; return what is wrong, or an empty text."""
    try:
        store = open_store(address)
        if (store.read(f"{name}/question") or b"").decode() != nonce:
            return "it sees another place under this address"
        store.write(f"{name}/{secrets.token_hex(8)}", nonce.encode())
    except StoreError as error:
        return str(error)
    return ""


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
