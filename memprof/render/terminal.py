"""The report on a terminal, with rich."""

from __future__ import annotations

import io
from itertools import zip_longest
from typing import TextIO

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from memprof.render.chart import draw
from memprof.render.page import Table, View
from memprof.text import harmless

_LEAST_WIDTH = 16  # of a name or a line of source beside figures


def render_for(stream: TextIO, view: View) -> str:
    """The report as wide as the terminal; plain where `stream` is none or NO_COLOR is set."""
    console = Console(file=stream)
    return render(view, width=console.width, color=console.is_terminal and not console.no_color)


def render(view: View, *, width: int, color: bool) -> str:
    """The report as text for a terminal `width` columns wide; `color` adds escape sequences."""
    console = Console(
        file=io.StringIO(), width=width, force_terminal=color, no_color=not color, highlight=False
    )
    console.print(Text("\n").append_text(_text(view.title, "bold")))
    console.print(_text(view.headline))
    if view.next is not None:
        console.print(_text(view.next.text))
        for line in view.next.code.splitlines():
            console.print(_text(f"    {line}"), soft_wrap=True)  # a broken line does not run
    for section in view.sections:
        console.print(Text("\n").append_text(_text(section.title, "bold cyan")))
        for chart in section.charts:
            console.print(_text(chart.title, "italic"))
            console.print(_text("\n".join(draw(chart, width))), no_wrap=True)
        for table in section.tables:
            console.print(_table(table, width) if _fits(table, width) else _listed(table))
        for line in section.text:
            console.print(_text(line, "dim"))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def render_table(table: Table, *, width: int) -> str:
    """One table as plain text."""
    console = Console(file=io.StringIO(), width=width, no_color=True, highlight=False)
    console.print(_table(table, width))
    assert isinstance(console.file, io.StringIO)
    return "\n".join(line.rstrip() for line in console.file.getvalue().rstrip().split("\n"))


def _fits(table: Table, width: int) -> bool:
    """Whether its figures have room, and its names and lines of source enough to be read."""
    if table.kind == "prose":
        return True
    columns = zip_longest(table.columns, *table.rows, fillvalue="")
    widest = [max(map(cell_len, cells)) for cells in columns]
    widest[0] = min(widest[0], _LEAST_WIDTH)
    if table.kind == "source":
        widest[-1] = min(widest[-1], _LEAST_WIDTH)
    return sum(widest) + 3 * len(widest) - 1 <= width


def _listed(table: Table) -> Text:
    """A table that is too wide, with each cell on a line of its own."""
    lines = [_text(table.title, "italic")] if table.title else []
    for name, *cells in table.rows:
        lines.append(_text(name))
        for column, cell in zip(table.columns[1:], cells, strict=False):
            if cell:
                lines.append(_text(f"    {column}: {cell}" if column else f"    {cell}"))
    return Text("\n").join([*lines, Text()])


def _table(table: Table, width: int) -> RichTable:
    headed = any(table.columns)
    drawn = RichTable(
        title=_text(table.title, "italic") if table.title else None,
        title_justify="left",
        box=box.SIMPLE_HEAD if headed else None,
        show_header=headed,
        pad_edge=False,
    )
    for position, column in enumerate(table.columns):
        figure = position > 0 and table.kind == "figures"
        source = position > 0 and table.kind == "source"
        drawn.add_column(
            _text(column),
            justify="right" if figure else "left",
            no_wrap=figure or source,
            overflow="fold",
        )
    for row in table.rows if table.kind != "source" else _clipped(table, width):
        drawn.add_row(*map(_text, row))
    return drawn


def _text(text: str, style: str = "") -> Text:
    """Text from scenarios and source lines is data: it commands neither rich nor the terminal."""
    return Text(harmless(text), style)


def _clipped(table: Table, width: int) -> list[tuple[str, ...]]:
    """Rows whose last cell, a line of source, is cut off at the terminal's edge."""
    others = zip(*(row[:-1] for row in (table.columns, *table.rows)), strict=True)
    room = width - sum(max(map(len, cells)) + 4 for cells in others)
    return [
        (*row[:-1], row[-1] if len(row[-1]) <= room else row[-1][: max(0, room - 1)] + "…")
        for row in table.rows
    ]
