"""An observer: what it does when the run tells it something."""

from __future__ import annotations

import icf


def write_epoch(event: icf.EpochEnd) -> None:
    """Append a line about an epoch to a text file in the run folder."""
    scores = ", ".join(f"{name} {value:.4f}" for name, value in event.metrics.items())
    with (event.run_dir / "example.txt").open("a", encoding="utf-8") as file:
        file.write(f"fold {event.fold}, epoch {event.epoch}: loss {event.val_loss:.4f}, {scores}\n")
