"""What a worker measures and sends home: the values that cross the process border.

Frozen structs with plain fields, bytes and seconds only. The parent condenses them into the
`Report` of `memprof.values.profile`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from msgspec import Meta, Struct, field

from memprof.values.instruments import (
    MOST_READINGS,
    Calibration,
    Count,
    Positive,
    PositiveSeconds,
    Reading,
)


class GrowthPoint(Struct, frozen=True):
    """Memory with `agents` living agents that have all lived the scenario's steps.

    `uneven_bytes` is what these agents hold alone beyond as many of the mean size, where agents
    differ: resident, by the ledger; `uneven_nominal_bytes` is the same of what was asked for.
    `vacant_bytes` are free blocks of Python's allocator, where agents are built anew: others, who
    are no longer there, had them, and a process with these agents alone would not.
    """

    agents: Count
    reading: Reading
    uneven_bytes: float = 0.0
    uneven_nominal_bytes: float = 0.0
    vacant_bytes: int = 0

    @property
    def private_bytes(self) -> float:
        """Private memory, had the agents come in an even mixture, and no others before them."""
        return self.reading.private_bytes - self.uneven_bytes - self.vacant_bytes

    @property
    def heap_bytes(self) -> float | None:
        """The live heap, had the agents come in an even mixture."""
        heap = self.reading.heap_bytes
        return None if heap is None else heap - self.uneven_nominal_bytes


class TrendSeries(Struct, frozen=True):
    """Live heap bytes after each further step of the whole population, garbage collected.

    Attributes:
        first_step: steps that every agent had lived at the first entry.
        stride: steps from one entry to the next.
        blind: why there is no reading of the heap; empty where there is one.
    """

    agents: Positive
    first_step: int
    stride: Positive
    heap_bytes: Annotated[tuple[int, ...], Meta(max_length=MOST_READINGS)]
    blind: str = ""

    @property
    def tells(self) -> bool:
        """Whether there are readings, or a reason why not: else it was not asked for."""
        return bool(self.heap_bytes or self.blind)


class OperationTime(Struct, frozen=True):
    """Total time of one operation over all agents and steps of a clean worker."""

    operation: str
    calls: int
    seconds: float


class LedgerRow(Struct, frozen=True):
    """Bytes of one component over the whole population; resident is None where unknown. `opaque`
    are types among its objects that may hold native memory of which they give no account."""

    component: str
    private_nominal_bytes: int
    shared_nominal_bytes: int
    private_resident_bytes: int | None
    shared_resident_bytes: int | None
    objects: int
    opaque: tuple[str, ...] = ()

    @property
    def nominal_bytes(self) -> int:
        return self.private_nominal_bytes + self.shared_nominal_bytes

    @property
    def private_bytes(self) -> int:
        """What agents hold alone: resident where that is known."""
        resident = self.private_resident_bytes
        return self.private_nominal_bytes if resident is None else resident

    @property
    def shared_bytes(self) -> int:
        """The same of what several share."""
        resident = self.shared_resident_bytes
        return self.shared_nominal_bytes if resident is None else resident

    @property
    def resident_bytes(self) -> int | None:
        if self.private_resident_bytes is None or self.shared_resident_bytes is None:
            return None
        return self.private_resident_bytes + self.shared_resident_bytes


class Ledger(Struct, frozen=True):
    """Where a population's memory is: growth of private memory for `agents` agents, by component.

    `explained_bytes` are the resident bytes of all components; `unexplained_bytes` is the rest of
    the growth (allocator overhead and fragmentation; negative when the population moved into
    memory that had been freed before). `typical_agent_bytes` is the median of what the scenario's
    agents hold alone, resident, `mean_agent_bytes` the mean, `agent_bytes_range` the least and the
    most. None where the platform cannot tell.
    """

    agents: Positive
    growth_bytes: int
    explained_bytes: int | None
    unexplained_bytes: int | None
    typical_agent_bytes: float | None
    rows: tuple[LedgerRow, ...]
    mean_agent_bytes: float | None = None
    agent_bytes_range: tuple[int, int] | None = None

    def private_each(self, component: str | None = None) -> float:
        """Bytes of a component, or of all, that one agent holds alone: resident where that is
        known, and the mean over the agents of the ledger."""
        rows = (row for row in self.rows if component in (None, row.component))
        return sum(row.private_bytes for row in rows) / self.agents

    def held_each(self, component: str) -> float:
        """The same where the common world may hold what the first agent holds: then the others are
        the mean."""
        others = max(1, self.agents - 1)
        return sum(
            min(row.private_bytes / others, (row.private_bytes + row.shared_bytes) / self.agents)
            for row in self.rows
            if row.component == component
        )


class Rewards(Struct, frozen=True):
    """What worlds gave agents while these lived the scenario's steps, as far as they gave any.

    Attributes:
        mean: of one agent in one step.
        count: so many there were.
    """

    mean: float
    count: Positive

    @classmethod
    def together(cls, parts: Sequence[Rewards]) -> Rewards | None:
        """Those of several parts of a population; None if there are none."""
        count = sum(each.count for each in parts)
        return cls(sum(each.mean * each.count for each in parts) / count, count) if count else None


class WorldMemory(Struct, frozen=True):
    """What a world in which agents meet holds after the scenario's steps, resident where that is
    known; or all of its kind, where a world is for some of the agents.

    Attributes:
        bytes: with the scenario's agents.
        fixed_bytes: of these, what it would hold without agents, by the line through `bytes` and
            what it holds with another number of them; less than none where it grows faster than
            their number.
        bytes_per_agent: what it holds more for one more, by that line.
    """

    bytes: float
    fixed_bytes: float
    bytes_per_agent: float


class WorkingSetUse(Struct, frozen=True):
    """What the pass `working_set` did until now.

    Attributes:
        active_agents, active_bytes: now; bytes that they hold alone, lent buffers included.
        most_active_bytes: at any time.
        hits: uses of an agent that was active already.
        activations: agents made from their records, for a use or ahead of it.
        activated_ahead: those that a thread activated before they were asked for.
        hibernations: agents that were stored to make room, or because all were asked to.
    """

    budget_bytes: int
    active_agents: int
    active_bytes: int
    most_active_bytes: int
    hits: int
    activations: int
    activated_ahead: int
    hibernations: int

    @classmethod
    def together(cls, uses: Sequence[WorkingSetUse]) -> WorkingSetUse | None:
        """Those of several parts of a population; None if there are none."""
        if not uses:
            return None
        return cls(*(sum(getattr(use, name) for use in uses) for name in cls.__struct_fields__))


class Effect(Struct, frozen=True):
    """What a pass has done for a population until now.

    Attributes:
        what: in words, with figures that were counted; empty where there is nothing to tell.
        saves_bytes: memory that it saves, at least; None where that cannot be counted.
    """

    what: str = ""
    saves_bytes: int | None = None


class Mark(Struct, frozen=True):
    """A phase of a worker's life: `label` began at `seconds` (epoch in a worker's events, since the
    worker's start in a report) for a population of `agents`."""

    seconds: float
    label: str
    agents: int = 0


