"""What a report says; its JSON form is the contract with scripts and CI.

Frozen dataclasses with plain fields, bytes and seconds only. Intervals are pairs (low, high) at
95 %.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, Literal

from msgspec import Meta

from memprof.values.counts import MOST_READINGS, Count, Positive, PositiveSeconds
from memprof.values.evidence import ContentRow, GainRow, ImportRow
from memprof.values.measurements import (
    AllocationStack,
    DeviceDetails,
    GrowthPoint,
    Ledger,
    LineHotspot,
    Mark,
    Reading,
    TrendSeries,
    TypeRow,
    WorkingSetUse,
)
from memprof.values.scenario import ScenarioFields

SCHEMA = "memprof.report/2"

Interval = tuple[float, float]
VariantName = Literal["before", "after"]
Verdict = Literal["exact", "bounded", "diverged", "not_checked"]
Claim = Literal["exact", "bounded"]
LeakVerdict = Literal["leak", "clean", "inconclusive"]
PassOutcome = Literal[
    "saves", "faster", "no_effect", "costs", "slower",
    "superfluous", "diverged", "failed", "not_checked",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class PerAgent:
    """The fit `memory(N) = fixed + marginal · N` of USS over all repeats (pages of files held
    at what they were before the first agent).

    Where agents differ in size, `marginal_bytes` is the mean over the scenario's agents.
    `resolved` is False when the interval includes zero: the agent is below resolution, and only
    the interval's upper end says anything.
    """

    marginal_bytes: float
    ci95_bytes: Interval
    fixed_bytes: float
    at_n_bytes: float
    resolved: bool

    @property
    def at_most_bytes(self) -> float:
        """The marginal cost, or its upper end where it is unresolved."""
        return self.marginal_bytes if self.resolved else self.ci95_bytes[1]


@dataclass(frozen=True, slots=True)
class AgentFigure:
    """What one agent is in one part of the report, and why that is not the marginal cost; empty
    where the two agree.

    Attributes:
        name: `marginal`: by the growth of the process, the headline; there `why` says why it is not
            the slope. `held`: what an agent holds alone by the ledger, the mean over the scenario's
            agents; `typical`: the median. `components`: by the rows of the ledger. `calls`: by the
            stacks and lines that allocated it.
    """

    name: Literal["marginal", "held", "typical", "components", "calls"]
    bytes: float
    why: str = ""


@dataclass(frozen=True, slots=True)
class StepSeconds:
    """Time of one agent's step: median over batches, steps and repeats."""

    median: float
    ci95: Interval


@dataclass(frozen=True, slots=True)
class OperationHotspot:
    """One operation: time from the clean workers, bytes from the traced one (None without it)."""

    operation: str
    calls: int
    seconds_per_call: float
    retained_bytes_per_call: float | None
    peak_bytes: int | None


@dataclass(frozen=True, slots=True)
class Hotspots:
    """Where time and memory go; stacks together hold what one further agent does."""

    operations: tuple[OperationHotspot, ...]
    lines: tuple[LineHotspot, ...]
    stacks: tuple[AllocationStack, ...] = ()

    @property
    def held_stacks(self) -> tuple[AllocationStack, ...]:
        """Those that hold something."""
        return tuple(each for each in self.stacks if each.bytes_per_agent > 0)


@dataclass(frozen=True, slots=True)
class InstrumentReading:
    """One instrument's answer to: what does an agent cost? With its cost and its blind spots.

    Attributes:
        per_agent_bytes: slope of its readings over the population; None if it failed.
        total_bytes: its last reading, above its first.
        slowdown: time per step with the instrument over the clean one; None if not measured.
        reading_seconds: time of one reading.
        failure: why there is no figure; empty when there is one.
    """

    name: str
    per_agent_bytes: float | None
    ci95_bytes: Interval | None
    total_bytes: float | None
    slowdown: float | None
    reading_seconds: float | None
    sees: str
    blind_to: str
    types: tuple[TypeRow, ...] = ()
    failure: str = ""


@dataclass(frozen=True, slots=True)
class Trend:
    """Bytes that an agent gains by living one step longer; None where the run is too short.

    `verdict` and `floor_bytes`, the smallest gain that would have been found, are as in a leak
    check of the steps that were read.
    """

    verdict: LeakVerdict | None
    bytes_per_step: float | None
    ci95_bytes: Interval | None
    floor_bytes: float | None
    first_step: int
    last_step: int


@dataclass(frozen=True, slots=True)
class TimelineSample:
    """Resident set of a clean worker, `seconds` after its start."""

    seconds: float
    rss_bytes: float


@dataclass(frozen=True, slots=True)
class Timeline:
    """What memory_profiler saw of one clean worker from outside, with that worker's phases."""

    samples: tuple[TimelineSample, ...]
    marks: tuple[Mark, ...]


@dataclass(frozen=True, slots=True)
class Sample:
    """One clean worker's raw figures, which another run can be compared with; see `Measurement`."""

    start: Reading
    imported: Reading
    points: Annotated[tuple[GrowthPoint, ...], Meta(min_length=2, max_length=MOST_READINGS)]
    at_n: GrowthPoint
    peak_rss_bytes: int | None
    step_cpu_seconds: tuple[float, ...]
    batches: Positive
    reference_cpu_seconds: tuple[PositiveSeconds, ...]
    trend: TrendSeries


