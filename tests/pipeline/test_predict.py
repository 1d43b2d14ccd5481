from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from icf.errors import BadImagesError, IcfError
from icf.executors.inline import InlineExecutor
from icf.pipeline import files
from icf.pipeline.files import read_json, read_probabilities, write_json
from icf.pipeline.folder import RunFolder
from icf.pipeline.jobs import Executor, Placement, Workload
from icf.pipeline.listener import Listener
from icf.pipeline.predict import predict_images
from icf.pipeline.run import run_pipeline
from icf.pipeline.training.checkpoint import read_metadata
from icf.plan import Plan, load_plan
from training import CLASSES, place_inline, save_digits

RECIPE = """
    dataset = {{ use = "images/folder", root = "{root}", test = "new" }}
    transforms = {{ channels = 1, image_size = 8 }}
    model = {{ use = "nn/sequential-cnn", widths = [16, 32] }}
    optimizer = {{ lr = 0.02 }}
    train = {{ epochs = 5, batch_size = 32 }}
    split = {{ folds = 2 }}
    inference = {{ tta = ["vertical-flip"] }}
    compute = {{ threads = 1, precision = "fp32" }}
"""


pytestmark = pytest.mark.usefixtures("cache_of_file")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    save_digits(root / "train", range(300))
    save_digits(root / "new", range(300, 350), by_class=False)
    return root


@pytest.fixture(scope="module")
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = tmp_path_factory.mktemp("runs")
    (runs / "folder.toml").write_text(RECIPE.format(root=data))
    return run_pipeline(load_plan(runs / "folder.toml"), runs, place_inline, Listener()).run_dir


def test_new_images_are_predicted_as_in_the_run(finished: Path, data: Path) -> None:
    ids, expected = read_probabilities(finished / "test.parquet", CLASSES)
    found = predict_images(finished, [data / name for name in ids])
    assert found.classes == CLASSES
    assert found.names == tuple(str(data / name) for name in ids)
    assert found.skipped == ()
    np.testing.assert_allclose(found.probabilities, expected, atol=1e-6)
    assert len(set(expected.argmax(axis=1))) > 3  # the images are told apart


def test_a_run_in_small_parts_gives_the_same_numbers(
    finished: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "PART_CELLS", 500)
    (tmp_path / "folder.toml").write_text(RECIPE.format(root=data))
    run_dir = run_pipeline(load_plan(tmp_path / "folder.toml"), tmp_path, place_inline, Listener()).run_dir
    for name in ("oof.parquet", "test.parquet"):
        (ids, expected), (found_ids, found) = (read_probabilities(path / name, CLASSES) for path in (finished, run_dir))
        assert found_ids == ids
        np.testing.assert_array_equal(found, expected)
    assert read_json(RunFolder(run_dir).metrics) == read_json(RunFolder(finished).metrics)
    assert (run_dir / "submission.csv").read_text() == (finished / "submission.csv").read_text()
    images = sorted((data / "new").iterdir())
    whole = predict_images(finished, images).probabilities
    monkeypatch.setattr(files, "PART_CELLS", 10**6)
    np.testing.assert_array_equal(predict_images(finished, images).probabilities, whole)


def test_new_images_are_predicted_in_the_number_format_of_the_run(data: Path, tmp_path: Path) -> None:
    def place(plan: Plan, work: Workload) -> tuple[Placement, Executor]:
        return Placement("inline", "a test", 1, 1, "cpu", precision="bf16"), InlineExecutor()

    (tmp_path / "folder.toml").write_text(RECIPE.format(root=data))
    plan = load_plan(tmp_path / "folder.toml", ["train.epochs=1", 'compute.precision="auto"'])
    run_dir = run_pipeline(plan, tmp_path, place, Listener()).run_dir
    ids, expected = read_probabilities(run_dir / "test.parquet", CLASSES)
    images = [data / name for name in ids]
    found = predict_images(run_dir, images).probabilities
    np.testing.assert_allclose(found, expected, atol=1e-6)
    placement = read_json(run_dir / "placement.json")
    write_json(run_dir / "placement.json", {**placement, "precision": "fp32"})
    assert np.abs(predict_images(run_dir, images).probabilities - expected).max() > 1e-5


def test_new_images_are_predicted_by_networks_that_are_fused_as_in_the_run(data: Path, tmp_path: Path) -> None:
    (tmp_path / "folder.toml").write_text(RECIPE.format(root=data))
    plan = load_plan(tmp_path / "folder.toml", ["train.epochs=1", "inference.fuse='on'", "inference.batch_size=20"])
    run_dir = run_pipeline(plan, tmp_path, place_inline, Listener()).run_dir
    placement = read_json(run_dir / "placement.json")
    assert placement["prediction"] == {"batch_size": 20, "fused": True}
    told = read_json(run_dir / "folds" / "0" / "metrics.json")["prediction"]
    assert told == "in batches of 20, batch normalisation fused"
    assert told in (run_dir / "report.html").read_text()
    ids, expected = read_probabilities(run_dir / "test.parquet", CLASSES)
    images = [data / name for name in ids]
    fused = predict_images(run_dir, images).probabilities
    np.testing.assert_allclose(fused, expected, atol=1e-7)  # the vote is joined in another order
    write_json(run_dir / "placement.json", {**placement, "prediction": {"batch_size": 256, "fused": False}})
    plain = predict_images(run_dir, images).probabilities
    assert not np.array_equal(plain, fused)
    np.testing.assert_allclose(plain, fused, atol=1e-5)
    (run_dir / "folds" / "0" / "metrics.json").unlink()  # as if it had been killed before this was written
    (run_dir / "test.parquet").unlink()
    write_json(run_dir / "placement.json", placement)
    run_pipeline(plan, tmp_path, place_inline, Listener())
    np.testing.assert_array_equal(read_probabilities(run_dir / "test.parquet", CLASSES)[1], expected)


