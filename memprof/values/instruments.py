"""What instruments read, how far their readings can be trusted, and the rows that they return.

Frozen structs with plain fields, bytes and seconds only.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

MOST_COUNT, MOST_READINGS = 10**12, 1_000  # slopes are those of all pairs of readings
Count = Annotated[int, Meta(ge=0, le=MOST_COUNT)]
Positive = Annotated[int, Meta(ge=1, le=MOST_COUNT)]
PositiveSeconds = Annotated[float, Meta(gt=0)]
"""What counts and times in reports may be: nothing is divided by zero, or takes for ever."""


class Reading(Struct, frozen=True):
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


UNSEEN = {
    "native": "malloc",
    "python": "Python's allocator",
    "process": "directly mapped memory",
    "device": "JAX's arrays",
}
"""What is not seen without a reading, or the readings that stand in for it."""


class Calibration(Struct, frozen=True):
    """Which readings of a worker can be trusted: each was tested there with memory of known size.

    Attributes:
        malloc: the allocator in use, as far as known.
        left_out: readings that did not follow the allocations, and why each is not used.
        unseen: kinds of memory without a trusted byte-exact reading.
        endless_garbage: each garbage collection found more, so some is in the readings.
        finalizers: those that are known to make it, such as `Canary.__del__`.
    """

    malloc: str = ""
    left_out: dict[str, str] = field(default_factory=dict)
    unseen: tuple[str, ...] = ()
    endless_garbage: bool = False
    finalizers: tuple[str, ...] = ()


class ContentRow(Struct, frozen=True):
    """What one component's arrays hold, agent by agent.

    Attributes:
        compared: agents whose content was compared, the first one included.
        alike: how many of them have the first one's content, bit by bit, the first one included.
        copies: how many of those hold it in memory of their own, the first one not included.
        agent_bytes: nominal bytes of the first agent's arrays and the containers they are in.
        number_bytes: nominal bytes of the numbers in them.
        zeros: share of the numbers of all compared agents that are 0; None where there are none.
        pinned_bytes: of `agent_bytes`, what no array of the component shows: it has views of parts
            of larger arrays, which stay whole for them.
    """

    component: str
    compared: int
    alike: int
    copies: int
    agent_bytes: int
    number_bytes: int
    zeros: float | None
    pinned_bytes: int = 0


class GainRow(Struct, frozen=True):
    """An attribute of agents that grows with every step.

    Attributes:
        attribute: `Agent.prev_actions`; `records` for all of an agent that rests as one.
        bytes_per_step: nominal bytes that it gains in one agent per step.
        agents, steps: that this is a mean over.
    """

    attribute: str
    bytes_per_step: float
    agents: Count
    steps: Count


class ImportRow(Struct, frozen=True):
    """What loading the modules of one top-level package took, without those of other packages that
    they import.

    Attributes:
        package: its name; `standard library` for all of Python's own.
        asked_by: `pymdp`: loaded together with PyMDP; `model`: later, with the scenario's model,
            the first agent and its first steps.
        private_bytes: growth of the process's anonymous memory; its RSS where there is no such
            figure.
        seconds: time, the reading of files included.
    """

    package: str
    asked_by: Literal["pymdp", "model"]
    private_bytes: int
    seconds: float
    modules: int


class OperationMemory(Struct, frozen=True):
    """What one operation retains, and its transient peak (traced heap, mean and worst call)."""

    operation: str
    calls: int
    retained_bytes: int
    peak_bytes: int


class SourceLine(Struct, frozen=True):
    """A line of source, with what it says; line 0 for several, of which none matters."""

    path: str
    line: int
    text: str

    @property
    def place(self) -> str:
        """`path:line`."""
        return f"{self.path}:{self.line}" if self.line else self.path

    @property
    def is_memprofs(self) -> bool:
        """Whether it is memprof's own, but for the models that come with it."""
        return self.path.startswith("memprof/") and not self.path.startswith("memprof/models/")


class LineHotspot(SourceLine, frozen=True):
    """One that holds memory: traced bytes and blocks of one further agent."""

    bytes_per_agent: float
    blocks_per_agent: float


class Frame(Struct, frozen=True):
    """A line in a function that called the next; `function` is qualified by its classes, `<module>`
    outside of any, and `[unknown]` where there is no source."""

    path: str
    line: int
    function: str


class AllocationStack(Struct, frozen=True):
    """Calls that allocated memory which is held: traced bytes and blocks of one further agent.

    Attributes:
        operation: of the agent, in which they happened; or what else they have in common.
        frames: outermost first, below the operation; the last one allocated.
    """

    operation: str
    frames: tuple[Frame, ...]
    bytes_per_agent: float
    blocks_per_agent: float


class TypeRow(Struct, frozen=True):
    """Objects of one Python type in the population, flat sizes without what they refer to."""

    type_name: str
    objects: int
    size_bytes: int


