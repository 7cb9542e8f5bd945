"""What a report looks like to all formats for people: sections of text, tables and pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from memprof.catalogue import load_target
from memprof.catalogue.formats import VIEWS
from memprof.export.json_text import AnyReport
from memprof.text import counted, format_seconds, format_size
from memprof.values.figures import Figure
from memprof.values.instruments import SourceLine
from memprof.values.measurements import WorkingSetUse
from memprof.values.profile import Advice
from memprof.values.report import BudgetCheck, Caution, Environment, Interval

Unit = Literal["bytes", "change", "seconds", "count", "percent"]
"""What a figure in a picture is; a change is in bytes, with its sign."""
Role = Literal["", "before", "after", "worse", "quiet"]
"""What a series stands for: the population without passes, with them, what got worse, or what does
not count."""
_T = TypeVar("_T")
_MOST_BRIEF = 3  # of what is said on a terminal's screen
_MOST_LINEAR = 100  # between bars on one scale: a hundredth of the width is a few pixels


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
        joined: by a line, instead of being drawn one by one.
    """

    name: str
    points: tuple[tuple[float, float], ...]
    fits: bool = True
    joined: bool = False
    role: Role = ""


@dataclass(frozen=True, slots=True)
class Band:
    """An interval around a series: points (x, low, high)."""

    name: str
    points: tuple[tuple[float, float, float], ...]
    role: Role = ""


@dataclass(frozen=True, slots=True)
class Moment:
    """Something that began at `x`."""

    x: float
    label: str


@dataclass(frozen=True, slots=True)
class Chart:
    """Points of y against x.

    Attributes:
        alt: what it shows, in words.
        x_label: what x counts.
        unit: of y.
        series: drawn differently, the first one on top; together two points or more, of different
            x.
        least_span: the y axis spans at least this much, so that noise does not fill the chart.
        x_log: equal distances along x are equal ratios; only pages draw it so.
    """

    title: str
    alt: str
    x_label: str
    unit: Unit
    series: tuple[Series, ...]
    bands: tuple[Band, ...] = ()
    moments: tuple[Moment, ...] = ()
    least_span: float = 1.0
    x_unit: Unit = "count"
    x_log: bool = False


@dataclass(frozen=True, slots=True)
class BarSeries:
    """A value for each name of `Bars`; None where there is none."""

    name: str
    values: tuple[float | None, ...]
    role: Role = ""


@dataclass(frozen=True, slots=True)
class Bars:
    """Values side by side, for each of some names; `log` if equal lengths are equal ratios."""

    title: str
    alt: str
    unit: Unit
    names: tuple[str, ...]
    series: tuple[BarSeries, ...]
    log: bool = False

    @classmethod
    def visible(
        cls, title: str, alt: str, unit: Unit, names: Sequence[str], series: Sequence[BarSeries]
    ) -> Bars:
        """On the scale on which the smallest can be seen beside the largest; none is below 0."""
        title, log = _scaled(title, (value or 0.0 for each in series for value in each.values))
        return cls(title, alt, unit, tuple(names), tuple(series), log)


@dataclass(frozen=True, slots=True)
class Level:
    """What is left after one step of a waterfall; `note` says more of the step."""

    name: str
    value: float
    note: str = ""


@dataclass(frozen=True, slots=True)
class Waterfall:
    """How a figure goes down, or up, from level to level; the first is where it starts."""

    title: str
    alt: str
    unit: Unit
    levels: tuple[Level, ...]
    log: bool = False

    @classmethod
    def visible(cls, title: str, alt: str, unit: Unit, levels: Sequence[Level]) -> Waterfall:
        """As `Bars.visible`."""
        title, log = _scaled(title, (each.value for each in levels))
        return cls(title, alt, unit, tuple(levels), log)


def _scaled(title: str, values: Iterable[float]) -> tuple[str, bool]:
    """Whether a picture's scale is logarithmic, with a title that says so: where the smallest value
    above 0 would be too short to be seen beside the largest."""
    above = [value for value in values if value > 0]
    if not above or max(above) <= _MOST_LINEAR * min(above):
        return title, False
    return f"{title} (logarithmic scale)", True


@dataclass(frozen=True, slots=True)
class Node:
    """A part of a whole: `value` includes that of its children."""

    name: str
    value: float
    note: str = ""
    children: tuple[Node, ...] = ()


