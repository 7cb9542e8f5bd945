"""What a gate and a comparison say, one run of a scenario compared with another; and gate
tolerances: how far each metric may move before it counts as a regression.

Frozen structs with plain fields, bytes and seconds only. Intervals are pairs (low, high) at
95 %.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

from msgspec import Struct

from memprof.errors import unknown
from memprof.text import format_size, parse_size, shown
from memprof.values.profile import Report
from memprof.values.report import BaseReport, Caution, Interval

BASELINE_SCHEMA = "memprof.baseline/1"

Change = Literal["better", "same", "worse", "could_not_measure", "new"]
Unit = Literal["bytes", "ratio", "verdict"]


class MetricChange(Struct, frozen=True):
    """One metric of a scenario, then and now.

    Attributes:
        verdict: `new` where the baseline had no such scenario; `could_not_measure` where it is
            inconclusive.
        unit: `ratio` is time per step over that of the reference loop in the same worker; what is a
            `verdict` has no figures, only a `detail`.
        was, now: None where it is not a figure, or was not measured.
        change: `now` less `was`, with its interval.
        allowed: how much of a change the tolerance allows, in the same unit.
        detail: why it is inconclusive, or verdicts in words.
        enough: fresh workers then and now that would decide what is inconclusive, as far as those
            so far show how workers differ; None where no sensible number would.
    """

    metric: MetricName
    unit: Unit
    verdict: Change
    was: float | None = None
    was_ci95: Interval | None = None
    now: float | None = None
    now_ci95: Interval | None = None
    change: float | None = None
    change_ci95: Interval | None = None
    allowed: float | None = None
    detail: str = ""
    enough: tuple[int, int] | None = None


class ComponentChange(Struct, frozen=True):
    """A component of the ledger whose resident bytes changed.

    Attributes:
        private_bytes: more (or less) of it in each agent.
        shared_bytes: more (or less) of it in total, that several agents share.
    """

    component: str
    private_bytes: float
    shared_bytes: float


class PassChange(Struct, frozen=True):
    """A pass that saves less, or more, of an agent's marginal cost than it did; None where it saves
    nothing beyond resolution."""

    name: str
    was_bytes: float | None
    now_bytes: float | None


class Comparison(Struct, frozen=True):
    """One scenario, then and now.

    Attributes:
        name: the scenario's.
        file: its file, as the user named it; of a comparison, the report of the run now.
        repeats: fresh workers then and now.
        metrics: empty if `failure` says why nothing could be compared.
        components, passes: what grew or shrank, largest first.
        before_passes: likewise, of agents without passes, what is part of their records with them.
        failure: why nothing could be compared; empty if it was.
        warnings: what a reader must know before using a figure.
        seconds: how long it took to measure.
    """

    name: str
    file: str
    repeats: tuple[int, int]
    metrics: tuple[MetricChange, ...]
    components: tuple[ComponentChange, ...] = ()
    passes: tuple[PassChange, ...] = ()
    failure: str = ""
    warnings: tuple[Caution, ...] = ()
    seconds: float = 0.0
    before_passes: tuple[ComponentChange, ...] = ()

    @property
    def verdict(self) -> Change:
        """The worst verdict of its metrics."""
        found = {each.verdict for each in self.metrics}
        if self.failure and "worse" not in found:
            return "could_not_measure"
        worst: tuple[Change, ...] = ("worse", "could_not_measure", "better", "new")
        return next((each for each in worst if each in found), "same")


class AlarmRate(Struct, frozen=True):
    """How often a gate would have called a metric worse although nothing changed.

    Attributes:
        comparisons: of one run with the next.
        false_alarms, undecided: that came out worse, and that are inconclusive.
        most_ci95: the highest rate of false alarms that these comparisons do not exclude (95 %,
            one-sided, Clopper and Pearson).
        largest_change: of all comparisons, in the metric's unit; None for a verdict.
        allowed: the smallest change that the tolerance allowed; None for a verdict.
    """

    scenario: str
    metric: MetricName
    unit: Unit
    comparisons: int
    false_alarms: int
    undecided: int
    most_ci95: float
    largest_change: float | None
    allowed: float | None


class GateReport(BaseReport, frozen=True, kw_only=True):
    """Everything `memprof gate` or `memprof compare` found. Its JSON is the contract.

    Attributes:
        baseline: the file that the runs are compared with.
        updated: the scenarios that --update replaced in the baseline.
        alarms: what a self-check found.
        not_gated: scenarios of the baseline that were not requested.
    """

    baseline: str
    scenarios: tuple[Comparison, ...]
    updated: tuple[str, ...] = ()
    alarms: tuple[AlarmRate, ...] = ()
    not_gated: tuple[str, ...] = ()
    kind: Literal["gate", "compare", "self_check"] = "gate"
    complete: bool = True


class BaselineEntry(Struct, frozen=True):
    """What a scenario cost when the baseline was made.

    Attributes:
        file: the scenario file, relative to the baseline's folder.
        scenario_hash: of all fields that determine the figures.
        report: the run itself, with its raw samples and its environment.
    """

    file: str
    scenario_hash: str
    report: Report


class Baseline(Struct, frozen=True):
    """The file that a gate compares runs with; scenarios by name."""

    scenarios: dict[str, BaselineEntry]
    schema: str = BASELINE_SCHEMA


DEFAULT_BASELINE = "memprof-baseline.json"
"""The file that a gate compares runs with."""
MetricName = Literal[
    "marginal_bytes",
    "fixed_bytes",
    "peak_bytes",
    "growth_bytes_per_step",
    "step_ratio",
    "equivalence",
    "budget",
]


class Tolerance(Struct, frozen=True):
    """The larger of the two counts.

    Attributes:
        relative: a share of the baseline's figure.
        absolute: in the metric's own unit.
    """

    relative: float = 0.0
    absolute: float = 0.0

    def allowed(self, was: float) -> float:
        """How much the metric may exceed its old value."""
        return max(self.relative * abs(was), self.absolute)

    def __str__(self) -> str:
        parts = [f"{self.relative * 100:g}%"] if self.relative or not self.absolute else []
        return " or ".join(parts + ([format_size(self.absolute)] if self.absolute else []))


class Metric(Struct, frozen=True):
    """What a gate compares.

    Attributes:
        counts: what a figure of it counts, in words; empty for a verdict.
        tolerance: how far it may move unless a user says otherwise; None for a verdict, which is
            the same or is not.
    """

    unit: Unit
    counts: str = ""
    tolerance: Tolerance | None = None


METRICS: Mapping[MetricName, Metric] = {
    "marginal_bytes": Metric("bytes", "bytes per agent", Tolerance(0.05, 64)),
    "fixed_bytes": Metric("bytes", "bytes", Tolerance(0.05, 4 * 2**20)),
    "peak_bytes": Metric("bytes", "bytes", Tolerance(0.05, 4 * 2**20)),
    "growth_bytes_per_step": Metric("bytes", "bytes per agent and step", Tolerance(0.05, 32)),
    "step_ratio": Metric("ratio", "times the reference loop", Tolerance(0.25)),
    "equivalence": Metric("verdict"),
    "budget": Metric("verdict"),
}
DEFAULTS: Mapping[str, Tolerance] = {
    name: each.tolerance for name, each in METRICS.items() if each.tolerance is not None
}
_MOST_RELATIVE = 1e4  # what is allowed a hundred times more is not watched
_PERCENT = re.compile(r"\s*(\d+(?:\.\d+)?)\s*%\s*")
_FRACTION = re.compile(r"\s*\d+\.\d+\s*")  # who writes 0.05 means 5%, and not 0 bytes


def parse_tolerance(metric: str, text: str) -> Tolerance:
    """The tolerance meant by `5%`, `2MB`, or `5% or 2MB`.

    Raises:
        ValueError: `metric` has no tolerance, or `text` is none.
    """
    if metric not in DEFAULTS:
        if metric in METRICS:
            raise ValueError(f"{metric} has no tolerance: it is the same, or it is not")
        raise ValueError(unknown("metric", metric, DEFAULTS))
    relative: list[float] = []
    absolute: list[float] = []
    for part in str(text).split(" or "):
        percent = _PERCENT.fullmatch(part)
        if percent:
            relative.append(float(percent[1]) / 100)
            if relative[-1] > _MOST_RELATIVE:
                raise ValueError(f"expected at most {_MOST_RELATIVE:.0%}, found {shown(part)}")
        elif metric == "step_ratio":
            raise ValueError(f"expected a percentage such as 25%, found {shown(part.strip())}")
        else:
            absolute.append(_size(part))
    if len(relative) > 1 or len(absolute) > 1:
        raise ValueError(f"expected one percentage, one size, or both, found {shown(text)}")
    return Tolerance(sum(relative), sum(absolute))


def read_tolerances(texts: Mapping[str, str | int]) -> dict[str, Tolerance]:
    """The tolerances that a scenario has, by metric.

    Raises:
        ValueError: a metric or a tolerance is wrong.
    """
    return {metric: parse_tolerance(metric, str(text)) for metric, text in texts.items()}


def parse_tolerances(text: str) -> dict[str, Tolerance]:
    """The tolerances meant by `marginal_bytes=5%,peak_bytes=2MB`.

    Raises:
        ValueError: a metric or a tolerance is wrong, or a metric is there twice.
    """
    found: dict[str, Tolerance] = {}
    for part in text.split(","):
        metric, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals:
            raise ValueError(
                f"expected METRIC=TOLERANCE, such as marginal_bytes=5%, found {shown(part)}"
            )
        if metric in found:
            raise ValueError(f"duplicate metric {metric}; remove one")
        found[metric] = parse_tolerance(metric, value)
    return found


def _size(text: str) -> int:
    try:
        if _FRACTION.fullmatch(text):
            raise ValueError("no count of bytes")
        return parse_size(text)
    except ValueError:
        raise ValueError(
            "expected a percentage or a size, such as 5%, 2MB or 5% or 2MB, found "
            f"{shown(text.strip())}"
        ) from None
