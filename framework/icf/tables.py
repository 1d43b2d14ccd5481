"""Reading CSV files that people made: every mistake is collected with its row, and all are shown at once."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PureWindowsPath

from icf.errors import BadImagesError, DataError, Problem

SHARED = 100_000
"""Cells that are remembered, so that rows with equal labels or groups hold the same string."""

Record = tuple[int, tuple[str, ...]]
"""The line on which a record starts, and its cells."""


@dataclass
class Report:
    """Collects problems, so that a user sees them all at once."""

    problems: list[Problem] = field(default_factory=list)

    def add(self, where: object, message: str) -> None:
        """Note a mistake and go on."""
        self.problems.append(Problem(str(where), message))

    def stop(self, title: str) -> None:
        """Raise BadImagesError with all problems, if there is any."""
        if self.problems:
            raise BadImagesError(title, self.problems)


@dataclass(frozen=True, slots=True)
class Row:
    """One record of a file; ``number`` is the line it starts on, the header being line 1.

    ``places`` says where the value of a column is; all rows of a file share it, as there may be millions.
    """

    path: Path
    number: int
    places: Mapping[str, int]
    values: tuple[str, ...]

    @property
    def where(self) -> str:
        """The file and row, for a message."""
        return f"{self.path}, row {self.number}"

    @property
    def cells(self) -> dict[str, str]:
        """The values by column."""
        return dict(zip(self.places, self.values, strict=True))

    def __getitem__(self, column: str) -> str:
        return self.values[self.places[column]]


@dataclass(frozen=True)
class Table:
    """A CSV file with a header. Cells and column names have no surrounding spaces."""

    path: Path
    columns: tuple[str, ...]
    rows: tuple[Row, ...]

    def require(self, *columns: str) -> None:
        """Raise DataError if a column is missing; without it no row can be understood."""
        missing = [column for column in columns if column not in self.columns]
        if missing:
            raise DataError(
                f"{self.path} has no column {', '.join(map(repr, missing))}; "
                f"its columns are {', '.join(map(repr, self.columns))}"
            )


def read_table(path: Path, report: Report) -> Table:
    """Read a UTF-8 CSV file (with or without a byte order mark, any line ends, quoted fields).

    Rows of a wrong length are added to ``report`` and left out. Raises DataError where nothing can be
    read: no file, another encoding, no header, a column name twice, a quote that is never closed.
    """
    records = _read_records(path)
    _, columns = next(records, (1, ()))
    if not columns:
        raise DataError(f"{path} is empty; its first row must name the columns")
    repeated = sorted({column for column in columns if columns.count(column) > 1})
    if repeated:
        raise DataError(f"{path}, row 1: names column {', '.join(map(repr, repeated))} more than once")
    places = {column: place for place, column in enumerate(columns)}
    rows = []
    for number, cells in _without_blank_end(records):
        if len(cells) == len(columns):
            rows.append(Row(path, number, places, cells))
        else:
            report.add(f"{path}, row {number}", f"has {len(cells)} fields, but the header has {len(columns)}")
    return Table(path, columns, tuple(rows))


def _read_records(path: Path) -> Iterator[Record]:
    known: dict[str, str] = {}
    start = 1
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True, skipinitialspace=True)
            for cells in reader:
                if cells:
                    yield start, tuple(known.setdefault(cell, cell) for cell in map(str.strip, cells))
                if len(known) > SHARED:
                    known.clear()
                start = reader.line_num + 1
    except OSError as error:
        raise DataError(f"{path} can't be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise DataError(_describe_encoding(path)) from None
    except csv.Error as error:
        raise DataError(f"{path}, row {start}: {error}") from None


def _without_blank_end(records: Iterable[Record]) -> Iterator[Record]:
    """Leave out records without any content after the last one that has some."""
    blank: list[Record] = []
    for record in records:
        blank.append(record)
        if any(record[1]):
            yield from blank
            blank.clear()


def _describe_encoding(path: Path) -> str:
    """Name the first byte that is not UTF-8; the reader knows only the block that it is in."""
    data = path.read_bytes()
    try:
        data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        row = data[: error.start].count(b"\n") + 1
        return f"{path}, row {row}: byte 0x{data[error.start]:02x} is not UTF-8; save the file as UTF-8"
    return f"{path} is not UTF-8; save the file as UTF-8"


def leaves_folder(name: str) -> bool:
    """Return whether a path from a file would lead out of the folder it is joined to, on any system."""
    path = PureWindowsPath(name)
    return bool(path.drive or path.root or ".." in path.parts)