@dataclass(frozen=True, slots=True)
class Tree:
    """Parts of parts: side by side (treemap), or callees on callers (flame graph)."""

    title: str
    alt: str
    unit: Unit
    kind: Literal["treemap", "flame"]
    root: Node


Picture = Chart | Bars | Waterfall | Tree


@dataclass(frozen=True, slots=True)
class Section:
    """`charts` are drawn by every format, `pictures` where there is more than text; `reference` is
    what is looked up, and no part of the answer."""

    title: str
    text: tuple[str, ...]
    tables: tuple[Table, ...] = ()
    charts: tuple[Chart, ...] = ()
    pictures: tuple[Picture, ...] = ()
    reference: bool = False


@dataclass(frozen=True, slots=True)
class Next:
    """What to do now: a sentence, and the lines that do it (empty where there are none)."""

    text: str
    code: str = ""


@dataclass(frozen=True, slots=True)
class View:
    """A report as people read it, what matters most first.

    Attributes:
        headline: what was found, in a sentence.
        picture: the same at a glance.
        next: what to do about it; None where nothing is to be done.
        brief: what a terminal shows of it on one screen, in sections without a title where that
            would say nothing; empty where all of it is short.
    """

    title: str
    headline: str
    sections: tuple[Section, ...]
    picture: Picture | None = None
    next: Next | None = None
    brief: tuple[Section, ...] = ()


def view_of(report: AnyReport) -> View:
    """What a person reads of a report, of whatever kind."""
    view: View = load_target(VIEWS[report.kind])(report)
    return view


def shown(value: float, unit: Unit) -> str:
    """A figure of a picture in words, as short as it can be; assets/figures.js is its twin."""
    match unit:
        case "bytes":
            return format_size(value)
        case "change":
            return format_size(value, signed=True)
        case "seconds":
            return format_seconds(value) if value else "0 s"
        case "percent":
            return f"{_number(value, 3)} %"
        case "count":
            return _number(value, 4)


def _number(value: float, digits: int) -> str:
    """So many digits, and all of those before the point."""
    whole = int(abs(value))
    behind = max(0, digits - (len(str(whole)) if whole else 0))
    text = f"{value:,.{behind}f}"
    short = text.rstrip("0").rstrip(".") if behind else text
    return "0" if short == "-0" else short


def figure_rows(
    figures: Iterable[Figure[_T]], variants: Sequence[_T], *, ends: bool = True, **words: object
) -> Iterator[tuple[str, ...]]:
    """The rows of a table: each figure of all variants, and below it the `ends` of its interval if
    it has one; `words` are what the labels leave open."""
    for each in figures:
        found = [each.read(variant) for variant in variants]
        if each.if_any and not any(found):
            continue
        show = _CELLS[each.unit]
        cells = (cell if isinstance(cell, str) else show(cell) for cell in found)
        yield (each.label.format(**words), *cells)
        if ends and each.ci95 is not None:
            bounds = (each.ci95(variant) for variant in variants)
            yield ("  95 % interval", *(interval(positive(each), show) for each in bounds))


_CELLS: Mapping[str, Callable[[float | None], str]] = {
    "bytes": format_size,
    "seconds": format_seconds,
    "count": lambda number: "-" if number is None else f"{number:,.0f}",
    "rate": lambda number: "-" if number is None else f"{number:.3g}",
}


def interval(bounds: Interval | None, show: Callable[[float], str]) -> str:
    """`low .. high`, or `-` where there is none."""
    return "-" if bounds is None else f"{show(bounds[0])} .. {show(bounds[1])}"


def positive(bounds: Interval) -> Interval:
    """No memory and no time is less than none, whatever the noise says."""
    return max(0.0, bounds[0]), max(0.0, bounds[1])


def one_each(
    title: str, alt: str, unit: Unit, names: Sequence[str], values: Sequence[tuple[Role, float]]
) -> Bars:
    """A bar for each name, in the colour of its role."""
    series = tuple(
        BarSeries(role, tuple(value if index == row else None for row in range(len(values))), role)
        for index, (role, value) in enumerate(values)
    )
    return Bars.visible(title, alt, unit, names, series)


def budget_line(budget: BudgetCheck) -> str:
    """What is left of the scenario's budget, or by how much it is exceeded."""
    state = "met" if budget.kept else "EXCEEDED"
    return (
        f"Budget: {state}; {format_size(budget.marginal_bytes)} of "
        f"{format_size(budget.limit_bytes)} per agent."
    )


