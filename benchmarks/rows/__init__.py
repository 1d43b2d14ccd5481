"""The rows of the table, by name, in its order."""

from __future__ import annotations

from benchmarks.measure import Row
from benchmarks.rows import feeding, frozen, inference, start, training

ROWS: dict[str, Row] = {
    row.name: row for module in (training, feeding, frozen, inference, start) for row in module.ROWS
}
