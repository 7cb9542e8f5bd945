"""A chart as plain text, the same on a terminal and in Markdown."""

from __future__ import annotations

import math

from memprof.render.page import Chart, shown

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