@dataclass(frozen=True, slots=True)
class Variant:
    """The population without passes, or with them.

    `file_bytes` is what the whole population takes in files on disk; it is in none of the other
    figures. `kept_whole` names attributes that a pass could not encode exactly. `working_set` is
    what that pass did in the first repeat, until the population had lived the scenario's steps.
    `compile_seconds` is the first step of all agents, where the backend compiles in it. `device` is
    there if the instrument of that name was asked for, `contents` and `gains` if `pympler` was, and
    `imports` if any was that has a worker of its own.
    """

    passes: tuple[str, ...]
    repeats: Count
    per_agent: PerAgent
    baseline_bytes: float
    imports_bytes: float
    uss_bytes: float | None
    pss_bytes: float | None
    rss_bytes: float
    peak_bytes: float | None
    file_bytes: float
    kept_whole: tuple[str, ...]
    step_seconds: StepSeconds
    compile_seconds: float | None
    build_seconds: float
    ledger: Ledger
    instruments: tuple[InstrumentReading, ...]
    hotspots: Hotspots
    trend: Trend
    device: DeviceDetails | None
    timeline: Timeline | None
    samples: tuple[Sample, ...]
    working_set: WorkingSetUse | None = None
    contents: tuple[ContentRow, ...] = ()
    gains: tuple[GainRow, ...] = ()
    imports: tuple[ImportRow, ...] = ()
    one_agent: tuple[AgentFigure, ...] = ()


@dataclass(frozen=True, slots=True)
class Variants:
    before: Variant
    after: Variant | None

    def named(self) -> Iterator[tuple[VariantName, Variant]]:
        """Before, and after where there are passes."""
        yield "before", self.before
        if self.after is not None and self.after.passes:
            yield "after", self.after

    @property
    def final(self) -> Variant:
        """The population as the scenario wants it: with its passes if it has any."""
        return self.after or self.before


@dataclass(frozen=True, slots=True)
class PassResult:
    """What one pass did, on top of the passes before it in the plan; None where it is not known,
    below resolution, or may not be claimed because behaviour is not what the pass claims.

    Attributes:
        saved_bytes_per_agent, saved_fixed_bytes, saved_transient_bytes: against the plan before
            it, in the marginal cost, the fixed cost and the transient peak.
        step_time_ratio: time per step over that of the plan before it.
        outcome: `saves`, `faster`, `no_effect` (nothing beyond resolution), `costs` (memory) or
            `slower`; `superfluous` (a later pass does the same); `diverged` (it broke its claim),
            `failed` (its worker did), `not_checked`.
        detail: the outcome in words, with figures.
        kept: it is part of the plan; False for what `auto` left out.
        marginal_bytes, ci95_bytes, fixed_bytes: cost of the population after it; the fixed cost
            here is without pages of files, which other processes change.
        transient_bytes: what building and stepping needs above the population at rest, after it.
    """

    name: str
    claim: Claim
    saved_bytes_per_agent: float | None
    step_time_ratio: float | None
    outcome: PassOutcome
    detail: str
    kept: bool = True
    marginal_bytes: float | None = None
    ci95_bytes: Interval | None = None
    fixed_bytes: float | None = None
    transient_bytes: float | None = None
    saved_fixed_bytes: float | None = None
    saved_transient_bytes: float | None = None

    @property
    def at_most_bytes(self) -> float | None:
        """The marginal cost after the pass, or its upper end where it is unresolved."""
        unresolved = self.ci95_bytes is not None and self.ci95_bytes[0] <= 0
        return self.ci95_bytes[1] if unresolved and self.ci95_bytes else self.marginal_bytes


@dataclass(frozen=True, slots=True)
class Equivalence:
    """Whether the optimised population behaves as the plain one, over the same seeds.

    `max_divergence_nats` is the largest Kullback-Leibler divergence of a posterior from the plain
    population's; None where it is infinite or nothing can be compared.
    """

    verdict: Verdict
    agents: Count
    steps: Count
    action_agreement: float | None
    max_abs_belief_error: float | None
    max_divergence_nats: float | None
    detail: str


@dataclass(frozen=True, slots=True)
class BudgetCheck:
    """The marginal cost compared with the budget; its upper end where it is below resolution."""

    limit_bytes: int
    marginal_bytes: float
    kept: bool


@dataclass(frozen=True, slots=True)
class Caution:
    """Something a reader must know before using a figure."""

    kind: str
    evidence: str
    remedy: str


AdviceKind = Literal[
    "alike", "zeros", "views", "policies", "growth", "imports", "transient",
    "retracing", "shorter_plan", "slow_pass", "few_agents",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Advice:
    """Where memory goes that need not, or would not be missed, and what to do about it.

    Attributes:
        finding, evidence, remedy: in a sentence or two each; the evidence has the figures.
        solved_by: the pass of the plan that has taken care of it; empty while it is open.
        stake_bytes: what it is about, for all of the scenario's agents and steps: the rank.
        saves_bytes: what that pass was measured to save for all of the scenario's agents; None
            where it was not measured, or the pass does more than this.
    """

    kind: AdviceKind
    finding: str
    evidence: str
    remedy: str
    solved_by: str = ""
    stake_bytes: float = 0.0
    saves_bytes: float | None = None


@dataclass(frozen=True, slots=True)
class Environment:
    """The machine and the software that the figures belong to; `backend` is what the backend says
    of its device and settings. Reports of older versions do not tell pages and build."""

    versions: dict[str, str]
    platform: str
    cpu_count: int
    total_memory_bytes: int
    cgroup_limit_bytes: int | None
    rlimit_bytes: int | None
    huge_pages: str
    allocator: dict[str, str]
    device: str
    backend: dict[str, str]
    page_bytes: int | None = None
    python_build: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """Everything `memprof profile` found. `to_json` of it is the contract."""

    scenario: ScenarioFields
    environment: Environment
    variants: Variants
    passes: tuple[PassResult, ...]
    equivalence: Equivalence
    budget: BudgetCheck | None
    warnings: tuple[Caution, ...]
    complete: bool
    kind: Literal["profile"] = "profile"
    schema: str = field(default=SCHEMA)
    advice: tuple[Advice, ...] = ()