class DeviceRow(Struct, frozen=True):
    """Live device buffers of one component over the whole population, each buffer once."""

    component: str
    private_bytes: int
    shared_bytes: int
    buffers: int


class Retrace(SourceLine, frozen=True):
    """A line at which JAX retraces, although the agents have stepped before."""

    traces_per_step: float


class ProgramMemory(Struct, frozen=True):
    """What XLA says of one call of the program that agents live by, before it runs.

    Attributes:
        agents: that live in one call: all of them, or a chunk.
        steps: that they live in it.
        argument_bytes, output_bytes: arrays that go in and come out.
        temporary_bytes: what is there only while it runs.
        alias_bytes: outputs that take the place of arguments.
        code_bytes: 0 where XLA does not tell, as on a CPU.
    """

    agents: Positive
    steps: Positive
    argument_bytes: int
    output_bytes: int
    temporary_bytes: int
    alias_bytes: int
    code_bytes: int

    @property
    def added_bytes(self) -> int:
        """What a call needs beside its arguments."""
        return self.output_bytes - self.alias_bytes + self.temporary_bytes + self.code_bytes

    @property
    def each_bytes(self) -> float:
        """The same per agent and step."""
        return self.added_bytes / self.agents / self.steps


class Account(Struct, frozen=True):
    """What so many agents take, none of which need be there.

    Attributes:
        program: XLA's account of one call, in which a chunk of them lives.
        held_bytes: what all of them hold between their steps, and while a chunk steps.
        device_bytes: the most that is on the device at once, where that is not the host.
        copied_bytes: copies on the host while a chunk wakes, steps and is put to rest, beside what
            the program needs; at most.
    """

    agents: Positive
    program: ProgramMemory
    held_bytes: int
    device_bytes: int
    copied_bytes: int = 0

    @property
    def peak_bytes(self) -> int:
        """The most that they take at once."""
        return self.held_bytes + self.program.added_bytes + self.copied_bytes


class DeviceDetails(Struct, frozen=True):
    """What JAX holds and does for a population of `agents`, beyond the bytes of its live arrays.

    Attributes:
        before_bytes: live arrays from before the first agent; they are in none of the rows.
        caches_bytes: private memory of the process that letting go of compiled programs and caches
            frees, after the scenario's steps; None where there is no such thing.
        memory_stats: the device's own account, where it gives one.
        first_steps: steps of the first call of a newly built population, with nothing compiled yet;
            `first_traces` and `first_compilations` happen in it.
        steps: later steps of the whole population that the figures per step are a mean of; 0 where
            the agents cannot live on past the scenario's steps.
        retraces: lines that trace in those steps, most frequent first.
        account: XLA's, of the program that they live by; None where `no_account` says why.
    """

    agents: Positive
    rows: tuple[DeviceRow, ...]
    before_bytes: int
    caches_bytes: int | None
    memory_stats: dict[str, int]
    first_steps: int
    first_traces: int
    first_compilations: int
    steps: Count
    traces_per_step: float | None
    compilations_per_step: float | None
    retraces: tuple[Retrace, ...]
    account: Account | None = None
    no_account: str = ""


class Details(Struct, frozen=True):
    """What an instrument can say beyond one figure; empty where it cannot tell.

    Attributes:
        held_bytes: what each agent holds alone, nominal, from an instrument that counts all of it;
            the worker keeps it to itself.
        further_agents: lines and stacks are a mean over so many agents, after those that also pay
            for what all share.
        further_bytes: what one of these holds alone, nominal, by the ledger's walk.
    """

    operations: tuple[OperationMemory, ...] = ()
    lines: tuple[LineHotspot, ...] = ()
    stacks: tuple[AllocationStack, ...] = ()
    types: tuple[TypeRow, ...] = ()
    device: DeviceDetails | None = None
    contents: tuple[ContentRow, ...] = ()
    gains: tuple[GainRow, ...] = ()
    held_bytes: tuple[int, ...] = ()
    further_agents: int = 1
    further_bytes: float | None = None


class InstrumentRun(Struct, frozen=True):
    """One intrusive worker: what the instrument read at each population size, and its cost.

    Attributes:
        readings: (agents, bytes) as this instrument counts them.
        uneven_bytes: at each of them, what the agents hold beyond as many of the mean size, as in
            `GrowthPoint`, nominal; empty where they are of one size.
        mean_bytes: what one of the scenario's agents holds alone, nominal; None where unknown.
        step_cpu_seconds: as in `Sample`, with the instrument at work.
        reading_seconds: processor time of one reading of the largest population.
        imports: of this worker, before the instrument was at work.
    """

    readings: tuple[tuple[int, int], ...]
    step_cpu_seconds: tuple[float, ...]
    reading_seconds: float
    details: Details = field(default_factory=Details)
    imports: tuple[ImportRow, ...] = ()
    uneven_bytes: tuple[float, ...] = ()
    mean_bytes: float | None = None
