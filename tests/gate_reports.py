"""What gates, comparisons and self-checks may say, made by hand for the tests of their formats."""

from __future__ import annotations

from memprof.values.gate import (
    AlarmRate,
    Comparison,
    ComponentChange,
    GateReport,
    MetricChange,
    PassChange,
)
from memprof.values.report import Caution

GROWN = MetricChange(
    metric="marginal_bytes",
    unit="bytes",
    verdict="worse",
    was=14_700.0,
    was_ci95=(14_500.0, 14_900.0),
    now=28_300_000.0,
    now_ci95=(28_200_000.0, 28_400_000.0),
    change=28_285_300.0,
    change_ci95=(28_185_000.0, 28_385_000.0),
    allowed=735.0,
)
SLOWER = MetricChange(
    metric="step_ratio",
    unit="ratio",
    verdict="worse",
    was=1.5,
    was_ci95=(1.45, 1.55),
    now=2.25,
    now_ci95=(2.2, 2.3),
    change=0.75,
    change_ci95=(0.68, 0.82),
    allowed=0.375,
)
SMALLER = MetricChange(
    metric="fixed_bytes",
    unit="bytes",
    verdict="better",
    was=155e6,
    was_ci95=(154e6, 156e6),
    now=100e6,
    now_ci95=(99e6, 101e6),
    change=-55e6,
    change_ci95=(-57e6, -53e6),
    allowed=7.75e6,
)
LEVEL = MetricChange(
    metric="growth_bytes_per_step",
    unit="bytes",
    verdict="same",
    was=170.0,
    was_ci95=(165.0, 175.0),
    now=171.0,
    now_ci95=(166.0, 176.0),
    change=1.0,
    change_ci95=(-6.0, 8.0),
    allowed=64.0,
)
UNKNOWN = MetricChange(
    metric="peak_bytes",
    unit="bytes",
    verdict="could_not_measure",
    was=3e8,
    detail="the platform has no peak",
)
DIVERGED = MetricChange(
    metric="equivalence", unit="verdict", verdict="worse", detail="was exact, now diverged"
)
KEPT = MetricChange(metric="budget", unit="verdict", verdict="same", detail="kept, then and now")

WORSE = Comparison(
    name="grid-29",
    file="scenarios/grid-29.yaml",
    repeats=(5, 5),
    metrics=(GROWN, SMALLER, UNKNOWN, LEVEL, SLOWER, DIVERGED, KEPT),
    components=(
        ComponentChange("B", 28_300_000.0, -28_300_000.0),
        ComponentChange("histories", 0.0, -4_000.0),
    ),
    passes=(PassChange("template", 31.4e6, None), PassChange("history", None, 170.0)),
    warnings=(Caution("environment", "numpy was 2.3, is 2.4", "renew the baseline"),),
    seconds=31.5,
)
SAME = Comparison("grid-5", "scenarios/grid-5.yaml", (5, 3), (LEVEL, KEPT), seconds=4.0)
BETTER = Comparison("grid-10", "scenarios/grid-10.yaml", (5, 5), (SMALLER,), seconds=9.0)
FAILED = Comparison(
    "t-maze", "scenarios/t-maze.yaml", (5, 0), (), failure="the worker died of signal 9"
)

GATE = GateReport(baseline="baseline.json", scenarios=(WORSE, SAME, BETTER, FAILED))
UNCHANGED = GateReport(baseline="baseline.json", scenarios=(SAME,), updated=("grid-5",))
COMPARED = GateReport(baseline="a.json", scenarios=(WORSE,), kind="compare")
SELF_CHECK = GateReport(
    baseline="",
    scenarios=(),
    alarms=(
        AlarmRate("grid-5", "marginal_bytes", "bytes", 19, 0, 1, 0.146, 120.0, 1_650.0),
        AlarmRate("grid-5", "step_ratio", "ratio", 20, 1, 0, 0.216, 0.4, 0.375),
        AlarmRate("grid-5", "equivalence", "verdict", 20, 0, 0, 0.139, None, None),
    ),
    complete=False,
    kind="self_check",
)
ALL = (GATE, UNCHANGED, COMPARED, SELF_CHECK)
