"""The report on a terminal, with rich; and charts as plain text, the same there and in Markdown."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Sequence
from itertools import zip_longest
from textwrap import TextWrapper
from typing import TextIO

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from memprof.render import Chart, Section, Table, View, shown
from memprof.text import harmless

_LEAST_WIDTH = 16  # of a name or a line of source beside figures
# Where a name may go on in the next line: white space to rich, of no width, and not shown.
_MAY_END, _NAME_ENDS = "\x1f", re.compile(r"(?<=[./:])(?=[^\W\d])")


SCREEN_LINES = 40
"""What a command prints at most, unless all of a report is asked for."""


def render_for(stream: TextIO, view: View, *, full: bool = True, last: str = "") -> str:
    """The report as wide as the terminal, and what is to be said `last`; plain where `stream` is
    none or NO_COLOR is set. Unless all of it is to be shown, it is one screen."""
    console = Console(file=stream)
    width, color = console.width, console.is_terminal and not console.no_color
    wrapped = TextWrapper(width, break_on_hyphens=False, break_long_words=False)
    end = "\n".join(wrapped.fill(line) for line in last.split("\n"))
    if full:
        return f"{render(view, width=width, color=color)}{end}"
    room = SCREEN_LINES - end.count("\n")
    return f"{render_brief(view, width=width, color=color, room=room)}{end}"


def render(view: View, *, width: int, color: bool) -> str:
    """The report as text for a terminal `width` columns wide; `color` adds escape sequences."""
    return _rendered(view, view.sections, width, color)


def render_brief(view: View, *, width: int, color: bool, room: int = SCREEN_LINES) -> str:
    """What matters most of it, in `room` lines; where that is cut short, the last one says so."""
    lines = _rendered(view, view.brief or view.sections, width, color).rstrip().split("\n")
    if len(lines) > room:
        lines[room - 1 :] = [f"… {len(lines) - room + 1} more lines: --full"]
    return "\n".join(lines) + "\n"


def _rendered(view: View, sections: Sequence[Section], width: int, color: bool) -> str:
    console = Console(
        file=io.StringIO(),
        width=width,
        force_terminal=color,
        no_color=not color,
        highlight=False,
        force_jupyter=False,  # else it is shown at once
    )
    console.print(Text("\n").append_text(_text(view.title, "bold")))
    console.print(_text(view.headline))
    if view.next is not None:
        console.print(_text(view.next.text))
        for line in view.next.code.splitlines():
            console.print(_text(f"    {line}"), soft_wrap=True)  # a broken line does not run
    for section in sections:
        if section.title:
            console.print(Text("\n").append_text(_text(section.title, "bold cyan")))
        for chart in section.charts:
            console.print(_text(chart.title, "italic"))
            console.print(_text("\n".join(draw(chart, width))), no_wrap=True)
        for table in section.tables:
            console.print(_table(table, width) if _fits(table, width) else _listed(table))
        for line in section.text:
            console.print(_text(line, "dim"))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().replace(_MAY_END, "")


def render_table(table: Table, *, width: int) -> str:
    """One table as plain text."""
    console = Console(
        file=io.StringIO(), width=width, no_color=True, highlight=False, force_jupyter=False
    )
    console.print(_table(table, width))
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue().replace(_MAY_END, "")
    return "\n".join(line.rstrip() for line in text.rstrip().split("\n"))


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
        drawn.add_row(*map(_cell, row))
    return drawn


def _cell(text: str) -> Text:
    """A name alone that is too long goes on after one of its dots or slashes, not amid a word."""
    return _text(text) if " " in text else Text(_NAME_ENDS.sub(_MAY_END, harmless(text)))


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


# ---------------------------------------------------------------- charts

_HEIGHT = 9  # rows between the lowest and the highest tick, about
_MOST_WIDTH = 80
_LEAST_COLUMNS = 10
_MOST_Y_TICKS = 5
_MARKS, _ABOVE, _BELOW = "●○", "↑", "↓"
_LEAST_SHARE = 1e-9  # of the largest value: nearer to each other, ticks would be the same


def draw(chart: Chart, width: int) -> list[str]:
    """The chart in lines of at most `width` characters."""
    ticks = _ticks(*_y_range(chart), _MOST_Y_TICKS)
    labels = [shown(tick, chart.unit) for tick in ticks]
    margin = max(map(len, (*labels, chart.x_label)))
    x_low, x_high = _x_range(chart)
    room = min(width, _MOST_WIDTH) - margin - 1 - len(f"{x_high:g}")
    columns = _columns(x_high - x_low, room)

    rows_per_tick = max(1, round(_HEIGHT / (len(ticks) - 1)))
    rows = [[" "] * columns for _ in range(rows_per_tick * (len(ticks) - 1) + 1)]  # lowest first
    legend: dict[str, str] = {}
    for series, mark in reversed(list(zip(chart.series, _MARKS, strict=False))):
        for x, y in series.points:
            column = round((x - x_low) / (x_high - x_low) * (columns - 1))
            row = round((y - ticks[0]) / (ticks[-1] - ticks[0]) * (len(rows) - 1))
            drawn, where = (
                (_BELOW, ", below the chart")
                if row < 0
                else (_ABOVE, ", above the chart")
                if row >= len(rows)
                else (mark, "")
            )
            rows[min(max(row, 0), len(rows) - 1)][column] = drawn
            legend[drawn] = f"{drawn} {series.name}{where}"

    lines = []
    for number, row_marks in reversed(list(enumerate(rows))):
        tick, between = divmod(number, rows_per_tick)
        label, axis = ("", "│") if between else (labels[tick], "┤")
        lines.append(f"{label:>{margin}} {axis}{''.join(row_marks)}".rstrip())
    lines += _x_axis(chart.x_label, margin, columns, x_low, x_high)
    if len([each for each in chart.series if each.points]) > 1:
        words = [legend[mark] for mark in (*_MARKS, _BELOW, _ABOVE) if mark in legend]
        lines.append(f"{'':>{margin}}  {', '.join(words)}")
    return lines


def _y_range(chart: Chart) -> tuple[float, float]:
    values = [y for series in chart.series if series.fits for _, y in series.points]
    low, high = min(values), max(values)
    return low, max(high, low + max(chart.least_span, _LEAST_SHARE * max(-low, high)))


def _x_range(chart: Chart) -> tuple[float, float]:
    values = [x for series in chart.series for x, _ in series.points]
    return min(values), max(values)


def _columns(span: float, room: int) -> int:
    """As many columns as there is room for, the same number for each unit of x if that fits."""
    room = max(room, _LEAST_COLUMNS)
    each = int((room - 1) // span)
    return round(span * each) + 1 if each else room


def _ticks(low: float, high: float, most: int) -> list[float]:
    """1, 2 or 5 times a power of ten apart, from at or below `low` to at or above `high`, with at
    most `most` (two or more) distances in between."""
    power = 10.0 ** math.floor(math.log10((high - low) / most))
    while True:
        for step in (power, 2 * power, 5 * power):
            first, last = math.floor(low / step), math.ceil(high / step)
            if last - first <= most:
                return [step * number for number in range(first, last + 1)]
        power *= 10


def _x_axis(label: str, margin: int, columns: int, low: float, high: float) -> list[str]:
    widest = max(len(f"{low:g}"), len(f"{high:g}")) + 3
    most = max(2, min(columns // widest, int(high - low)))
    line, names = ["─"] * columns, [" "] * (columns + widest)
    for tick in _ticks(low, high, most):
        if low <= tick <= high:
            column = round((tick - low) / (high - low) * (columns - 1))
            line[column] = "┬"
            name = f"{tick:g}"
            names[column : column + len(name)] = name
    return [
        f"{'':>{margin}} └{''.join(line)}",
        f"{label:>{margin}}  {''.join(names).rstrip()}",
    ]
