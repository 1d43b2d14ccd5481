from __future__ import annotations

import csv
import math
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from icf.errors import IcfError
from icf.pipeline import files
from icf.pipeline.files import (
    digest,
    digest_strings,
    make_table,
    read_json,
    read_parts,
    read_probabilities,
    read_table,
    write_bytes,
    write_json,
    write_probabilities,
    write_rows,
    write_table,
    write_text,
)


def test_a_file_is_replaced_whole_and_nothing_else_is_left(tmp_path):
    path = tmp_path / "new" / "folder" / "file.txt"
    write_bytes(path, b"old and long")
    write_text(path, "né")
    assert path.read_bytes() == "né".encode()
    assert list(path.parent.iterdir()) == [path]


def test_a_failed_write_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "file.txt"
    write_bytes(path, b"old")

    def fail(descriptor: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(files.os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_json_round_trip(tmp_path):
    value = {"a": [1, 2.5, None, True, "ü"], "b": {"c": {}}}
    write_json(tmp_path / "x.json", value)
    assert read_json(tmp_path / "x.json") == value


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_json_holds_only_finite_numbers(tmp_path, number):
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "x.json", {"a": number})
    assert not (tmp_path / "x.json").exists()


def test_rows_are_csv_with_a_header(tmp_path):
    write_rows(tmp_path / "x.csv", [{"a": 1, "b": "x,y"}, {"a": 2, "b": 'q"'}])
    with (tmp_path / "x.csv").open(newline="") as file:
        assert list(csv.DictReader(file)) == [{"a": "1", "b": "x,y"}, {"a": "2", "b": 'q"'}]


def test_tables_keep_types(tmp_path):
    columns = {
        "text": ["a", "ü", ""],
        "maybe": ["x", None, None],
        "none": [None, None, None],
        "whole": np.array([1, -2, 3]),
        "real": np.array([0.1, 0.2, 0.3]),
    }
    write_table(tmp_path / "x.parquet", columns)
    found = read_table(tmp_path / "x.parquet")
    assert list(found) == list(columns)
    for name in ("text", "maybe", "none"):
        assert found[name] == columns[name]
    for name in ("whole", "real"):
        assert found[name].dtype == columns[name].dtype
        np.testing.assert_array_equal(found[name], columns[name])


def test_probabilities_round_trip_exactly_in_any_order_of_classes(tmp_path):
    path: Path = tmp_path / "p.parquet"
    probabilities = np.random.default_rng(0).dirichlet(np.ones(3), 5)
    ids = [f"{row:03d}" for row in range(5)]
    write_probabilities(path, ids, ("b", "a", "id"), probabilities, target=np.arange(5))
    found_ids, found = read_probabilities(path, ("b", "a", "id"))
    assert found_ids == ids
    np.testing.assert_array_equal(found, probabilities)
    np.testing.assert_array_equal(read_probabilities(path, ("id", "b"))[1], probabilities[:, [2, 0]])
    assert list(read_table(path)) == ["id", "target", "p_b", "p_a", "p_id"]


@pytest.mark.parametrize("cells", [1, 9, 12, 21, 10**6])
def test_tables_in_parts_hold_the_same(tmp_path, monkeypatch, cells):
    path: Path = tmp_path / "p.parquet"
    classes = ("a", "a.b", "b.a.b")  # pyarrow takes a dot for a path
    probabilities, ids = np.random.default_rng(0).random((7, 3)), [f"{row}" for row in range(7)]
    write_probabilities(tmp_path / "whole.parquet", ids, classes, probabilities, target=np.arange(7))
    monkeypatch.setattr(files, "PART_CELLS", cells)
    write_probabilities(path, ids, classes, probabilities, target=np.arange(7))
    for written in (path, tmp_path / "whole.parquet"):
        found_ids, found = read_probabilities(written, classes)
        assert found_ids == ids
        np.testing.assert_array_equal(found, probabilities)
        assert read_table(written, ["target"])["target"].tolist() == list(range(7))
        for rows in (1, 2, 3, 7, 8):  # of whatever lengths the file was written in
            lengths = [len(part) for part in read_parts(written, classes, rows)]
            assert lengths == [rows] * (7 // rows) + [7 % rows] * (7 % rows > 0)
    assert {path.name for path in tmp_path.iterdir()} == {"p.parquet", "whole.parquet"}


def test_large_tables_take_little_memory(tmp_path, monkeypatch):
    rows, classes = 30_000, tuple(map(str, range(100)))
    monkeypatch.setattr(files, "PART_CELLS", 100_000)
    tracemalloc.start()
    try:
        table = make_table(rows, 100, tmp_path)
        table[:] = np.arange(100)
        write_probabilities(tmp_path / "p.parquet", [""] * rows, classes, table)
        _, found = read_probabilities(tmp_path / "p.parquet", classes)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    np.testing.assert_array_equal(found[[0, rows - 1]], table[[0, rows - 1]])
    assert peak < 0.25 * table.nbytes


def test_memory_does_not_grow_while_a_file_is_read_in_parts(tmp_path, monkeypatch):
    rows, classes = 30_000, tuple(map(str, range(100)))
    monkeypatch.setattr(files, "PART_CELLS", 100_000)
    path: Path = tmp_path / "p.parquet"
    write_probabilities(path, [""] * rows, classes, np.random.default_rng(0).random((rows, 100)))
    before, held = pa.total_allocated_bytes(), []
    for part in read_parts(path, classes):
        assert part.nbytes == 8 * 100_000
        held.append(pa.total_allocated_bytes() - before)
    assert len(held) == 30
    assert max(held) < 10 * part.nbytes  # of 30


def test_a_disk_without_room_for_a_table_is_told(tmp_path):
    with pytest.raises(IcfError, match=r"1,000,000,000,000 rows of 1,000 probabilities need 8,000,000\.0 GB, which "):
        make_table(10**12, 1000, tmp_path)


def test_digest_does_not_depend_on_the_order_of_keys():
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})


