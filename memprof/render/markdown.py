"""The report as GitHub-flavoured Markdown."""

from __future__ import annotations

import re

from memprof.export.json_text import AnyReport
from memprof.render import Chart, Next, Table, View, view_of
from memprof.render.terminal import draw
from memprof.text import inert, one_line

_CHART_WIDTH = 80
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~])")


def render(report: AnyReport) -> str:
    """The whole report as Markdown text."""
    return render_view(view_of(report))


def render_view(view: View) -> str:
    """The same of a view."""
    parts = [f"# {_text(view.title)}", f"**{_text(view.headline)}**"]
    if view.next is not None:
        parts += _next(view.next)
    for section in view.sections:
        parts.append(f"## {_text(section.title)}")
        parts += [_text(line) for line in section.text]
        parts += [_chart(chart) for chart in section.charts]
        parts += [_table(table) for table in section.tables]
    return "\n\n".join(parts) + "\n"


def _next(found: Next) -> list[str]:
    """What to do, and its lines between fences longer than any run of backticks in them."""
    if not found.code:
        return [_text(found.text)]
    longest = max((len(run) for run in re.findall("`+", found.code)), default=0)
    fence = "`" * max(3, longest + 1)
    return [_text(found.text), f"{fence}\n{inert(found.code)}\n{fence}"]


def _chart(chart: Chart) -> str:
    lines = inert("\n".join(draw(chart, _CHART_WIDTH)))
    return f"*{_text(chart.title)}*\n\n```text\n{lines}\n```"


def _table(table: Table) -> str:
    rule = ["---"] + ["---" if table.kind != "figures" else "---:"] * (len(table.columns) - 1)
    lines = [f"*{_text(table.title)}*\n"] if table.title else []
    for row in (table.columns, rule, *table.rows):
        cells = row if row is rule else [_text(cell) for cell in row]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _text(text: str) -> str:
    """Text from scenarios and source lines is data: nothing in it is markup, another line, or a
    command to a CI server that reads it."""
    return _SPECIAL.sub(r"\\\1", one_line(text.strip()))
