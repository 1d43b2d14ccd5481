"""``python -m benchmarks.ablation``: what each option adds to an out-of-fold score; writes docs/ablation.md.

Baselines and options, one change at a time, stand in benchmarks/ablation.toml. Runs that are finished are not run
again, so an interrupted measurement goes on where it was; --runs keeps them.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.machine import describe_machine
from benchmarks.processes import ICF
from icf.pipeline.results.comparison import compare_runs
from icf.pipeline.results.score import Interval

OPTIONS = Path(__file__).with_suffix(".toml")
DOCUMENT = Path(__file__).parents[1] / "docs" / "ablation.md"

BEGINNING = """# What each option adds

One baseline for each data set, and one change at a time. A difference is the out-of-fold score with the option minus
that of the baseline, on the same rows, folds and seed; its 95 % interval is that of a paired bootstrap that resamples
groups (`icf compare`). An interval that holds 0 says that the difference may be chance; a single seed says nothing of
other seeds. Options that do not help are listed, too. The baselines are short trainings on small images: what helps
there is a hint for longer ones, no more.

Made by `python -m benchmarks.ablation --write`, from `benchmarks/ablation.toml`, on {machine}.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what has not been run, and print or write the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ablation", description=__doc__)
    parser.add_argument("--runs", type=Path, default=Path("runs/ablation"), metavar="FOLDER", help="keep runs here")
    parser.add_argument("--only", action="append", metavar="NAME", help="this data set only; repeatable")
    parser.add_argument("--set", action="append", default=[], metavar="PATH=VALUE", help="of every run")
    parser.add_argument("--write", action="store_true", help="write docs/ablation.md instead of printing it")
    options = parser.parse_args(arguments)
    sets = tomllib.loads(OPTIONS.read_text(encoding="utf-8"))["recipes"]
    names = options.only or list(sets)
    tables = [measure(name, sets[name], options.runs, options.set) for name in names]
    machine = describe_machine()
    text = BEGINNING.format(machine=f"{machine['cores']} cores, torch {machine['torch']}")
    text += "".join(f"\n{table}" for table in tables)
    if options.write:
        DOCUMENT.write_text(text, encoding="utf-8")
    else:
        print(text)
    return 0


def measure(name: str, entry: Mapping[str, Any], runs: Path, settings: Sequence[str]) -> str:
    """Run a baseline and its options; return a section with a table of them, what helps most first."""
    common = [*entry["baseline"], *settings]
    base = run(entry["recipe"], common, runs / name / "baseline")
    result = json.loads((base / "metrics.json").read_text(encoding="utf-8"))
    metric = result["select"]
    score = Interval(**result["oof"][metric])
    found = {}
    for number, (option, changes) in enumerate(entry["options"].items()):
        other = run(entry["recipe"], [*common, *changes], runs / name / f"option-{number:02d}")
        found[option] = compare_runs(base, other)[metric]
    return "\n".join(
        [
            f"## {name}",
            "",
            f"`icf run {entry['recipe']}` with `{'`, `'.join(entry['baseline'])}`: {metric} {score.value:.4f}"
            f" [{score.low:.4f}, {score.high:.4f}].",
            "",
            "| option | settings | difference | 95 % interval |",
            "|---|---|---|---|",
            *(
                f"| {option} | `{'`, `'.join(entry['options'][option])}` | {gain.value:+.4f}"
                f" | {gain.low:+.4f} to {gain.high:+.4f} |"
                for option, gain in sorted(found.items(), key=lambda item: -item[1].value)
            ),
            "",
        ]
    )


def run(recipe: str, settings: Sequence[str], folder: Path) -> Path:
    """Return the run folder of a recipe with settings; run it, or go on with it, unless it is finished."""
    options = [part for setting in settings for part in ("--set", setting)]
    command = [*ICF, "run", recipe, "--runs", str(folder), "--json", *options]
    print(folder, file=sys.stderr, flush=True)
    finished = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return Path(json.loads(finished.stdout)["run_dir"])


if __name__ == "__main__":
    sys.exit(main())
