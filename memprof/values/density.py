"""What density workers measure, and what a density report says.

Frozen dataclasses with plain fields, bytes and seconds only.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from memprof.values.counts import Count, Positive
from memprof.values.measurements import Calibration, Reading, WorkingSetUse
from memprof.values.profile import (
    SCHEMA,
    BudgetCheck,
    Caution,
    Environment,
    Equivalence,
    Interval,
    PerAgent,
    VariantName,
)
from memprof.values.scenario import ScenarioFields

Ended = Literal["reached", "time", "memory", "failed"]
Gauge = Literal["resident", "data", "virtual"]
BoundName = Literal["--memory-limit", "RLIMIT_DATA", "RLIMIT_AS", "cgroup", "machine"]


@dataclass(frozen=True, slots=True)
class Bound:
    """A bound on a worker's memory.

    Attributes:
        limit_bytes: what the worker may have; for `cgroup` and `machine`, which others use too,
            what they had left when it was asked.
        gauge: what it is compared with: resident memory, the data segment (private writable
            mappings, touched or not), or the whole address space.
    """

    name: BoundName
    limit_bytes: int
    gauge: Gauge


@dataclass(frozen=True, slots=True)
class DensityPoint:
    """A population of `agents` living agents that have all lived the scenario's steps.

    Attributes:
        reading: at rest, garbage collected and given back.
        data_bytes, virtual_bytes: private writable mappings and all mappings, at rest.
        peak_virtual_bytes: the most that all mappings took until now.
        peak_rss_bytes: highest resident set since the point before. All four None off Linux.
        build_seconds: building one of the agents that are new since the point before, with what
            the passes do to it.
        optimise_seconds: what the passes do to it alone; None where it is not timed alone.
        step_seconds: one step of one agent, all of them being stepped in turn; None at sizes that
            were only visited to resolve the cost of an agent.
        stepped: the agents that were stepped for it, all of them or the first ones.
    """

    agents: Count
    reading: Reading
    data_bytes: int | None
    virtual_bytes: int | None
    peak_virtual_bytes: int | None
    peak_rss_bytes: int | None
    build_seconds: float
    optimise_seconds: float | None
    step_seconds: float | None
    stepped: int


@dataclass(frozen=True, slots=True)
class DensityRun:
    """One clean worker that let a population grow from size to size.

    Attributes:
        baseline: after warm-up, before the first agent.
        lived: agents that were built and lived the scenario's steps, after the last point too.
        time_up: it ended early because its time was over.
        replaced: agents that left while the others stayed, and as many that came in their place.
        working_set: what the pass of that name did; None without it.
        left: after the last agent left; None if it did not come to that.
        file_bytes: what the population took in files on disk at the last point.
        facts: what a reader must know of the backend.
        kept_whole: attributes that a pass could not encode exactly.
        digests: behaviour of the first agents over the scenario's steps.
        calibration: what the readings are worth.
    """

    baseline: Reading
    points: tuple[DensityPoint, ...]
    lived: int
    time_up: bool
    replaced: int
    left: Reading | None
    working_set: WorkingSetUse | None
    file_bytes: int
    facts: dict[str, str]
    kept_whole: tuple[str, ...]
    digests: tuple[str, ...]
    calibration: Calibration = field(default_factory=Calibration)


@dataclass(frozen=True, slots=True)
class SizeRow:
    """A population of one size, averaged over the repeats.

    Attributes:
        total_bytes: USS of the process (RSS off Linux).
        marginal_bytes: growth since the size before, for each new agent; None for the first.
        per_agent_bytes: growth since there was no agent, for each.
        peak_bytes: highest resident set while the population grew to this size.
        steps_per_second: steps of agents, all of them together.
        efficiency: that against the steps per second of the smallest population.
        stepped: the agents that this was measured with.
    """

    variant: VariantName
    agents: Positive
    total_bytes: float
    marginal_bytes: float | None
    per_agent_bytes: float
    peak_bytes: float | None
    steps_per_second: float | None
    steps_per_second_per_agent: float | None
    efficiency: float | None
    stepped: int
    build_seconds: float
    optimise_seconds: float | None


@dataclass(frozen=True, slots=True)
class Room:
    """How many agents fit in one bound on the memory of the process.

    Attributes:
        agents: the lower end of the 95 % interval.
        expected: by the fitted line itself.
        most: the upper end; None if the line may be level.
        transient_bytes: what building and stepping needs above the population at rest.
    """

    bound: BoundName
    gauge: Gauge
    limit_bytes: int
    agents: Count
    expected: int
    most: int | None
    transient_bytes: float


@dataclass(frozen=True, slots=True)
class Verification:
    """The capacity put to the test: a worker under the limit that was asked for a tenth more.

    Attributes:
        asked: agents that it was to build.
        found: agents that lived at once.
        ended: `memory` when it hit the limit, `reached` when all that were asked for fit.
    """

    asked: int
    found: int
    ended: Ended


@dataclass(frozen=True, slots=True)
class Capacity:
    """How many agents fit: the lowest of all bounds, and how that was verified if it was."""

    variant: VariantName
    room: Room
    others: tuple[Room, ...]
    verification: Verification | None


@dataclass(frozen=True, slots=True)
class DensityVariant:
    """The population without passes, or with them.

    Attributes:
        agents_per_gib: by the marginal cost; its lower end where that is below resolution.
        lived: most agents that lived at once.
        ended: why the sweep ended: it `reached` its last size, or its `time` was up, or the
            `memory` that it may have.
        uss_bytes, pss_bytes, peak_bytes: at the largest size.
        replaced: agents that left while others stayed, and as many that came in their place.
        baseline_bytes, left_bytes: USS before the first agent, and after the last one left.
        working_set: what the pass of that name did in the first repeat; None without it.
        file_bytes: what the largest population took in files on disk; it is in no other figure.
        step_seconds: one agent's step among `stepped` others, at the largest size.
    """

    passes: tuple[str, ...]
    repeats: Count
    per_agent: PerAgent
    agents_per_gib: float
    lived: int
    ended: Ended
    detail: str
    uss_bytes: float | None
    pss_bytes: float | None
    peak_bytes: float | None
    baseline_bytes: float
    replaced: int
    left_bytes: float | None
    working_set: WorkingSetUse | None
    file_bytes: float
    step_seconds: float | None
    build_seconds: float
    optimise_seconds: float | None
    kept_whole: tuple[str, ...]
    samples: tuple[tuple[DensityPoint, ...], ...]


@dataclass(frozen=True, slots=True)
class ThreadsRow:
    """The agents of a population stepped by several threads, against one thread.

    Attributes:
        steps: of each agent; a step is one operation.
        running: threads that ran at one time; the others waited, since more did not pay.
        one_thread_per_second, threads_per_second: operations.
        ratio, ratio_ci95: the second over the first, of neighbouring blocks.
        growth_bytes: private memory of the process gained over all operations.
    """

    variant: VariantName
    agents: Count
    steps: Count
    threads: int
    running: int
    one_thread_per_second: float
    threads_per_second: float
    ratio: float
    ratio_ci95: Interval
    growth_bytes: float


@dataclass(frozen=True, slots=True)
class DensityVariants:
    before: DensityVariant
    after: DensityVariant | None

    def named(self) -> Iterator[tuple[VariantName, DensityVariant]]:
        """Before, and after where that was measured."""
        yield "before", self.before
        if self.after is not None:
            yield "after", self.after


@dataclass(frozen=True, slots=True)
class Density:
    """What was found at each size, what follows for the capacity, and how threads did; `suite` if
    the sizes are those of the predecessor's benchmarks."""

    points: tuple[SizeRow, ...]
    capacity: tuple[Capacity, ...]
    threads: tuple[ThreadsRow, ...]
    suite: bool


@dataclass(frozen=True, slots=True)
class DensityReport:
    """Everything `memprof density` found. Its JSON is the contract."""

    scenario: ScenarioFields
    environment: Environment
    variants: DensityVariants
    density: Density
    equivalence: Equivalence
    budget: BudgetCheck | None
    warnings: tuple[Caution, ...]
    complete: bool
    kind: Literal["density"] = "density"
    schema: str = field(default=SCHEMA)
