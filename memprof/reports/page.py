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
class Chart:
    """Points of y against x.

    Attributes:
        x_label: what x counts.
        show: a value of y in words, as short as it can be.
        points: (x, y); two or more, of different x.
        left_out: points that do not count. They are drawn differently, and where they do not fit
            between the others, at the edge.
        least_span: the y axis spans at least this much, so that noise does not fill the chart.
    """

    title: str
    x_label: str
    show: Callable[[float], str]
    points: tuple[tuple[float, float], ...]
    left_out: tuple[tuple[float, float], ...] = ()
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
