"""Reading CSV files that people made: every mistake is collected with its row, and all are shown at once."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PureWindowsPath

from icf.errors import BadImagesError, DataError, Problem


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


@dataclass(frozen=True)
class Row:
    """One record of a file; ``number`` is the line it starts on, the header being line 1."""

    path: Path
    number: int
    cells: Mapping[str, str]

    @property
    def where(self) -> str:
        """The file and row, for a message."""
        return f"{self.path}, row {self.number}"

    def __getitem__(self, column: str) -> str:
        return self.cells[column]


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
    records = list(_records(path, _read_text(path)))
    while len(records) > 1 and not any(records[-1][1]):
        records.pop()
    if not records:
        raise DataError(f"{path} is empty; its first row must name the columns")
    columns = tuple(records[0][1])
    repeated = sorted({column for column in columns if columns.count(column) > 1})
    if repeated:
        raise DataError(f"{path}, row 1: names column {', '.join(map(repr, repeated))} more than once")
    rows = []
    for number, cells in records[1:]:
        if len(cells) == len(columns):
            rows.append(Row(path, number, dict(zip(columns, cells, strict=True))))
        else:
            report.add(f"{path}, row {number}", f"has {len(cells)} fields, but the header has {len(columns)}")
    return Table(path, columns, tuple(rows))


def _read_text(path: Path) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} can't be read: {error.strerror or error}") from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        row = data[: error.start].count(b"\n") + 1
        raise DataError(
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
        raise DataError(f"{path}, row {start}: {error}") from None


def leaves_folder(name: str) -> bool:
    """Return whether a path from a file would lead out of the folder it is joined to, on any system."""
    path = PureWindowsPath(name)
    return bool(path.drive or path.root or ".." in path.parts)
