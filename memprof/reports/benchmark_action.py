"""The figures of a run for benchmark-action/github-action-benchmark, which draws their history.

The form is that of its tool `customSmallerIsBetter`: an array of `BenchmarkResult` (src/extract.ts
there), each with a name, a unit, a value and, as text, a range and something extra. The action
fails on an empty array.
"""

from __future__ import annotations

import json

from memprof.gate import Comparison, GateReport, MetricChange

_UNITS = {
    "marginal_bytes": "bytes per agent",
    "fixed_bytes": "bytes",
    "peak_bytes": "bytes",
    "growth_bytes_per_step": "bytes per agent and step",
    "step_ratio": "times the reference loop",
}


def render(report: GateReport) -> str:
    """What was measured now, one entry for each metric with a figure."""
    entries = [
        _entry(scenario, metric)
        for scenario in report.scenarios
        for metric in scenario.metrics
        if metric.now is not None
    ]
    return json.dumps(entries, indent=1, allow_nan=False) + "\n"


def _entry(scenario: Comparison, metric: MetricChange) -> dict[str, str | float | None]:
    entry = {
        "name": f"{scenario.name}: {metric.metric}",
        "unit": _UNITS.get(metric.metric, metric.unit),
        "value": metric.now,
        "extra": f"{scenario.repeats[1]} fresh workers\n{scenario.file}",
    }
    reach = _reach(metric)
    return entry if reach is None else {**entry, "range": f"± {reach:.6g}"}


def _reach(metric: MetricChange) -> float | None:
    """How far the interval goes to its further side: a range of the action has two equal sides."""
    if metric.now is None or metric.now_ci95 is None:
        return None
    low, high = metric.now_ci95
    return max(metric.now - low, high - metric.now)