def working_set_line(use: WorkingSetUse) -> str:
    """What the pass `working_set` did."""
    uses = use.hits + use.activations - use.activated_ahead
    ahead = f", {use.activated_ahead:,} of them ahead" if use.activated_ahead else ""
    activated = f"{counted(use.activations, 'activation')}{ahead}"
    return (
        f"Working set: {counted(use.active_agents, 'active agent')} with "
        f"{format_size(use.active_bytes)} (at most {format_size(use.most_active_bytes)}) of "
        f"{format_size(use.budget_bytes)}; in {use.hits / max(1, uses):.1%} of "
        f"{counted(uses, 'use')} the agent was already active; {activated}, "
        f"{counted(use.hibernations, 'passivation')}."
    )


def source_table(title: str, figure: str, lines: Iterable[tuple[SourceLine, str]]) -> Table:
    """Lines of source, each with its figure in words."""
    rows = tuple((each.place, said, each.text) for each, said in lines)
    return Table(title, ("line", figure, "source"), rows, "source")


def warnings_table(title: str, warnings: Iterable[Caution]) -> Table:
    """What a reader must know before using a figure, and what to do about it."""
    rows = tuple((each.kind, each.evidence, each.remedy) for each in warnings)
    return Table(title, ("kind", "evidence", "what to do"), rows, "prose")


def warnings_section(warnings: Sequence[Caution]) -> Iterator[Section]:
    """The same as a section; none where there are no warnings."""
    if warnings:
        yield Section("Warnings", (), (warnings_table("", warnings),))


def brief_warnings(warnings: Sequence[Caution]) -> Iterator[Section]:
    """The first of them, a line or two each."""
    if warnings:
        yield _brief(
            "Warnings", [(each.kind, f"{each.evidence}; {each.remedy}") for each in warnings]
        )


def brief_advice(advice: Sequence[Advice]) -> Iterator[Section]:
    """The most valuable advice, with the bytes that it is about."""
    if advice:
        rows = [
            (format_size(each.stake_bytes or None), f"{each.finding} {each.remedy}")
            for each in sorted(advice, key=lambda each: not each.stake_bytes)
        ]
        yield _brief("Advice", rows)


def _brief(title: str, rows: Sequence[tuple[str, str]]) -> Section:
    more = len(rows) - _MOST_BRIEF
    title += f" ({_MOST_BRIEF} of {len(rows)})" if more > 0 else ""
    return Section(title, (), (Table("", ("", ""), tuple(rows[:_MOST_BRIEF]), "prose"),))


def advice_section(advice: Sequence[Advice]) -> Iterator[Section]:
    """What was found, what shows it, and what to do about it or what has been done; none where
    there is no advice."""
    if not advice:
        return
    rows = tuple((each.finding, each.evidence, each.remedy) for each in advice)
    columns = ("finding", "evidence", "what to do")
    text = (
        "Open findings first, then those a pass already fixes, each ranked by the bytes at stake. "
        "Savings are measured; where none is given, the evidence is what agents hold, not what a "
        "pass would save.",
    )
    yield Section("Advice", text, (Table("", columns, rows, "prose"),))


def environment_section(machine: Environment) -> Section:
    """The machine and the software that the figures belong to."""
    limit = machine.cgroup_limit_bytes or machine.rlimit_bytes
    limited = f"limit {format_size(limit)}" if limit else "no limit"
    python = f"; {machine.python_build}" if machine.python_build else ""
    pages = f", pages of {machine.page_bytes:,} bytes" if machine.page_bytes else ""
    rows = [
        ("versions", f"{_pairs(machine.versions)}{python}"),
        ("platform", f"{machine.platform}, {machine.cpu_count} CPUs, device {machine.device}"),
        ("backend", _pairs(machine.backend)),
        ("memory", f"{format_size(machine.total_memory_bytes)}, {limited}{pages}"),
        ("huge pages", machine.huge_pages),
        ("allocator", _pairs(machine.allocator)),
    ]
    said = tuple(row for row in rows if row[0] != "backend" or machine.backend)
    return Section("Environment", (), (Table("", ("", ""), said, "prose"),), reference=True)


def _pairs(values: dict[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())
