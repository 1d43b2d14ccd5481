"""Reading the competition's CSV files and collecting every mistake with its row."""

from __future__ import annotations

import csv
import io
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
    """One record: where it stands, for messages, and its cells by column."""

    where: str
    cells: dict[str, str]

    def __getitem__(self, column: str) -> str:
        return self.cells[column]


def read_rows(path: Path, columns: tuple[str, ...], report: Report) -> list[Row]:
    """Read a UTF-8 CSV file that has at least the ``columns``; blank lines are skipped.

    Rows of a wrong length are added to ``report`` and left out. Raises DataError if there is no such
    file, if it isn't UTF-8 or CSV, or if a column is missing.
    """
    try:
        reader = csv.reader(io.StringIO(path.read_bytes().decode("utf-8-sig"), newline=""), strict=True)
        records = [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader]
    except OSError as error:
        raise icf.DataError(f"{path} can't be read: {error.strerror or error}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise icf.DataError(f"{path} is no CSV file in UTF-8: {error}") from None
    filled = [(number, cells) for number, cells in records if any(cells)]
    header = filled[0][1] if filled else []
    missing = [column for column in columns if header.count(column) != 1]
    if missing:
        raise icf.DataError(
            f"{path} must have exactly one column {' and one '.join(missing)}; its columns are {header}"
        )
    rows = []
    for number, cells in filled[1:]:
        if len(cells) == len(header):
            rows.append(Row(f"{path}, row {number}", dict(zip(header, cells, strict=True))))
        else:
            report.add(f"{path}, row {number}", f"has {len(cells)} fields, but the header has {len(header)}")
    if len(filled) < 2:
        report.add(path, "has no rows below the header")
    return rows


def leaves_folder(name: str) -> bool:
    """Return whether a path from a file would lead out of the folder it is joined to, on any system."""
    path = PureWindowsPath(name)
    return bool(path.drive or path.root or ".." in path.parts)