class Processes(Struct, frozen=True):
    """So many processes: their resident sets, and what each shares with no other."""

    count: Count = 0
    rss_bytes: int = 0
    own_bytes: int = 0


class Children(Struct, frozen=True):
    """Processes that descend from a worker and run at its end; they are in none of its figures.

    Attributes:
        started: those that came with the agents.
        earlier: those that were there before the first agent.
    """

    started: Processes = Processes()
    earlier: Processes = Processes()


class WorkerRun(Struct, frozen=True, kw_only=True):
    """What every clean worker says of itself.

    Attributes:
        facts: what a reader must know of the backend: its device and settings.
        calibration: what the readings are worth.
        children: processes that it started.
    """

    facts: dict[str, str]
    calibration: Calibration = field(default_factory=Calibration)
    children: Children = Children()


class Sample(Struct, frozen=True):
    """One clean worker's raw figures, which another run can be compared with.

    Attributes:
        start: after the interpreter and memprof were loaded.
        imported: after PyMDP was imported.
        points: memory against the number of living agents, smallest population first.
        at_n: the point at which the population has the scenario's number of agents.
        peak_rss_bytes: highest resident set from before the first agent until `at_n` was reached.
        step_cpu_seconds: processor time of one agent's step, averaged over a batch, for every batch
            and step, taking down behaviour included; without those that the backend compiled in.
        batches: so many, one after the other in `step_cpu_seconds`.
        reference_cpu_seconds: of the reference loop (`memprof.worker.growth`), run between the
            steps.
        programs_differ: each point has what was compiled for that number of agents, too, which may
            be more or less by any amount.
    """

    start: Reading
    imported: Reading
    points: Annotated[tuple[GrowthPoint, ...], Meta(min_length=2, max_length=MOST_READINGS)]
    at_n: GrowthPoint
    peak_rss_bytes: int | None
    step_cpu_seconds: tuple[float, ...]
    batches: Positive
    reference_cpu_seconds: tuple[PositiveSeconds, ...]
    trend: TrendSeries
    programs_differ: bool = False


class PopulationRun(WorkerRun, frozen=True, kw_only=True):
    """What every clean worker says that has let agents live side by side.

    Attributes:
        baseline: after warm-up, before the first agent.
        file_bytes: what the population takes in files on disk with the agents that were asked for.
        kept_whole: attributes that a pass could not encode exactly, with their types.
        working_set: what that pass did until then; None without it.
        digests: per agent, the hash of what it perceived, of its beliefs, policy posteriors and
            actions at each step.
        course: two hashes per step, over all agents: of what they perceived, empty where that is
            not known, and of what they then believed and did.
    """

    baseline: Reading
    file_bytes: int
    kept_whole: tuple[str, ...]
    working_set: WorkingSetUse | None
    digests: tuple[str, ...]
    course: tuple[str, ...] = ()