def test_new_images_are_predicted_channels_last_whatever_the_run_trained_in(data: Path, tmp_path: Path) -> None:
    (tmp_path / "folder.toml").write_text(RECIPE.format(root=data))
    plan = load_plan(tmp_path / "folder.toml", ["train.epochs=1", 'compute.memory_format="contiguous"'])
    run_dir = run_pipeline(plan, tmp_path, place_inline, Listener()).run_dir
    assert read_json(run_dir / "placement.json")["memory_format"] == "contiguous"
    assert "contiguous" in (run_dir / "report.html").read_text()
    ids, expected = read_probabilities(run_dir / "test.parquet", CLASSES)
    found = predict_images(run_dir, [data / name for name in ids]).probabilities
    np.testing.assert_allclose(found, expected, atol=1e-7)  # the vote is joined in another order


def test_predictions_do_not_depend_on_their_company(finished: Path, data: Path) -> None:
    images = sorted((data / "new").iterdir())
    together = predict_images(finished, images).probabilities
    backwards = predict_images(finished, images[::-1]).probabilities[::-1]
    alone = predict_images(finished, images[7:8]).probabilities
    np.testing.assert_allclose(together, backwards, atol=1e-6)
    np.testing.assert_allclose(together[7:8], alone, atol=1e-6)


def test_images_of_another_size_are_prepared_the_same_way(finished: Path, tmp_path: Path) -> None:
    images = save_digits(tmp_path, range(300, 320), by_class=False, scale=4)
    shrunk = [Image.open(path).resize((8, 8), Image.Resampling.BILINEAR) for path in images]
    expected = predict_images(finished, np.stack([np.asarray(image) for image in shrunk]))
    found = predict_images(finished, images)
    np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=1e-6)


def test_colour_becomes_the_grey_that_the_network_takes(finished: Path, data: Path, tmp_path: Path) -> None:
    grey = sorted((data / "new").iterdir())[0]
    Image.open(grey).convert("RGB").save(tmp_path / "colour.png")
    found = predict_images(finished, [grey, tmp_path / "colour.png"]).probabilities
    np.testing.assert_allclose(found[0], found[1], atol=1e-6)


def test_what_cannot_be_read_is_named_and_the_rest_is_predicted(finished: Path, data: Path, tmp_path: Path) -> None:
    good = sorted((data / "new").iterdir())[0]
    broken, missing = tmp_path / "broken.png", tmp_path / "missing.png"
    broken.write_bytes(good.read_bytes()[:50])
    found = predict_images(finished, [broken, good, missing])
    assert found.names == (str(good),)
    assert [problem.where for problem in found.skipped] == [str(broken), str(missing)]
    with pytest.raises(BadImagesError, match=r"none of the images can be read: 2 problems[\s\S]*broken\.png"):
        predict_images(finished, [broken, missing])


def test_weights_from_before_there_were_heads_have_an_output_for_each_class(
    finished: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = sorted((data / "new").iterdir())[:3]
    expected = predict_images(finished, images).probabilities

    def read_old(path: Path) -> dict[str, Any]:
        return {name: value for name, value in read_metadata(path).items() if name != "output"}

    monkeypatch.setattr("icf.pipeline.predict.read_metadata", read_old)
    assert np.array_equal(predict_images(finished, images).probabilities, expected)


def test_a_run_without_all_its_folds_is_refused(data: Path, tmp_path: Path) -> None:
    (tmp_path / "folder.toml").write_text(RECIPE.format(root=data))
    plan = load_plan(tmp_path / "folder.toml", ["train.epochs=1"])
    run_dir = run_pipeline(plan, tmp_path, place_inline, Listener()).run_dir
    images = sorted((data / "new").iterdir())[:1]
    weights = RunFolder(run_dir).fold(1).checkpoints / "best.safetensors"
    weights.rename(weights.with_suffix(".kept"))
    with pytest.raises(IcfError, match=r"weights are missing: .*folds/1/checkpoint/best\.safetensors"):
        predict_images(run_dir, images)
    weights.with_suffix(".kept").rename(weights)
    RunFolder(run_dir).metrics.unlink()
    with pytest.raises(IcfError, match="not every fold is finished; run its recipe again"):
        predict_images(run_dir, images)
    with pytest.raises(IcfError, match=r"is no run folder: it has no plan\.json"):
        predict_images(tmp_path, images)


def test_a_run_is_not_finished_while_it_is_trained_again(data: Path, tmp_path: Path) -> None:
    (tmp_path / "folder.toml").write_text(RECIPE.format(root=data))
    plan = load_plan(tmp_path / "folder.toml", ["train.epochs=1"])
    run_dir = run_pipeline(plan, tmp_path, place_inline, Listener()).run_dir
    RunFolder(run_dir).fold(1).metrics.unlink()

    class Curious(Listener):
        def folds_changed(self, folds: object) -> None:
            if not RunFolder(run_dir).fold(1).metrics.exists():
                with pytest.raises(IcfError, match="not every fold is finished"):
                    predict_images(run_dir, sorted((data / "new").iterdir())[:1])

    run_pipeline(plan, tmp_path, place_inline, Curious())
    assert len(predict_images(run_dir, sorted((data / "new").iterdir())[:1]).names) == 1
