"""What a gate or a check found, in words that all formats share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial

from memprof.errors import BehaviourDiverged, MemprofError
from memprof.render import Table, interval, positive
from memprof.render.terminal import render_table
from memprof.text import counted, format_size
from memprof.values.gate import (
    METRICS,
    Change,
    Comparison,
    ComponentChange,
    MetricChange,
    PassChange,
    Unit,
)
from memprof.values.measurements import Ledger
from memprof.values.profile import Report
from memprof.values.report import BudgetCheck, Interval, PerAgent

WORDS: dict[Change, str] = {
    "better": "better",
    "same": "same",
    "worse": "worse",
    "new": "new",
    "could_not_measure": "inconclusive",
}
_MOST_NAMED = 3
_WIDTH = 78  # of a failed test's output


def amount(unit: Unit, value: float | None) -> str:
    """`value` of a metric in `unit`: a size, or a plain ratio."""
    if value is None:
        return "-"
    return f"{value:.3g}" if unit == "ratio" else format_size(value)


def difference(metric: MetricChange, value: float | None) -> str:
    """A change of a metric by `value`: of a ratio, in percent of what it was."""
    if value is None:
        return "-"
    if metric.unit != "ratio":
        return format_size(value, signed=True)
    return f"{value / metric.was:+.1%}" if metric.was else f"{value:+.3g}"


def tolerance(metric: MetricChange) -> str:
    """How much of a change is allowed, as `difference` has it."""
    return difference(metric, metric.allowed).removeprefix("+")


def outcome(metric: MetricChange) -> str:
    """`marginal_bytes worse by +28.3 MB per agent`."""
    said = f"{metric.metric} {WORDS[metric.verdict]}"
    if metric.change is None or metric.verdict not in ("worse", "better"):
        return said
    per = METRICS[metric.metric].counts.removeprefix("bytes") if metric.unit == "bytes" else ""
    return f"{said} by {difference(metric, metric.change)}{per}"


def clause(metric: MetricChange, found: Comparison) -> str:
    """`marginal_bytes worse by +28.3 MB per agent (B: +28.3 MB private per agent)`."""
    why = "; ".join(filter(None, _behind(metric, found)))
    return f"{outcome(metric)}{f' ({why})' if why else ''}"


def _behind(metric: MetricChange, found: Comparison) -> Iterator[str]:
    """Why it came out so: what grew or shrank, which pass saves less, or why nobody knows."""
    if metric.verdict == "could_not_measure" or metric.change is None:
        yield metric.detail.removesuffix(".")
    elif metric.verdict in ("worse", "better"):
        yield first_few(map(component, causes(metric, found)))
        unpassed = first_few(map(component, merged(metric, found)))
        yield f"before passes {unpassed}" if unpassed else ""
        if metric.metric == "marginal_bytes" and metric.verdict == "worse":
            less = (p for p in found.passes if (p.now_bytes or 0) < (p.was_bytes or 0))
            yield first_few(map(optimisation, less))


def figures(metric: MetricChange) -> Iterator[str]:
    """What is known of a metric, a line each."""
    yield from _figure("then", metric.was, metric.was_ci95, partial(amount, metric.unit))
    yield from _figure("now", metric.now, metric.now_ci95, partial(amount, metric.unit))
    yield from _figure("change", metric.change, metric.change_ci95, partial(difference, metric))
    if metric.allowed is not None:
        yield f"tolerance: {tolerance(metric)}"
    if metric.detail:
        yield metric.detail


def _figure(
    name: str, value: float | None, bounds: Interval | None, show: Callable[[float], str]
) -> Iterator[str]:
    if value is not None:
        ends = f" ({interval(bounds, show)})" if bounds else ""
        yield f"{name}: {show(value)}{ends}"


def causes(metric: MetricChange, found: Comparison) -> list[ComponentChange]:
    """The components that went the same way as a metric: private ones make up the marginal cost and
    its growth, shared ones the fixed cost."""
    private = metric.metric in ("marginal_bytes", "growth_bytes_per_step")
    if metric.change is None or not (private or metric.metric == "fixed_bytes"):
        return []
    return [
        each
        for each in found.components
        if (each.private_bytes if private else each.shared_bytes) * metric.change > 0
    ]


def merged(metric: MetricChange, found: Comparison) -> list[ComponentChange]:
    """What went the same way in agents without passes, where the causes name only their records."""
    private = metric.metric in ("marginal_bytes", "growth_bytes_per_step")
    if metric.change is None or not private or not causes(metric, found):
        return []
    return [each for each in found.before_passes if each.private_bytes * metric.change > 0]


def component(found: ComponentChange) -> str:
    """`B: +28.3 MB private per agent`."""
    parts = ((found.private_bytes, "private per agent"), (found.shared_bytes, "shared"))
    said = [f"{format_size(size, signed=True)} {kind}" for size, kind in parts if size]
    return f"{found.component}: {' and '.join(said) or 'unchanged'}"


def optimisation(found: PassChange) -> str:
    """`template: saved 31.4 MB per agent, saves nothing now`."""
    return f"{found.name}: saved {_saving(found.was_bytes)}, saves {_saving(found.now_bytes)} now"


def first_few(parts: Iterable[str]) -> str:
    """The first few, and how many more there are."""
    first = list(parts)
    more = len(first) - _MOST_NAMED
    return "; ".join(first if more <= 0 else [*first[:_MOST_NAMED], f"and {more} more"])


def _saving(size: float | None) -> str:
    return "nothing" if size is None else f"{format_size(size)} per agent"


def broken_check(report: Report, failure: MemprofError) -> str:
    """Why a check failed, as short as a test's output should be: the verdict in one line, what was
    measured, and the ledger of the agents, largest first."""
    scenario, variant = report.scenario, report.variants.final
    if isinstance(failure, BehaviourDiverged) or report.budget is None:
        return f"{scenario.name}: {failure}"
    passes = f"passes {', '.join(variant.passes)}" if variant.passes else "no passes"
    low, high = map(format_size, positive(variant.per_agent.ci95_bytes))
    agents, steps = counted(scenario.agents, "agent"), counted(scenario.steps, "step")
    workers = counted(variant.repeats, "fresh worker")
    return (
        f"{scenario.name}: {_verdict(report.budget, variant.per_agent)}\n"
        f"Marginal cost: {format_size(variant.per_agent.marginal_bytes)} ({low} to {high}); "
        f"limit: {format_size(report.budget.limit_bytes)}.\n"
        f"{agents}, {steps}, {passes}, {workers}.\n\n"
        f"{render_table(_ledger(variant.ledger), width=_WIDTH)}"
    )


def _verdict(budget: BudgetCheck, cost: PerAgent) -> str:
    found, limit = format_size(budget.marginal_bytes), format_size(budget.limit_bytes)
    if not cost.resolved:
        return f"an agent may cost {found} (below resolution), more than {limit}"
    if found == limit:
        found, limit = f"{budget.marginal_bytes:,.0f} B", f"{budget.limit_bytes:,} B"
    return f"an agent costs {found}, more than {limit}"


def _ledger(ledger: Ledger) -> Table:
    """Components by what one agent more takes of them, then by what all of them share."""
    rows = sorted(
        (
            (row.private_bytes / ledger.agents, row.shared_bytes, row.component)
            for row in ledger.rows
        ),
        reverse=True,
    )
    cells = [
        (component, format_size(private), format_size(shared))
        for private, shared, component in rows
        if private or shared
    ]
    if ledger.unexplained_bytes is not None:
        unexplained = ledger.unexplained_bytes / ledger.agents
        cells.append(("unexplained", format_size(unexplained), ""))
    title = f"What grew, {counted(ledger.agents, 'agent')}"
    return Table(title, ("component", "private each", "shared by all"), tuple(cells))
