"""What the views of all reports share: intervals in words, warnings, the environment."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from memprof.measurements import WorkingSetUse
from memprof.reports.page import Bars, BarSeries, Role, Section, Table, Unit
from memprof.results import Advice, BudgetCheck, Caution, Environment, Interval, Report, Variant
from memprof.units import format_size


def named_variants(report: Report) -> Iterator[tuple[Role, Variant]]:
    """Before, and after where there are passes."""
    yield "before", report.variants.before
    if report.variants.after is not None and report.variants.after.passes:
        yield "after", report.variants.after


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
    return Bars(title, alt, unit, tuple(names), series)


def budget_line(budget: BudgetCheck) -> str:
    """What is left of the scenario's budget, or by how much it is broken."""
    state = "kept" if budget.kept else "BROKEN"
    return (
        f"Budget: {state}; {format_size(budget.marginal_bytes)} of "
        f"{format_size(budget.limit_bytes)} per agent."
    )


def working_set_line(use: WorkingSetUse) -> str:
    """What the pass `working_set` did."""
    uses = use.hits + use.activations - use.activated_ahead
    ahead = f", {use.activated_ahead:,} of them ahead" if use.activated_ahead else ""
    return (
        f"Working set: {use.active_agents:,} agents are active and take "
        f"{format_size(use.active_bytes)} (at most {format_size(use.most_active_bytes)}) of "
        f"{format_size(use.budget_bytes)}; in {use.hits / max(1, uses):.1%} of {uses:,} uses the "
        f"agent was active already; {use.activations:,} were activated{ahead}, "
        f"{use.hibernations:,} hibernated."
    )


def warnings_section(warnings: Sequence[Caution]) -> Section:
    """What a reader must know before using a figure, and what to do about it."""
    rows = tuple((each.kind, each.evidence, each.remedy) for each in warnings)
    return Section("Warnings", (), (Table("", ("kind", "evidence", "what to do"), rows, "prose"),))


def advice_section(advice: Sequence[Advice]) -> Section:
    """What was found, what shows it, and what to do about it or what has been done."""
    rows = tuple((each.finding, each.evidence, each.remedy) for each in advice)
    columns = ("finding", "evidence", "what to do")
    text = (
        "What is open comes first, then what a pass of the plan has taken care of; each by the "
        "bytes that it is about for all agents. Savings are those that were measured; evidence "
        "without one says what agents hold, not what a pass would save.",
    )
    return Section("Advice", text, (Table("", columns, rows, "prose"),))


def environment_section(machine: Environment) -> Section:
    """The machine and the software that the figures belong to."""
    limit = machine.cgroup_limit_bytes or machine.rlimit_bytes
    limited = f"limit {format_size(limit)}" if limit else "no limit"
    rows = [
        ("versions", _pairs(machine.versions)),
        ("platform", f"{machine.platform}, {machine.cpu_count} CPUs, device {machine.device}"),
        ("backend", _pairs(machine.backend)),
        ("memory", f"{format_size(machine.total_memory_bytes)}, {limited}"),
        ("huge pages", machine.huge_pages),
        ("allocator", _pairs(machine.allocator)),
    ]
    said = tuple(row for row in rows if row[0] != "backend" or machine.backend)
    return Section("Environment", (), (Table("", ("", ""), said, "prose"),))


def _pairs(values: dict[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())
