"""What density workers measure, and the density report.

Frozen structs with plain fields, bytes and seconds only.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from memprof.values.distributed import Distributed, GrowthEnd, NodeMemory
from memprof.values.instruments import Count, Positive, Reading
from memprof.values.measurements import PopulationRun, TraceComparison
from memprof.values.report import (
    BaseVariant,
    BudgetCheck,
    Equivalence,
    Interval,
    ScenarioReport,
    VariantName,
    Variants,
)

Ended = Literal["reached", "time", "memory", "failed"]
Gauge = Literal["resident", "data", "virtual"]
BoundName = Literal["--memory-limit", "RLIMIT_DATA", "RLIMIT_AS", "cgroup", "machine"]


class Bound(Struct, frozen=True):
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


class DensityPoint(Struct, frozen=True):
    """A population of `agents` living agents that have all run the scenario's steps.

    Attributes:
        reading: at rest, with garbage collected and freed.
        data_bytes, virtual_bytes: private writable mappings and all mappings, at rest.
        peak_virtual_bytes: the most that all mappings have taken so far.
        peak_rss_bytes: highest resident set since the point before. All four None off Linux.
        build_seconds: building one of the agents that are new since the previous point, with what
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


class DensityRun(PopulationRun, frozen=True):
    """One clean worker that grew a population from size to size; behaviour is that of the first
    agents.

    Attributes:
        lived: agents that were built and lived the scenario's steps, after the last point too.
        time_up: it ended early because its time was up.
        replaced: agents that left while the others stayed, and as many that came in their place.
        left: after the last agent left; None if it did not come to that.
    """

    points: tuple[DensityPoint, ...]
    lived: int
    time_up: bool
    replaced: int
    left: Reading | None


class DistributedRun(Struct, frozen=True):
    """A population that grew over shards, as the process saw it that drives them.

    Attributes:
        ray: its version.
        sweep: sums over all shards; the private bytes of its readings are those of shards and of
            the object stores, USS and PSS have pages of libraries too, each once.
        empty, nodes: each node before the first agent, and with the largest population that was
            asked for.
        agents: of that, on each node.
        ended: why it grew no further.
        lack: of what memory, and where, if that is why; otherwise empty.
        behaved: digests of the first agents in one process; of two runs, where those of the shards
            were others.
        courses: as of `PopulationRun`, of the same runs.
        comparison: value by value, where digests differ and passes may change values.
        paced: agents that the rounds are of.
        one_process_seconds, shards_seconds: a step of one of these, in neighbouring rounds.
        messages, message_bytes: of one step of all agents, both ways; None where they were not
            counted.
    """

    ray: str
    sweep: DensityRun
    empty: tuple[NodeMemory, ...]
    nodes: tuple[NodeMemory, ...]
    agents: tuple[Count, ...]
    ended: GrowthEnd
    behaved: tuple[tuple[str, ...], ...]
    courses: tuple[tuple[str, ...], ...]
    comparison: TraceComparison | None = None
    paced: Count = 0
    one_process_seconds: tuple[float, ...] = ()
    shards_seconds: tuple[float, ...] = ()
    messages: float | None = None
    message_bytes: float | None = None
    lack: str = ""


class SizeRow(Struct, frozen=True):
    """A population of one size, averaged over the repeats.

    Attributes:
        total_bytes: USS of the process (RSS off Linux).
        marginal_bytes: growth per new agent since the previous size; None for the first.
        per_agent_bytes: growth since the empty population, per agent.
        peak_bytes: highest resident set while the population grew to this size.
        steps_per_second: steps of agents, all of them together.
        efficiency: that rate relative to the smallest population's.
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


class Room(Struct, frozen=True):
    """How many agents fit in one bound on the memory of the process.

    Attributes:
        agents: the lower end of the 95 % interval.
        expected: by the fitted line itself.
        most: the upper end; None if the line may be level.
        transient_bytes: what building and stepping needs above the population at rest; None where
            the platform does not tell, and the capacity leaves it out.
        empty_bytes: what the process takes of the limit without agents, by the fitted line; None in
            older reports.
    """

    bound: BoundName
    gauge: Gauge
    limit_bytes: int
    agents: Count
    expected: int
    most: int | None
    transient_bytes: float | None
    empty_bytes: float | None = None


class Verification(Struct, frozen=True):
    """A test of the capacity: a worker under the limit that was to build a tenth more.

    Attributes:
        asked: agents that it was to build.
        found: agents that lived at the same time.
        ended: `memory` when it hit the limit, `reached` when all that were asked for fit.
    """

    asked: int
    found: int
    ended: Ended


class Capacity(Struct, frozen=True):
    """How many agents fit: the lowest of all bounds, and how that was verified if it was."""

    variant: VariantName
    room: Room
    others: tuple[Room, ...]
    verification: Verification | None


class DensityVariant(BaseVariant, frozen=True, kw_only=True):
    """The population as it grew.

    Attributes:
        agents_per_gib: by the marginal cost; a lower bound if that is below resolution.
        lived: most agents that lived at once.
        ended: why the sweep ended: it `reached` its last size, or its `time` was up, or the
            `memory` that it may have.
        replaced: agents that left while others stayed, and as many that came in their place.
        left_bytes: USS after the last agent left.
        step_seconds: one agent's step among `stepped` others, at the largest size.
    """

    agents_per_gib: float
    lived: int
    ended: Ended
    detail: str
    replaced: int
    left_bytes: float | None
    step_seconds: float | None
    optimise_seconds: float | None
    samples: tuple[tuple[DensityPoint, ...], ...]


class ThreadsRow(Struct, frozen=True):
    """The agents of a population stepped by several threads, compared with one thread.

    Attributes:
        steps: of each agent; a step is one operation.
        running: threads that ran at the same time; the others waited, because more did not pay off.
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


class Density(Struct, frozen=True):
    """What was found at each size, what follows for the capacity, and how threads did; `suite` if
    the sizes are those of the predecessor's benchmarks."""

    points: tuple[SizeRow, ...]
    capacity: tuple[Capacity, ...]
    threads: tuple[ThreadsRow, ...]
    suite: bool


class DensityReport(ScenarioReport, frozen=True, kw_only=True):
    """Everything `memprof density` found. Its JSON is the contract.

    Attributes:
        distributed: the population over shards; None where there was none, as in older reports.
    """

    kind: Literal["density"] = "density"
    variants: Variants[DensityVariant]
    density: Density
    equivalence: Equivalence
    budget: BudgetCheck | None
    distributed: Distributed | None = None
