"""What a report looks like to all formats for people: sections of text, tables and charts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Table:
    """Cells as text; the first column is a name. The others are figures (aligned to the right),
    prose (wrapped), or a figure and a line of source (cut off where it is too long)."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    kind: Literal["figures", "prose", "source"] = "figures"


@dataclass(frozen=True, slots=True)
class Series:
    """Points (x, y) of a chart that belong together.

    Attributes:
        fits: the y axis spans them; points of a series that does not are drawn at its edge.
    """

    name: str
    points: tuple[tuple[float, float], ...]
    fits: bool = True


@dataclass(frozen=True, slots=True)
class Chart:
    """Points of y against x.

    Attributes:
        x_label: what x counts.
        show: a value of y in words, as short as it can be.
        series: drawn differently, the first one on top; together two points or more, of different
            x.
        least_span: the y axis spans at least this much, so that noise does not fill the chart.
    """

    title: str
    x_label: str
    show: Callable[[float], str]
    series: tuple[Series, ...]
    least_span: float = 1.0


@dataclass(frozen=True, slots=True)
class Section:
    title: str
    text: tuple[str, ...]
    tables: tuple[Table, ...] = ()
    charts: tuple[Chart, ...] = ()


@dataclass(frozen=True, slots=True)
class View:
    title: str
    headline: str
    sections: tuple[Section, ...]
