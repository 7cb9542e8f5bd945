"""What is measured and what is reported: the values that cross process and module borders.

Frozen dataclasses, plain fields, bytes and seconds only. A worker sends a `Measurement`,
`InstrumentRun` or `TraceComparison`; the parent condenses them into a `Report`, whose JSON form is
the contract with scripts and CI. Intervals are pairs (low, high) at 95 %.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

SCHEMA = "memprof.report/1"

Interval = tuple[float, float]
Verdict = Literal["exact", "bounded", "diverged", "not_checked"]
Claim = Literal["exact", "bounded"]


# ---------------------------------------------------------------- what a worker measures


@dataclass(frozen=True, slots=True)
class Reading:
    """Memory of the worker process at one moment; None where the platform cannot tell.

    Attributes:
        uss_bytes: unique set size, pages that only this process has.
        private_bytes: USS without pages of files on disk: anonymous and shared memory, swapped out
            or not. Pages of files are libraries for the most part; they leave a process's USS and
            come back whenever another process maps the same library, or the kernel writes a newly
            installed one to disk, so growth is measured without them.
        heap_bytes: live bytes handed out by malloc and by Python's small-object allocator.
    """

    rss_bytes: int
    uss_bytes: int | None
    pss_bytes: int | None
    private_bytes: int
    heap_bytes: int | None


@dataclass(frozen=True, slots=True)
class GrowthPoint:
    """Memory with `agents` living agents that have all lived the scenario's steps."""

    agents: int
    reading: Reading


@dataclass(frozen=True, slots=True)
class TrendSeries:
    """Live heap bytes after each further step of the whole population, garbage collected.

    Attributes:
        first_step: steps that every agent had lived at the first entry.
    """

    agents: int
    first_step: int
    heap_bytes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class OperationTime:
    """Total time of one operation over all agents and steps of a clean worker."""

    operation: str
    calls: int
    seconds: float


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """Bytes of one component over the whole population; resident is None where unknown."""

    component: str
    private_nominal_bytes: int
    shared_nominal_bytes: int
    private_resident_bytes: int | None
    shared_resident_bytes: int | None
    objects: int

    @property
    def nominal_bytes(self) -> int:
        return self.private_nominal_bytes + self.shared_nominal_bytes

    @property
    def resident_bytes(self) -> int | None:
        if self.private_resident_bytes is None or self.shared_resident_bytes is None:
            return None
        return self.private_resident_bytes + self.shared_resident_bytes


@dataclass(frozen=True, slots=True)
class Ledger:
    """Where a population's memory is: growth of private memory for `agents` agents, by component.

    `explained_bytes` are the resident bytes of all components; `unexplained_bytes` is the rest of
    the growth (allocator overhead and fragmentation; negative when the population moved into
    memory that had been freed before). None where the platform cannot tell.
    """

    agents: int
    growth_bytes: int
    explained_bytes: int | None
    unexplained_bytes: int | None
    rows: tuple[LedgerRow, ...]


@dataclass(frozen=True, slots=True)
class Mark:
    """A phase of a worker's life: `label` began at `seconds` (epoch in a worker's events, since the
    worker's start in a report) for a population of `agents`."""

    seconds: float
    label: str
    agents: int = 0


@dataclass(frozen=True, slots=True)
class Measurement:
    """One clean worker: memory against N, time per step, trend, ledger, digests of behaviour.

    Attributes:
        start: after the interpreter and memprof were loaded.
        imported: after PyMDP was imported.
        baseline: after warm-up, before the first agent.
        points: memory against the number of living agents, smallest population first.
        at_n: the point at which the population has the scenario's number of agents.
        peak_rss_bytes: highest resident set from the baseline until `at_n` was reached.
        step_seconds: one agent's step, averaged over a batch, for every batch and step.
        build_seconds: building one agent, passes included, averaged over a batch.
        digests: per agent, the hash of its beliefs, policy posteriors and actions at each step.
    """

    start: Reading
    imported: Reading
    baseline: Reading
    points: tuple[GrowthPoint, ...]
    at_n: GrowthPoint
    peak_rss_bytes: int | None
    step_seconds: tuple[float, ...]
    build_seconds: tuple[float, ...]
    operations: tuple[OperationTime, ...]
    trend: TrendSeries
    ledger: Ledger
    digests: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class OperationMemory:
    """What one operation keeps and what it needs in passing, traced heap, mean and worst call."""

    operation: str
    calls: int
    retained_bytes: int
    peak_bytes: int


