"""What a gate found, in words that all its formats share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial

from memprof.gate import Change, Comparison, ComponentChange, MetricChange, PassChange, Unit
from memprof.reports.common import interval
from memprof.results import Interval
from memprof.units import format_size

WORDS: dict[Change, str] = {
    "better": "better",
    "same": "same",
    "worse": "worse",
    "new": "new",
    "could_not_measure": "unknown",
}
_PER = {"marginal_bytes": " per agent", "growth_bytes_per_step": " per agent and step"}
_MOST_NAMED = 3


def amount(unit: Unit, value: float | None) -> str:
    """`value` of a metric in `unit`: a size, or a plain ratio."""
    if value is None:
        return "-"
    return f"{value:.3g}" if unit == "ratio" else format_size(value)


def figure(metric: MetricChange, value: float | None) -> str:
    """`value` of a metric, as people read it."""
    return amount(metric.unit, value)


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


def clause(metric: MetricChange, found: Comparison) -> str:
    """`marginal_bytes worse by +28.3 MB per agent (B: +28.3 MB private per agent)`."""
    detail = metric.detail.removesuffix(".")
    if metric.verdict == "could_not_measure":
        return f"{metric.metric} could not be measured{f' ({detail})' if detail else ''}"
    if metric.change is None:
        return f"{metric.metric} {metric.verdict}{f' ({detail})' if detail else ''}"
    if metric.verdict == "same":
        return f"{metric.metric} same"
    by = f"{difference(metric, metric.change)}{_PER.get(metric.metric, '')}"
    less = [optimisation(each) for each in found.passes if _saves_less(each)]
    behind = listed([component(each) for each in causes(metric, found)])
    if metric.metric == "marginal_bytes" and metric.verdict == "worse":
        behind = "; ".join(filter(None, (behind, listed(less))))
    return f"{metric.metric} {metric.verdict} by {by}{f' ({behind})' if behind else ''}"


def figures(metric: MetricChange) -> Iterator[str]:
    """What is known of a metric, a line each."""
    yield from _figure("then", metric.was, metric.was_ci95, partial(figure, metric))
    yield from _figure("now", metric.now, metric.now_ci95, partial(figure, metric))
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
    private = metric.metric in _PER
    if metric.change is None or not (private or metric.metric == "fixed_bytes"):
        return []
    return [
        each
        for each in found.components
        if (each.private_bytes if private else each.shared_bytes) * metric.change > 0
    ]


def component(found: ComponentChange) -> str:
    """`B: +28.3 MB private per agent`."""
    parts = (
        (found.private_bytes, "private per agent"),
        (found.shared_bytes, "shared"),
    )
    said = [f"{format_size(size, signed=True)} {kind}" for size, kind in parts if size]
    return f"{found.component}: {' and '.join(said) or 'unchanged'}"


def optimisation(found: PassChange) -> str:
    """`template: saved 31.4 MB per agent, saves nothing now`."""
    return f"{found.name}: saved {_saving(found.was_bytes)}, saves {_saving(found.now_bytes)} now"


def _saves_less(found: PassChange) -> bool:
    return (found.now_bytes or 0.0) < (found.was_bytes or 0.0)


def listed(parts: Iterable[str]) -> str:
    """The first few, and how many more there are."""
    first = list(parts)
    more = len(first) - _MOST_NAMED
    return "; ".join(first if more <= 0 else [*first[:_MOST_NAMED], f"and {more} more"])


def _saving(size: float | None) -> str:
    return "nothing" if size is None else f"{format_size(size)} per agent"
