from __future__ import annotations

from pathlib import Path

import icf

from icf_example.plugin import icf_epoch_end


def test_an_epoch_is_a_line(tmp_path: Path) -> None:
    for epoch in range(2):
        numbers = {"train_loss": 1.0, "val_loss": 0.5, "learning_rate": 0.1, "images_per_second": 9.0}
        event = icf.EpochEnd(run_dir=tmp_path, fold=1, epoch=epoch, metrics={"metric/accuracy": 0.75}, **numbers)
        icf_epoch_end(event)
    [file] = tmp_path.iterdir()
    lines = [f"fold 1, epoch {epoch}: loss 0.5000, metric/accuracy 0.7500" for epoch in range(2)]
    assert file.read_text().splitlines() == lines
