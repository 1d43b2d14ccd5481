"""Reading CSV files that people made: every mistake is collected with its row, and all are shown at once."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PureWindowsPath

import icf

SHOWN = 20
"""Problems that one error lists."""


@dataclass
class Report:
    """Collects problems, so that a user sees them all at once."""

    problems: list[icf.Problem] = field(default_factory=list)

    def add(self, where: object, message: str) -> None:
        """Note a mistake and go on."""
        self.problems.append(icf.Problem(str(where), message))

    def stop(self, title: str) -> None:
        """Raise BadImagesError with the first problems and the count of the rest, if there is any."""
        total = len(self.problems)
        if total > SHOWN:
            title += f" ({total} problems in all, {total - SHOWN} more than the {SHOWN} shown)"
        if total:
            raise icf.BadImagesError(title, self.problems[:SHOWN])


@dataclass(frozen=True)
class Row:
    """One record; ``number`` is the line it starts on, the header being line 1."""

    number: int
    cells: Mapping[str, str]


@dataclass(frozen=True)
class Table:
    """A CSV file with a header. Cells and column names have no surrounding spaces."""

    path: Path
    columns: tuple[str, ...]
    rows: tuple[Row, ...]

    def where(self, row: Row) -> str:
        """Return the file and row, for a message."""
        return f"{self.path}, row {row.number}"

    def require(self, *columns: str) -> None:
        """Raise DataError if a column is missing; without it no row can be understood."""
        missing = [column for column in columns if column not in self.columns]
        if missing:
            raise icf.DataError(
                f"{self.path} has no column {', '.join(map(repr, missing))}; "
                f"its columns are {', '.join(map(repr, self.columns))}"
            )


def read_table(path: Path, report: Report) -> Table:
    """Read a UTF-8 CSV file (with or without a byte order mark, any line ends, quoted fields).

    Rows of a wrong length are added to ``report`` and left out. Raises DataError where nothing can be
    read: no file, another encoding, no header, a column name twice, a quote that is never closed.
    """
    records = list(_records(path, _read_text(path)))
    while len(records) > 1 and not any(records[-1][1]):
        records.pop()
    if not records:
        raise icf.DataError(f"{path} is empty; its first row must name the columns")
    columns = tuple(records[0][1])
    repeated = sorted({column for column in columns if columns.count(column) > 1})
    if repeated:
        raise icf.DataError(f"{path}, row 1: names column {', '.join(map(repr, repeated))} more than once")
    rows = []
    for number, cells in records[1:]:
        if len(cells) == len(columns):
            rows.append(Row(number, dict(zip(columns, cells, strict=True))))
        else:
            report.add(f"{path}, row {number}", f"has {len(cells)} fields, but the header has {len(columns)}")
    return Table(path, columns, tuple(rows))


def _read_text(path: Path) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise icf.DataError(f"{path} can't be read: {error.strerror or error}") from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        row = data[: error.start].count(b"\n") + 1
        raise icf.DataError(
            f"{path}, row {row}: byte 0x{data[error.start]:02x} is not UTF-8; save the file as UTF-8"
        ) from None


def _records(path: Path, text: str) -> Iterator[tuple[int, Sequence[str]]]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, skipinitialspace=True)
    start = 1
    try:
        for cells in reader:
            if cells:
                yield start, [cell.strip() for cell in cells]
            start = reader.line_num + 1
    except csv.Error as error:
        raise icf.DataError(f"{path}, row {start}: {error}") from None


def leaves_folder(name: str) -> bool:
    """Return whether a path from a file would lead out of the folder it is joined to, on any system."""
    path = PureWindowsPath(name)
    return bool(path.drive or path.root or ".." in path.parts)
