"""What a gate and a comparison say: one run of a scenario held against another.

Frozen dataclasses with plain fields, bytes and seconds only. Intervals are pairs (low, high) at
95 %.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from memprof.results import SCHEMA, Caution, Interval, Report
from memprof.tolerance import MetricName

BASELINE_SCHEMA = "memprof.baseline/1"

Change = Literal["better", "same", "worse", "could_not_measure", "new"]
Unit = Literal["bytes", "ratio", "verdict"]


@dataclass(frozen=True, slots=True)
class MetricChange:
    """One metric of a scenario, then and now.

    Attributes:
        verdict: `new` where the baseline had no such scenario.
        unit: `ratio` is time per step over that of the reference loop in the same worker; what is a
            `verdict` has no figures, only a `detail`.
        was, now: None where it is not a figure, or was not measured.
        change: `now` less `was`, with its interval.
        allowed: how much of a change the tolerance allows, in the same unit.
        detail: what a reader has to know: why it could not be measured, or verdicts in words.
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


@dataclass(frozen=True, slots=True)
class ComponentChange:
    """A component of the ledger whose resident bytes changed.

    Attributes:
        private_bytes: more (or less) of it in each agent.
        shared_bytes: more (or less) of it in total, that several agents share.
    """

    component: str
    private_bytes: float
    shared_bytes: float


@dataclass(frozen=True, slots=True)
class PassChange:
    """A pass that saves less, or more, of an agent's marginal cost than it did; None where it saves
    nothing beyond resolution."""

    name: str
    was_bytes: float | None
    now_bytes: float | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """One scenario, then and now.

    Attributes:
        name: the scenario's.
        file: its file, as the user named it; of a comparison, the report of the run now.
        repeats: fresh workers then and now.
        metrics: none where `failure` says why nothing could be compared.
        components, passes: what grew or shrank, largest first.
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

    @property
    def verdict(self) -> Change:
        """The worst of its metrics'."""
        found = {each.verdict for each in self.metrics}
        if self.failure and "worse" not in found:
            return "could_not_measure"
        worst: tuple[Change, ...] = ("worse", "could_not_measure", "better", "new")
        return next((each for each in worst if each in found), "same")


@dataclass(frozen=True, slots=True)
class AlarmRate:
    """How often a gate would have called a metric worse though nothing had changed.

    Attributes:
        comparisons: of one run with the next.
        false_alarms, undecided: that came out worse, and that could not be measured.
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


@dataclass(frozen=True, slots=True)
class GateReport:
    """Everything `memprof gate` or `memprof compare` found. Its JSON is the contract.

    Attributes:
        baseline: the file that the runs are held against.
        updated: what became of the baseline under --update: which scenarios were replaced in it.
        alarms: what a self-check found.
        not_gated: scenarios of the baseline that were not asked for.
        complete: nothing was cut short.
    """

    baseline: str
    scenarios: tuple[Comparison, ...]
    updated: tuple[str, ...] = ()
    alarms: tuple[AlarmRate, ...] = ()
    not_gated: tuple[str, ...] = ()
    complete: bool = True
    kind: Literal["gate", "compare", "self_check"] = "gate"
    schema: str = field(default=SCHEMA)


@dataclass(frozen=True, slots=True)
class BaselineEntry:
    """What a scenario cost when the baseline was made.

    Attributes:
        file: the scenario file, relative to the baseline's folder.
        scenario_hash: of all fields that decide on the figures.
        report: the run itself, with its raw samples and its environment.
    """

    file: str
    scenario_hash: str
    report: Report


@dataclass(frozen=True, slots=True)
class Baseline:
    """The file that a gate holds runs against; scenarios by name."""

    scenarios: dict[str, BaselineEntry]
    schema: str = field(default=BASELINE_SCHEMA)
