from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import zipfile
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from icf.cli import products
from icf.cli.products import NAMES, PREFIX, ProductReader, pack_products, unpack, write_lines
from icf.errors import IcfError


def make_run(folder: Path, files: dict[str, bytes]) -> Path:
    run_dir = folder / "digits" / "20260101-000000-0123abcd"
    for name, content in files.items():
        path = run_dir / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return run_dir


def read_tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@given(
    st.dictionaries(st.sampled_from([*NAMES, "folds/0/metrics.json", "folds/12/history.csv"]), st.binary(max_size=200)),
    st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n"), max_size=20)),
)
@settings(deadline=None, max_examples=30)
def test_products_come_out_of_a_log_as_they_went_in(
    tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes], noise: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("run")
    run_dir = make_run(folder, files)
    run_dir.mkdir(parents=True, exist_ok=True)
    content, left_out = pack_products(run_dir)
    assert left_out == []
    reader = ProductReader()
    shown = [line for line in [*noise, *write_lines(content, run_dir), *noise] if not reader.take(line)]
    assert shown == [*noise, *noise]
    saved = reader.save(folder / "back")
    assert saved == folder / "back" / "digits" / run_dir.name
    assert (read_tree(saved) if saved.exists() else {}) == files


def test_large_content_is_cut_into_lines_that_ray_passes_on_whole(tmp_path: Path) -> None:
    noise = os.urandom(100_000)
    run_dir = make_run(tmp_path, {"oof.parquet": noise})
    lines = list(write_lines(pack_products(run_dir)[0], run_dir))
    assert max(map(len, lines)) < 20_000
    reader = ProductReader()
    assert all(map(reader.take, lines))
    saved = reader.save(tmp_path / "back")
    assert saved is not None
    assert (saved / "oof.parquet").read_bytes() == noise


def test_only_small_products_travel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "LARGEST", 10_000)
    files = {
        "oof.parquet": os.urandom(20_000),
        "metrics.json": b"{}",
        "folds/0/history.csv": b"epoch",
        "folds/0/checkpoint/best.safetensors": b"weights",
        "data.json": b"{}",
    }
    content, left_out = pack_products(make_run(tmp_path, files))
    assert left_out == ["oof.parquet"]
    assert sorted(zipfile.ZipFile(io.BytesIO(content)).namelist()) == ["folds/0/history.csv", "metrics.json"]


def take_all(reader: ProductReader, lines: Iterable[str]) -> None:
    for line in lines:
        assert reader.take(line)


def zip_of(*names: str, content: bytes = b"x") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name in names:
            file.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "name",
    [
        "../metrics.json",
        "/etc/passwd",
        "folds/../../metrics.json",
        "folds/0/../metrics.json",
        "metrics.json/x",
        "metrics.json\n",
        "C:\\metrics.json",
        ".bashrc",
        "folds/0/checkpoint/last.pt",
        "folds/99999/metrics.json",
        "",
    ],
)
def test_nothing_but_products_is_written(name: str, tmp_path: Path) -> None:
    with pytest.raises(IcfError, match="no product of a run; nothing was written"):
        unpack(zip_of("metrics.json", name), tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


@given(st.text(max_size=30))
@settings(deadline=None)
def test_a_name_in_the_file_is_taken_only_if_it_stays_in_the_folder(
    tmp_path_factory: pytest.TempPathFactory, name: str
) -> None:
    folder = tmp_path_factory.mktemp("run")
    with contextlib.suppress(IcfError, UnicodeEncodeError):
        unpack(zip_of(name), folder / "inner")
    assert {path.relative_to(folder).parts[0] for path in folder.rglob("*")} <= {"inner"}


def test_a_bomb_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "LARGEST_UNPACKED", 1_000_000)
    with pytest.raises(IcfError, match="above 1,000,000 bytes"):
        unpack(zip_of("metrics.json", "report.html", content=bytes(600_000)), tmp_path)


@pytest.mark.parametrize("name", ["..", ".", "", "a/b", "a\\b", "/etc", "C:x", ".ssh", 3, None])
@pytest.mark.parametrize("key", ["recipe", "run"])
def test_a_run_folder_stays_below_the_folder_of_runs(key: str, name: object, tmp_path: Path) -> None:
    reader = ProductReader()
    run_dir = make_run(tmp_path, {"metrics.json": b"{}"})
    header, *rest = write_lines(pack_products(run_dir)[0], run_dir)
    changed = PREFIX + json.dumps(json.loads(header.removeprefix(PREFIX)) | {key: name})
    for line in (changed, *rest):
        reader.take(line)
    with pytest.raises(IcfError, match="nothing was written"):
        reader.save(tmp_path / "back")
    assert not (tmp_path / "back").exists()


def test_damage_is_noticed(tmp_path: Path) -> None:
    run_dir = make_run(tmp_path, {"oof.parquet": os.urandom(30_000)})
    header, first, *rest = write_lines(pack_products(run_dir)[0], run_dir)
    for lines in ([header, *rest], [header, PREFIX + "!", *rest], [PREFIX + "{", first]):
        with pytest.raises(IcfError):
            take_all(ProductReader(), lines)
    cut = ProductReader()
    take_all(cut, [header, first])  # the job was killed while it printed
    assert cut.save(tmp_path / "back") is None


def test_more_than_the_limit_is_not_collected() -> None:
    reader = ProductReader()
    reader.take(PREFIX + json.dumps({"recipe": "a", "run": "b", "bytes": 1, "sha256": ""}))
    line = PREFIX + base64.b64encode(bytes(products.LINE_BYTES)).decode()
    with pytest.raises(IcfError, match="more than 16,000,000 bytes"):
        take_all(reader, [line] * (2 + products.LARGEST // products.LINE_BYTES))


def test_files_that_are_no_zip_are_refused(tmp_path: Path) -> None:
    whole = zip_of("metrics.json", content=b"abc" * 1000)
    for content in (b"", b"PK", whole[:-30], whole[:40] + bytes(20) + whole[60:]):
        with pytest.raises(IcfError, match="no zip file"):
            unpack(content, tmp_path)
    assert list(tmp_path.iterdir()) == []