class Measurement(PopulationRun, frozen=True):
    """One clean worker: memory against N, time per step, trend, ledger, digests of behaviour.

    Attributes:
        step_seconds: as `sample.step_cpu_seconds`, in wall-clock time, without taking down
            behaviour.
        compile_seconds: the first step of all agents, compilation included; None where the backend
            does not compile.
        build_seconds: building one agent, passes included, averaged over a batch.
        world: None where every agent has a world of its own.
        rewards: None where the worlds give none.
        born: agents that came into the world while the scenario's lived.
    """

    sample: Sample
    step_seconds: tuple[float, ...]
    compile_seconds: float | None
    build_seconds: tuple[float, ...]
    operations: tuple[OperationTime, ...]
    ledger: Ledger
    world: WorldMemory | None = None
    rewards: Rewards | None = None
    born: Count = 0


class TraceComparison(Struct, frozen=True):
    """Two populations compared value by value; `first_difference` is (agent, step) or None.

    `max_divergence_nats` is the largest divergence KL(second || first) of a belief or of a
    posterior over policies; None where one is infinite or the two cannot be compared. `perceived`:
    in the first difference, the agent perceived something else.
    """

    agents: Count
    steps: Count
    actions_compared: int
    actions_equal: int
    max_abs_belief_error: float | None
    max_divergence_nats: float | None
    first_difference: tuple[int, int] | None
    perceived: bool = False


class PlanTrial(Struct, frozen=True):
    """A plan of passes as a worker saw it that tries one after the other, on the same agents.

    Attributes:
        failure: why nothing else is known of it; empty where all is.
        agents: so many of the scenario's, the first ones.
        held_bytes: what an agent holds alone, the mean over them: resident by the ledger, nominal
            where that is not known.
        asked_bytes: the same nominally: how much of an array of zeros is resident depends on which
            memory the allocator had at hand, but not how much was asked for.
        held_error_bytes: the standard error of that mean, where there were not all agents.
        fixed_bytes: private memory of the process without them, with what they share.
        transient_bytes: highest resident set while they were built and stepped, above the
            population at rest; None where the platform cannot tell.
        paces: time per step over that of the plain population, which lived the same steps right
            before or after: by the clock, without the time for which others had the processor.
        plain_pace: the same of that population itself, after over before.
        digest: of the behaviour of all these agents.
        course: as of a `PopulationRun`.
    """

    plan: tuple[str, ...]
    failure: str = ""
    agents: Count = 0
    held_bytes: float = 0.0
    asked_bytes: float = 0.0
    held_error_bytes: float = 0.0
    fixed_bytes: float = 0.0
    transient_bytes: float | None = None
    paces: tuple[PositiveSeconds, ...] = ()
    plain_pace: PositiveSeconds = 1.0
    digest: str = ""
    course: tuple[str, ...] = ()


class PlanComparison(Struct, frozen=True):
    """The agents of a trial against those of the plain population, value by value."""

    plan: tuple[str, ...]
    found: TraceComparison


class PlanTrials(Struct, frozen=True):
    """All that was tried of plans, in the order in which it was."""

    trials: tuple[PlanTrial, ...] = ()
    comparisons: tuple[PlanComparison, ...] = ()


class ThreadsRun(Struct, frozen=True):
    """One worker in which one thread and several let the same agents live, by turns.

    Attributes:
        steps: steps that every agent lived between the two readings of memory; before them, it had
            lived some more while threads warmed up.
        operations: steps of single agents between the two readings, in one thread and in several.
        running: threads that ran at one time, the others waiting for their turn: as many as were
            found to pay off. All `threads` did an equal share of the work.
        one_thread_seconds: wall-clock time per operation, for each block that one thread did,
            taking down its behaviour included.
        threads_seconds: the same, for each block of the several threads; blocks of both kinds come
            in the order 1, several, several, 1.
        one_thread_cpu_seconds: processor time of the whole process per operation, for the blocks of
            one thread; wall-clock time far above it says that other processes had the processors,
            and then threads, which are woken and wait for one, seem slower than they are.
        threads_cpu_seconds: the same, for the blocks of the several threads.
        before_private_bytes: private memory before the first operation, settled.
        after_private_bytes: private memory after the last one, settled; all agents and threads are
            still there.
        peak_rss_bytes: highest resident set between the two; None where the platform cannot tell.
        facts: what a reader must know of the backend.
        digests: per agent, of the first `steps` steps of its life, as in `Measurement`; equal to
            those if the threads changed nothing.
    """

    agents: Count
    steps: Count
    operations: int
    threads: int
    running: int
    one_thread_seconds: tuple[float, ...]
    threads_seconds: tuple[float, ...]
    one_thread_cpu_seconds: tuple[float, ...]
    threads_cpu_seconds: tuple[float, ...]
    before_private_bytes: int
    after_private_bytes: int
    peak_rss_bytes: int | None
    facts: dict[str, str]
    digests: tuple[str, ...]
