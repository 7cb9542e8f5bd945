"""The pictures of a density report, and what they show: which sizes, in which words."""

from __future__ import annotations

from collections.abc import Iterator

from memprof.render import Band, Bars, BarSeries, Chart, Series, one_each, positive
from memprof.text import counted, format_limit, format_size
from memprof.values.density import DensityReport, SizeRow
from memprof.values.report import PerAgent, VariantName

_LEAST_SPAN = 0.05
_WIDE = 1_000  # sizes so far apart would leave the small ones on one spot


def shown_sizes(points: tuple[SizeRow, ...], name: VariantName) -> list[SizeRow]:
    """The sizes that were asked for, and the largest."""
    rows = [row for row in points if row.variant == name]
    return [row for row in rows if row.steps_per_second is not None or row is rows[-1]]


def memory_charts(report: DensityReport) -> Iterator[Chart]:
    """Both variants over the sizes that both have, and alone one that goes far beyond."""
    shown = {name: shown_sizes(report.density.points, name) for name, _ in report.variants.named()}
    common = min(rows[-1].agents for rows in shown.values())
    costs = {name: variant.per_agent for name, variant in report.variants.named()}
    both = {name: [r for r in rows if r.agents <= common] for name, rows in shown.items()}
    if len({row.agents for rows in both.values() for row in rows}) > 1:
        yield _chart("total memory (USS) against agents", both, costs)
    for name, rows in shown.items():
        if rows[-1].agents > 2 * common:
            yield _chart(f"total memory (USS) against agents, {name}", {name: rows}, costs)


def _chart(
    title: str, rows: dict[VariantName, list[SizeRow]], costs: dict[VariantName, PerAgent]
) -> Chart:
    series = tuple(
        Series(name, tuple((float(row.agents), row.total_bytes) for row in each), role=name)
        for name, each in rows.items()
    )
    largest = max(row.total_bytes for each in rows.values() for row in each)
    alt = "; ".join(
        f"{name}: {format_size(each[-1].total_bytes)} with {counted(each[-1].agents, 'agent')}"
        for name, each in rows.items()
    )
    bands = tuple(_interval(name, each, costs[name]) for name, each in rows.items())
    return Chart(title, alt, "agents", "bytes", series, bands, least_span=_LEAST_SPAN * largest)


def _interval(name: VariantName, rows: list[SizeRow], cost: PerAgent) -> Band:
    """The line through memory against agents, at both ends of its slope's interval."""
    low, high = positive(cost.ci95_bytes)
    ends = (
        (
            float(row.agents),
            cost.fixed_bytes + row.agents * low,
            cost.fixed_bytes + row.agents * high,
        )
        for row in rows
    )
    return Band(f"{name}, 95 % interval of the line", tuple(ends), role=name)


def capacity_bars(report: DensityReport) -> Bars:
    """How many agents fit, before and after."""
    rooms = [each.room for each in report.density.capacity]
    limit = format_limit(rooms[0].limit_bytes)
    names = tuple(each.variant for each in report.density.capacity)
    alt = ", ".join(f"{n} {count(r.agents)}" for n, r in zip(names, rooms, strict=True))
    values = [(name, float(room.agents)) for name, room in zip(names, rooms, strict=True)]
    return one_each(f"agents that fit in {limit}", alt, "count", names, values)


def limit_bars(report: DensityReport) -> Iterator[Bars]:
    """What fills the lowest bound: the process without agents, the transient peak, and what is left
    for agents."""
    rooms = {
        each.variant: each.room
        for each in report.density.capacity
        if each.room.empty_bytes is not None
    }
    if not rooms:
        return
    taken = {
        name: (
            (empty := min(room.empty_bytes or 0.0, room.limit_bytes)),
            room.transient_bytes or 0.0,
            max(0.0, room.limit_bytes - empty - (room.transient_bytes or 0.0)),
        )
        for name, room in rooms.items()
    }
    limit = format_limit(next(iter(rooms.values())).limit_bytes)
    alt = "; ".join(
        f"{name}: {format_size(empty)} without agents, {format_size(left)} left for them"
        for name, (empty, _, left) in taken.items()
    )
    names = ("process without agents", "transient peak", "agents")
    series = [BarSeries(name, sizes, name) for name, sizes in taken.items()]
    yield Bars.visible(f"what fills {limit}", alt, "bytes", names, series)


def speed_chart(report: DensityReport) -> Iterator[Chart]:
    """Steps per second of all agents together, against how many there are."""
    series = tuple(
        Series(
            name,
            tuple(
                (float(row.agents), row.steps_per_second)
                for row in report.density.points
                if row.variant == name and row.steps_per_second
            ),
            joined=True,
            role=name,
        )
        for name, _ in report.variants.named()
    )
    known = tuple(each for each in series if each.points)
    sizes = {agents for each in known for agents, _ in each.points}
    if len(sizes) > 1:
        alt = "; ".join(f"{each.name} {rate(each.points[-1][1])} per second" for each in known)
        yield Chart(
            "steps per second against agents",
            alt,
            "agents",
            "count",
            known,
            x_log=max(sizes) > _WIDE * min(sizes),
        )


def count(number: float) -> str:
    return f"{number:,.0f}"


def rate(per_second: float | None) -> str:
    if per_second is None:
        return "-"
    return f"{per_second:,.0f}" if per_second >= 100 else f"{per_second:.3g}"
