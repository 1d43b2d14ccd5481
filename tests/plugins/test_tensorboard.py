from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2

import icf
from icf_tensorboard import plugin, writer
from icf_tensorboard.confusion import draw_confusion

CLASSES = ("cat", "dog", "a class with a very long name indeed")


def read(folder: Path) -> EventAccumulator:
    accumulator = EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0, "tensors": 0})
    accumulator.Reload()
    return accumulator


def end_epoch(run_dir: Path, fold: int, epoch: int) -> None:
    plugin.icf_epoch_end(
        icf.EpochEnd(
            run_dir=run_dir,
            fold=fold,
            epoch=epoch,
            train_loss=1.0 / (epoch + 1),
            val_loss=2.0 / (epoch + 1),
            learning_rate=0.1,
            images_per_second=50.0,
            metrics={"metric/accuracy": 0.5 + 0.1 * epoch},
        )
    )


def end_run(run_dir: Path) -> None:
    plugin.icf_run_end(
        icf.RunEnd(
            run_dir=run_dir,
            metrics={"macro_f1": 0.75},
            confusion=((5, 1, 0), (2, 6, 0), (0, 0, 3)),
            classes=CLASSES,
            hyperparameters={"lr": 0.1, "arch": "resnet18", "flip": True},
        )
    )


def test_curves_of_each_fold_are_read_back(tmp_path: Path) -> None:
    plugin.icf_run_start(
        icf.RunStart(run_dir=tmp_path, recipe="demo", folds=2, epochs=3, classes=CLASSES, notes=("rendered data",))
    )
    for epoch in range(3):
        for fold in range(2):
            end_epoch(tmp_path, fold, epoch)
    for fold in range(2):
        plugin.icf_fold_end(icf.FoldEnd(run_dir=tmp_path, fold=fold, best_epoch=2))
    end_run(tmp_path)
    for fold in range(2):
        scalars = read(tmp_path / "tensorboard" / f"fold-{fold}")
        losses = [(point.step, point.value) for point in scalars.Scalars("val_loss")]
        assert losses == [(0, 2.0), (1, 1.0), (2, pytest.approx(2 / 3))]
        tags = set(scalars.Tags()["scalars"])
        assert tags == {"train_loss", "val_loss", "learning_rate", "images_per_second", "metric/accuracy"}
    text = read(tmp_path / "tensorboard" / "run").Tensors("run/text_summary")[0].tensor_proto.string_val[0]
    assert b"demo" in text
    assert b"rendered data" in text


def test_augmented_picture_is_read_back(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "augmented.png")
    plugin.icf_fold_end(icf.FoldEnd(run_dir=tmp_path, fold=0, best_epoch=4, augmented=tmp_path / "augmented.png"))
    image = read(tmp_path / "tensorboard" / "fold-0").Images("augmented")[0]
    assert image.step == 4
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(image.encoded_image_string))), pixels)


@pytest.mark.parametrize("content", [None, b"no picture"])
def test_picture_that_can_not_be_read_does_not_fail_the_run(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "augmented.png"
    if content is not None:
        file.write_bytes(content)
    plugin.icf_fold_end(icf.FoldEnd(run_dir=tmp_path, fold=0, best_epoch=0, augmented=file))
    assert read(tmp_path / "tensorboard" / "fold-0").Tags()["images"] == []


def test_run_end_writes_score_hyperparameters_and_confusion_into_one_folder(tmp_path: Path) -> None:
    end_run(tmp_path)
    assert [path.name for path in (tmp_path / "tensorboard").iterdir()] == ["run"]
    assert all(path.is_file() for path in (tmp_path / "tensorboard" / "run").iterdir())
    events = read(tmp_path / "tensorboard" / "run")
    assert events.Scalars("score/macro_f1")[0].value == pytest.approx(0.75)
    content = events.PluginTagToContent("hparams")["_hparams_/session_start_info"]
    values = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info.hparams
    assert values["lr"].number_value == pytest.approx(0.1)
    assert values["arch"].string_value == "resnet18"
    assert values["flip"].number_value == 1
    assert events.Images("confusion")[0].width > 100


def test_writers_are_closed_and_a_continued_run_adds_to_the_same_folder(tmp_path: Path) -> None:
    end_epoch(tmp_path, 0, 0)
    plugin.icf_fold_end(icf.FoldEnd(run_dir=tmp_path, fold=0, best_epoch=0))
    assert not any(tmp_path in folder.parents for folder in writer._writers)
    end_epoch(tmp_path, 0, 1)
    end_run(tmp_path)
    assert not any(tmp_path in folder.parents for folder in writer._writers)
    steps = [point.step for point in read(tmp_path / "tensorboard" / "fold-0").Scalars("train_loss")]
    assert steps == [0, 1]


def test_end_of_one_run_leaves_the_files_of_another_open(tmp_path: Path) -> None:
    end_epoch(tmp_path / "a", 0, 0)
    end_epoch(tmp_path / "b", 0, 0)
    end_run(tmp_path / "a")
    assert [folder.parent.parent.name for folder in writer._writers if tmp_path in folder.parents] == ["b"]
    end_run(tmp_path / "b")


def test_shades_are_shares_of_the_row() -> None:
    counts = np.zeros((40, 40), dtype=np.int64)
    counts[0, 0], counts[1, 1], counts[1, 2] = 7, 500, 500
    picture = draw_confusion(counts, tuple(str(index) for index in range(40)))
    cell = 720 // 40
    start = picture.shape[0] - 8 - 40 * cell + cell // 2
    shade = [picture[start + row * cell, start + column * cell].tolist() for row, column in ((0, 0), (1, 1), (2, 2))]
    assert shade[0] == [8, 48, 107]
    assert shade[1] == pytest.approx([131.5, 151.5, 181], abs=1)
    assert shade[2] == [255, 255, 255]


@pytest.mark.parametrize("classes", [1, 2, 18, 30, 31, 200])
def test_any_number_of_classes_gives_a_picture_of_sensible_size(classes: int) -> None:
    counts = np.eye(classes, dtype=np.int64) * 12345
    picture = draw_confusion(counts, tuple(f"class {index}" for index in range(classes)))
    assert picture.dtype == np.uint8
    assert picture.shape[0] == picture.shape[1] <= 1800