PARTS = st.lists(st.one_of(st.integers(), st.text(max_size=3), st.lists(st.integers(), max_size=2)), max_size=4)


@given(left=PARTS, right=PARTS)
def test_digests_are_equal_only_for_equal_parts(left, right):
    assert (digest(*left) == digest(*right)) == (left == right)


def test_digest_keeps_parts_apart():
    assert digest("ab", "c") != digest("a", "bc")
    assert digest(b"ab", b"c") != digest(b"a", b"bc")
    assert digest_strings(["ab", "c"]) != digest_strings(["a", "bc"])
    assert digest_strings(["a", "b"]) != digest_strings(["b", "a"])


def test_digest_refuses_what_it_would_shorten():
    with pytest.raises(TypeError):
        digest(np.arange(5000))


def test_file_names_that_are_not_utf_8_have_a_digest():
    assert digest_strings(["\udcff"]) != digest_strings(["\udcfe"])


@given(
    names=st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=6),
    dtype=st.sampled_from(["int64", "int32", "uint8", "float32", "float64"]),
    seed=st.integers(0, 9),
)
def test_a_table_is_the_one_that_pyarrow_makes(tmp_path_factory, names, dtype, seed):
    path = tmp_path_factory.mktemp("tables") / "table.parquet"
    numbers = np.random.default_rng(seed).uniform(0, 200, (len(names), 2)).astype(dtype)[:, 1]
    columns = {"name": names, "number": numbers, "known": [None if name == "" else name for name in names]}
    write_table(path, columns)
    made = pa.table({**columns, "name": pa.array(names, pa.string())})
    assert pq.read_table(path).equals(made.cast(pq.read_schema(path)))
    read = read_table(path)
    assert read["name"] == names
    assert read["number"].dtype == numbers.dtype
    assert np.array_equal(read["number"], numbers)


def test_tables_of_a_run_need_no_pandas(tmp_path):
    """Its import would take a quarter of a second of every start."""
    program = """
import sys
import tracemalloc
from pathlib import Path
import numpy as np
from icf.pipeline.files import read_table, write_table
path = Path(sys.argv[1])
write_table(path, {"id": ["a", "b"], "target": np.arange(2), "share": np.ones((2, 3))[:, 0]})
assert read_table(path)["target"].tolist() == [0, 1]
assert "pandas" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "table.parquet")], check=True)
