"""The figures of a run in the Bencher Metric Format, which `bencher run --adapter json` takes.

A benchmark is a scenario, a measure one of its metrics, named by its slug; the schema is published
at https://bencher.dev/bmf.json, and described at
https://bencher.dev/docs/reference/bencher-metric-format.
"""

from __future__ import annotations

import json

from memprof.gate import Comparison, GateReport, MetricChange


def render(report: GateReport) -> str:
    """What was measured now, with the ends of its intervals; scenarios without figures are left
    out."""
    measured = {scenario.name: _measures(scenario) for scenario in report.scenarios}
    benchmarks = {name: measures for name, measures in measured.items() if measures}
    return json.dumps(benchmarks, indent=1, allow_nan=False) + "\n"


def _measures(scenario: Comparison) -> dict[str, dict[str, float]]:
    """The metrics by slug, in which letters, digits and dashes stand."""
    return {
        each.metric.replace("_", "-"): _values(each.now, each)
        for each in scenario.metrics
        if each.now is not None
    }


def _values(now: float, metric: MetricChange) -> dict[str, float]:
    if metric.now_ci95 is None:
        return {"value": now}
    low, high = metric.now_ci95
    return {"value": now, "lower_value": low, "upper_value": high}
