"""What a report looks like to all formats for people: sections of text and tables."""

from __future__ import annotations

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
class Section:
    title: str
    text: tuple[str, ...]
    tables: tuple[Table, ...] = ()


@dataclass(frozen=True, slots=True)
class View:
    title: str
    headline: str
    sections: tuple[Section, ...]
