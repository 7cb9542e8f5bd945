"""What grew or shrank between two runs of a scenario: components of the ledger, and passes.

What a gate found, in words that all its formats share.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Iterator
from functools import partial

from memprof.gate.regression import optimised
from memprof.render.page import interval
from memprof.stats.lines import PROCESS_GRAIN_BYTES
from memprof.text import format_size
from memprof.values.gate import (
    UNITS,
    Change,
    Comparison,
    ComponentChange,
    MetricChange,
    PassChange,
    Unit,
)
from memprof.values.measurements import Ledger, LedgerRow
from memprof.values.profile import Interval, PassResult, Report, Variant

_LEAST_SHARE = 0.05
_LEAST_PRIVATE_BYTES = 16
_LEAST_SHARED_BYTES = 64 * 1024


def components(was: Report, now: Report) -> tuple[ComponentChange, ...]:
    """Components whose resident bytes changed, the largest change first; what is less than a
    twentieth of the largest is left out."""
    before, after = optimised(was), optimised(now)
    found = [*_rows(before, after), *_imports(before, after), *_rest(before, after)]
    private = max((abs(each.private_bytes) for each in found), default=0.0)
    shared = max((abs(each.shared_bytes) for each in found), default=0.0)
    told = [
        each
        for each in found
        if abs(each.private_bytes) >= max(_LEAST_PRIVATE_BYTES, _LEAST_SHARE * private)
        or abs(each.shared_bytes) >= max(_LEAST_SHARED_BYTES, _LEAST_SHARE * shared)
    ]
    agents = optimised(now).ledger.agents
    return tuple(sorted(told, key=lambda c: -abs(c.private_bytes * agents + c.shared_bytes)))


def passes(was: Report, now: Report) -> tuple[PassChange, ...]:
    """Passes that save less, or more, of an agent than they did, by a twentieth of it or more."""
    before = {each.name: each for each in was.passes if each.kept}
    return tuple(
        PassChange(each.name, _saved(before[each.name]), _saved(each))
        for each in now.passes
        if each.name in before and _differ(_saved(before[each.name]), _saved(each))
    )


def _saved(found: PassResult) -> float | None:
    return found.saved_bytes_per_agent


def _differ(was: float | None, now: float | None) -> bool:
    before, after = was or 0.0, now or 0.0
    return abs(after - before) > _LEAST_SHARE * max(abs(before), abs(after))


def _rows(was: Variant, now: Variant) -> Iterator[ComponentChange]:
    before = {row.component: row for row in was.ledger.rows}
    after = {row.component: row for row in now.ledger.rows}
    for name in dict.fromkeys((*after, *before)):
        private = _private(after.get(name), now.ledger) - _private(before.get(name), was.ledger)
        shared = _shared(after.get(name)) - _shared(before.get(name))
        yield ComponentChange(name, private, shared)


def _imports(was: Variant, now: Variant) -> Iterator[ComponentChange]:
    change = _imported(now) - _imported(was)
    if abs(change) >= PROCESS_GRAIN_BYTES:
        yield ComponentChange("imports", 0.0, change)


def _rest(was: Variant, now: Variant) -> Iterator[ComponentChange]:
    agents = now.ledger.agents
    change = _unexplained(now.ledger) - _unexplained(was.ledger)
    if abs(change) * agents >= PROCESS_GRAIN_BYTES:
        yield ComponentChange("unexplained", change, 0.0)


def _imported(variant: Variant) -> float:
    """Without pages of files, which other processes change."""
    return statistics.fmean(
        sample.imported.private_bytes - sample.start.private_bytes for sample in variant.samples
    )


def _private(row: LedgerRow | None, ledger: Ledger) -> float:
    return row.private_bytes / ledger.agents if row else 0.0


def _shared(row: LedgerRow | None) -> float:
    return float(row.shared_bytes) if row else 0.0


def _unexplained(ledger: Ledger) -> float:
    return (ledger.unexplained_bytes or 0) / ledger.agents


WORDS: dict[Change, str] = {
    "better": "better",
    "same": "same",
    "worse": "worse",
    "new": "new",
    "could_not_measure": "inconclusive",
}
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
    by = difference(metric, metric.change)
    by += UNITS[metric.metric].removeprefix("bytes") if metric.unit == "bytes" else ""
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
    private = metric.metric in ("marginal_bytes", "growth_bytes_per_step")
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
