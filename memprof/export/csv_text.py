"""Every series of a report as one long table, for pandas and spreadsheets.

A row is one figure: `y` in `y_unit` at `x` in `x_unit`, of the `series` of a `variant`; of one
`repeat`, or of all together where that is empty. `low` and `high` are its 95 % interval. Bytes and
seconds, never scaled units, at full precision.
"""

from __future__ import annotations

import csv
import io

from memprof.export.json_text import AnyReport
from memprof.render.chart import rows_of
from memprof.text import one_line

COLUMNS = (
    "kind", "scenario", "variant", "repeat", "series", "note", "x", "x_unit", "y", "y_unit",
    "low", "high",
)  # fmt: skip
# What a spreadsheet takes for the beginning of a formula; East Asian ones in full width, too.
_FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def render(report: AnyReport) -> str:
    """The table with its head; rows without a figure are left out."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows_of(report):
        if row.y is not None:
            cells = (report.kind, *(getattr(row, column) for column in COLUMNS[1:]))
            writer.writerow(map(_cell, cells))
    return text.getvalue()


def _cell(value: object) -> object:
    """Numbers as they are; text from outside neither ends a line nor is a formula."""
    if not isinstance(value, str):
        return value
    text = one_line(value)
    return f"'{text}" if text.lstrip().startswith(_FORMULA) else text
