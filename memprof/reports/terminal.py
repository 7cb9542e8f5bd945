"""The report on a terminal, with rich."""

from __future__ import annotations

import io
from typing import TextIO

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from memprof.reports.view import Table, View


def render_for(stream: TextIO, view: View) -> str:
    """The report as wide as the terminal; plain where `stream` is none or NO_COLOR is set."""
    console = Console(file=stream)
    return render(view, width=console.width, color=console.is_terminal and not console.no_color)


def render(view: View, *, width: int, color: bool) -> str:
    """The report as text for a terminal `width` columns wide; `color` adds escape sequences."""
    console = Console(
        file=io.StringIO(), width=width, force_terminal=color, no_color=not color, highlight=False
    )
    console.print(f"\n[bold]{escape(view.title)}[/]")
    console.print(escape(view.headline))
    for section in view.sections:
        console.print(f"\n[bold cyan]{escape(section.title)}[/]")
        for table in section.tables:
            console.print(_table(table))
        for line in section.text:
            console.print(f"[dim]{escape(line)}[/]")
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def _table(table: Table) -> RichTable:
    drawn = RichTable(
        title=escape(table.title) or None,
        title_justify="left",
        title_style="italic",
        box=box.SIMPLE_HEAD if any(table.columns) else None,
        show_header=any(table.columns),
        pad_edge=False,
    )
    for position, column in enumerate(table.columns):
        figure = position > 0 and table.kind == "figures"
        clipped = table.kind == "source"
        last = position == len(table.columns) - 1
        drawn.add_column(
            escape(column),
            justify="right" if figure else "left",
            no_wrap=figure or clipped,
            overflow="ellipsis" if clipped else "fold",
            min_width=_widest(table, position) if clipped and not last else None,
        )
    for row in table.rows:
        drawn.add_row(*(escape(cell) for cell in row))
    return drawn


def _widest(table: Table, position: int) -> int:
    return max((len(row[position]) for row in table.rows), default=0)