@dataclass(frozen=True, slots=True)
class LineHotspot:
    """A source line that holds memory: traced bytes and blocks of one further agent."""

    path: str
    line: int
    text: str
    bytes_per_agent: float
    blocks_per_agent: float


@dataclass(frozen=True, slots=True)
class TypeRow:
    """Objects of one Python type in the population, flat sizes without what they refer to."""

    type_name: str
    objects: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class InstrumentRun:
    """One intrusive worker: what the instrument read at each population size, and its cost.

    Attributes:
        readings: (agents, bytes) as this instrument counts them.
        step_seconds: as in `Measurement`, with the instrument at work.
        reading_seconds: time of one reading of the largest population.
    """

    readings: tuple[tuple[int, int], ...]
    step_seconds: tuple[float, ...]
    reading_seconds: float
    operations: tuple[OperationMemory, ...] = ()
    lines: tuple[LineHotspot, ...] = ()
    types: tuple[TypeRow, ...] = ()


@dataclass(frozen=True, slots=True)
class TraceComparison:
    """Two populations compared value by value; `first_difference` is (agent, step) or None."""

    agents: int
    steps: int
    actions_compared: int
    actions_equal: int
    max_abs_belief_error: float | None
    first_difference: tuple[int, int] | None


# ---------------------------------------------------------------- what a report says


@dataclass(frozen=True, slots=True)
class PerAgent:
    """The fit `memory(N) = fixed + marginal · N` of USS over all repeats (pages of files held
    at what they were before the first agent).

    `resolved` is False when the interval includes zero: the agent is below resolution, and only
    the interval's upper end says anything.
    """

    marginal_bytes: float
    ci95_bytes: Interval
    fixed_bytes: float
    at_n_bytes: float
    resolved: bool


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
    operations: tuple[OperationHotspot, ...]
    lines: tuple[LineHotspot, ...]


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
    """Bytes that an agent gains by living one step longer; None where the run is too short."""

    bytes_per_step: float | None
    ci95_bytes: Interval | None
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
class Variant:
    """The population without passes, or with them."""

    passes: tuple[str, ...]
    repeats: int
    per_agent: PerAgent
    baseline_bytes: float
    imports_bytes: float
    uss_bytes: float | None
    pss_bytes: float | None
    rss_bytes: float
    peak_bytes: float | None
    step_seconds: StepSeconds
    build_seconds: float
    ledger: Ledger
    instruments: tuple[InstrumentReading, ...]
    hotspots: Hotspots
    trend: Trend
    timeline: Timeline | None
    samples: tuple[tuple[GrowthPoint, ...], ...]


@dataclass(frozen=True, slots=True)
class Variants:
    before: Variant
    after: Variant | None


@dataclass(frozen=True, slots=True)
class PassResult:
    """What the passes did; None while a pass's claim does not hold or it cannot be told apart."""

    name: str
    claim: Claim
    saved_bytes_per_agent: float | None
    step_time_ratio: float | None


@dataclass(frozen=True, slots=True)
class Equivalence:
    """Whether the optimised population behaves as the plain one, over the same seeds."""

    verdict: Verdict
    agents: int
    steps: int
    action_agreement: float | None
    max_abs_belief_error: float | None
    detail: str


@dataclass(frozen=True, slots=True)
class BudgetCheck:
    """The marginal cost held against the budget; its upper end where it is below resolution."""

    limit_bytes: int
    marginal_bytes: float
    kept: bool


@dataclass(frozen=True, slots=True)
class Caution:
    """Something a reader must know before using a figure."""

    kind: str
    evidence: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Environment:
    """The machine and the software that the figures belong to."""

    versions: dict[str, str]
    platform: str
    cpu_count: int
    total_memory_bytes: int
    cgroup_limit_bytes: int | None
    rlimit_bytes: int | None
    huge_pages: str
    allocator: dict[str, str]
    device: str


@dataclass(frozen=True, slots=True)
class Report:
    """Everything `memprof profile` found. `to_json` of it is the contract."""

    scenario: dict[str, Any]
    environment: Environment
    variants: Variants
    passes: tuple[PassResult, ...]
    equivalence: Equivalence
    budget: BudgetCheck | None
    warnings: tuple[Caution, ...]
    complete: bool
    kind: Literal["profile"] = "profile"
    schema: str = field(default=SCHEMA)
