"""A training that both sides do: the same rows, network, epochs, batches and learning rate."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli_w

from benchmarks.measure import Outcome
from benchmarks.processes import ICF, Finished, run_module, run_process
from benchmarks.workspace import Workspace

PLUGIN = Path(__file__).with_name("bench.py")

ONE_FOLD = {"executor": "inline"}
"""Section [compute] of a single fold: in this process, with all its threads."""


@dataclass(frozen=True)
class Task:
    """A training; ``listing`` tells the images and folds, ``size`` is their height and width in pixels."""

    listing: Path
    size: int
    epochs: int
    batch_size: int = 64
    rate: float = 1e-3
    flips: bool = True

    def arguments(self) -> list[str]:
        """Return the task as options of a reference."""
        values = {"size": self.size, "epochs": self.epochs, "batch-size": self.batch_size, "rate": self.rate}
        options = [part for name, value in values.items() for part in (f"--{name}", str(value))]
        return [str(self.listing), *options, *([] if self.flips else ["--no-flips"])]

    def recipe(self, **sections: dict[str, Any]) -> dict[str, Any]:
        """Return the task as a recipe; ``sections`` are added, or replace what is there."""
        recipe: dict[str, Any] = {
            "dataset": {"use": "bench/listing", "csv": str(self.listing)},
            "split": {"method": "predefined", "duplicates": "allow"},
            "transforms": {
                "image_size": self.size,
                "mean": [0.5, 0.5, 0.5],
                "std": [0.5, 0.5, 0.5],
                "train": [{"use": "augment/horizontal-flip"}] if self.flips else [],
            },
            "model": {"use": "torchvision/model", "arch": "resnet18"},
            "optimizer": {"use": "optimizer/adamw", "lr": self.rate, "weight_decay": 0.0},
            "train": {"epochs": self.epochs, "batch_size": self.batch_size},
            "metrics": {"select": "metric/accuracy", "report": ["metric/log-loss"]},
        }
        return recipe | sections


def write_recipe(recipe: dict[str, Any], folder: Path) -> Path:
    """Write a recipe into a folder; return the file."""
    path = folder / "benchmark.toml"
    path.write_text(tomli_w.dumps(recipe))
    return path


def run_icf(workspace: Workspace, recipe: dict[str, Any], *, watch_memory: bool = False) -> Outcome:
    """Run a recipe as ``icf run`` does, in a new folder and with an empty cache."""
    with workspace.fresh_folder() as folder:
        finished = start_icf(workspace, recipe, folder, watch_memory=watch_memory)
        return read_outcome(finished, finished.read_json()["metrics"]["oof"]["metric/accuracy"]["value"])


def start_icf(workspace: Workspace, recipe: dict[str, Any], folder: Path, *, watch_memory: bool = False) -> Finished:
    """Run ``icf run`` with everything it writes below ``folder``."""
    command = [*ICF, *write_arguments(recipe, folder)]
    return run_process(command, workspace.threads, use_cache(folder), watch_memory=watch_memory)


def write_arguments(recipe: dict[str, Any], folder: Path) -> list[str]:
    """Write a recipe into a folder; return the arguments of icf that run it, with everything it writes there."""
    options = ["--runs", str(folder / "runs"), "--plugin", str(PLUGIN), "--json"]
    return ["run", str(write_recipe(recipe, folder)), *options]


def use_cache(folder: Path) -> dict[str, str]:
    """Return the environment of an icf whose caches are below ``folder``."""
    return {"ICF_CACHE": str(folder / "cache")}


def run_reference(workspace: Workspace, name: str, *arguments: object, watch_memory: bool = False) -> Outcome:
    """Run a program of benchmarks.references in a new folder; its last line is JSON with its accuracy."""
    with workspace.fresh_folder() as folder:
        finished = run_module(
            f"benchmarks.references.{name}",
            *arguments,
            f"--threads={workspace.threads}",
            f"--output={folder}",
            threads=workspace.threads,
            watch_memory=watch_memory,
        )
        return read_outcome(finished, finished.read_json()["accuracy"])


def read_outcome(finished: Finished, accuracy: float | None = None) -> Outcome:
    """Return the outcome of a whole process."""
    return Outcome(finished.seconds, finished.megabytes or None, accuracy)
