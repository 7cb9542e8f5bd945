"""What leak workers measure, and what a leak report says.

Frozen structs with plain fields, bytes and seconds only. A *cycle* is one iteration of the
check: N agents are built, run their steps and are released (`lifecycle`), or the same N agents run
as many more steps (`steps`).
"""

from __future__ import annotations

from typing import Literal, cast

from msgspec import Struct

from memprof.values.counts import COUNTS, Counted, CountName
from memprof.values.instruments import Count, SourceLine
from memprof.values.measurements import WorkerRun
from memprof.values.population import PopulationSpec
from memprof.values.report import Interval, LeakVerdict, ScenarioReport

Mode = Literal["lifecycle", "steps"]
MODES: tuple[Mode, ...] = ("lifecycle", "steps")
SignalName = Literal["native", "python", "objects", "process", "mapped", "device"] | CountName
HEAP: tuple[SignalName, ...] = ("native", "python")
"""The signals that together are all that is handed out."""
Evidence = Literal["object graph", "tracemalloc", "memray", "jax", "counts"]


def cycle_steps(spec: PopulationSpec, mode: Mode) -> int:
    """Steps of a cycle: agents that live on have whole episodes in each, so that they are at the
    same place of one at every reading."""
    return spec.whole(spec.steps) if mode == "steps" else spec.steps


class CycleReading(Struct, frozen=True):
    """Memory of a clean worker after one cycle, with garbage collected and freed; None where
    no reading of the platform or the backend can be trusted.

    Attributes:
        native_bytes: what malloc has allocated.
        python_bytes: what Python's small-object allocator has allocated.
        python_blocks: the number of its blocks.
        process_bytes: private memory of the process, see `Reading.private_bytes`, without what
            malloc keeps of it for later.
        device_bytes: live arrays of JAX, each buffer once.
        mapped_bytes: address space except private writable memory: files and shared memory.
        data_bytes: the private writable address space, touched or not.
        counts: how many there are of what is counted, where it can be.
        records_bytes: blocks of the records of agents that are at rest; they are part of what
            malloc and Python's allocator have allocated.
    """

    native_bytes: int | None
    python_bytes: int | None
    python_blocks: int | None
    process_bytes: int | None
    device_bytes: int | None
    mapped_bytes: int | None = None
    data_bytes: int | None = None
    counts: dict[CountName, int] = {}
    records_bytes: int = 0


class Exhausted(Struct, frozen=True):
    """What there was no more of, and the error that said so."""

    what: CountName
    said: str


class CycleRun(WorkerRun, frozen=True):
    """One clean worker: a reading before the first cycle, and one after each.

    Attributes:
        seconds: what each cycle took, without its reading.
        compilations: programs that JAX compiled in each cycle; empty for other backends.
        peak_bytes: the highest resident set of its process until then; 0 where nothing tells.
        exhausted: why the last cycle was not finished, where there was no more of what had grown.
        grain_bytes: by how much the process grows at the least; None where that is a page.
    """

    readings: tuple[CycleReading, ...]
    seconds: tuple[float, ...]
    compilations: tuple[int, ...]
    peak_bytes: int = 0
    exhausted: Exhausted | None = None
    grain_bytes: int | None = None


class LeakRun(Struct, frozen=True):
    """One clean worker, which let the population live in one mode after the other.

    Attributes:
        runs: by mode, in the order in which they were checked. A leak in one mode ends the run.
        refused: why agents that were to live in the next mode could not; empty if they could.
    """

    runs: dict[Mode, CycleRun]
    refused: str = ""


class SiteLine(SourceLine, frozen=True):
    """A line that allocated some of the retained memory."""

    bytes_per_cycle: float


def is_memprofs_own(owner: str) -> bool:
    """Whether an owner, by its name, is memprof's own, which no user can bound. The models that
    come with memprof count as the user's."""
    return f"{owner}.".startswith("memprof.") and not owner.startswith("memprof.models.")


CauseName = Literal[
    "history",
    "retracing",
    "memprof",
    "array cycle",
    "garbage",
    "finalizer",
    "exception",
    "method cache",
    "interned names",
]


class Cause(Struct, frozen=True):
    """Why a site retains memory, where that is known.

    Attributes:
        says: what happens, in a sentence.
        remedy: what to do about it, in another.
    """

    kind: CauseName
    says: str
    remedy: str


class Site(Struct, frozen=True):
    """One place that retains more memory in every cycle.

    Attributes:
        owner: the attribute or variable that retains it, such as `Agent.prev_actions` or
            `service.SUBSCRIBERS`; `memprof` for all that is memprof's own; empty where only lines
            are known.
        lines: where it was allocated, most bytes first; empty where nothing saw the allocation.
        type_name: the most common type of the retained objects; empty if they are not Python's.
        objects_per_cycle: Python objects, or allocations where they are no objects.
        kept_by: what keeps the objects alive, from the owner up to a module or a frame.
        seen_by: the instrument that found it.
        traces_per_cycle: how often JAX retraces at the line, for sites of that kind.
        yours: the user's own lines that made it, or that called what did, most bytes first; empty
            where none is known.
        added: the user's own lines at which the owner's container grew, with what that took; empty
            where none is known.
        counted: which count of `COUNTS` grows there; None for a site of bytes.
        targets: some of what is counted, such as files that are open.
        cause: why it grows; None where that is not known.
    """

    owner: str
    lines: tuple[SiteLine, ...]
    type_name: str
    bytes_per_cycle: float
    objects_per_cycle: float
    kept_by: tuple[str, ...]
    seen_by: Evidence
    traces_per_cycle: float | None = None
    yours: tuple[SiteLine, ...] = ()
    added: tuple[SiteLine, ...] = ()
    counted: CountName | None = None
    targets: tuple[str, ...] = ()
    cause: Cause | None = None

    @property
    def name(self) -> str:
        """Its owner, or its first line if nothing owns it; what is counted by its first target."""
        if self.counted is not None:
            return " ".join((COUNTS[self.counted].one, *self.targets[:1]))
        lines = self.yours or self.lines
        if self.owner or not lines:
            return self.owner or self.type_name
        return lines[0].place

    @property
    def where(self) -> str:
        """Its name, and the user's own lines that made the objects and put them there."""
        made, added = (lines[0].place if lines else "" for lines in (self.yours, self.added))
        if self.counted is not None:
            held = f", held by {self.owner}" * bool(self.owner)
            at = f", {COUNTS[self.counted].made} at {made}" * bool(made)
            return f"{self.name}{at}{held}"
        if not self.owner or not (made or added):
            return self.name
        said = [f"made at {made}"] * bool(made) + [f"added at {added}"] * bool(added)
        return f"{self.owner} ({made if made == added else ', '.join(said)})"


class Attribution(Struct, frozen=True):
    """What a worker with intrusive instruments found of a leak.

    Attributes:
        sites: most bytes first.
        native_bytes_per_cycle: growth of the live heap that neither the object graph, nor
            tracemalloc, nor JAX's own reports account for; 0 where they account for it.
        heap_bytes_per_cycle: growth of the live heap in this worker, before anything was watched.
        left_out: what there was no time to look for.
    """

    sites: tuple[Site, ...]
    native_bytes_per_cycle: float
    heap_bytes_per_cycle: float
    left_out: tuple[str, ...] = ()


class Signal(Struct, frozen=True):
    """One reading over the cycles, with its verdict; in bytes, except for `objects` and what is in
    `COUNTS`.

    Attributes:
        per_cycle: what it gains per cycle, over all repeats.
        floor: the smallest gain per cycle that every repeat would have been found with; None if
            none would have been.
        series: the readings of each repeat, the one before the first cycle included.
    """

    name: SignalName
    verdict: LeakVerdict
    per_cycle: float
    ci95: Interval
    floor: float | None
    series: tuple[tuple[int, ...], ...]

    @property
    def counted(self) -> Counted | None:
        """What it counts, in words; None for memory and its objects."""
        return COUNTS.get(cast(CountName, self.name))

    @property
    def in_bytes(self) -> bool:
        """Whether it is memory, rather than a number of things."""
        return self.name != "objects" and self.counted is None


class Leak(Struct, frozen=True):
    """The verdict on one population in one mode.

    Attributes:
        bytes_per_cycle: growth of the live heap (native and Python's small objects) per cycle, or
            of the process or device where only that grows.
        bytes_per_agent: the same for each agent, per cycle.
        floor_bytes: the smallest leak in the heap that this run would have found; None if there is
            no such.
        warm_up_cycles: cycles that were left out at the start of each repeat.
        cycles_needed: cycles that would decide, where the verdict is inconclusive.
        compilations_per_cycle: programs that JAX compiles in each cycle; None for other backends.
        detail: the verdict in words.
        unattributed_bytes: growth per cycle that no site accounts for, what allocators add to
            objects included; negative where the sites, which are measured apart, have more. None
            where there was nothing to attribute.
        native_bytes: growth per cycle that neither the object graph nor tracemalloc sees; None
            likewise.
        history_steps: how many steps of their past agents kept, where the scenario does not say so;
            None where they kept what the scenario says.
        sites_without: passes that the search for sites left out, so that agents stayed active;
            sites and `unattributed_bytes` are then what active agents gain.
    """

    verdict: LeakVerdict
    mode: Mode
    cycles: Count
    agents: Count
    steps: Count
    passes: tuple[str, ...]
    repeats: Count
    bytes_per_cycle: float
    ci95_bytes: Interval
    bytes_per_agent: float
    floor_bytes: float | None
    warm_up_cycles: tuple[int, ...]
    cycles_needed: int | None
    compilations_per_cycle: float | None
    detail: str
    signals: tuple[Signal, ...]
    sites: tuple[Site, ...]
    unattributed_bytes: float | None
    native_bytes: float | None
    cycle_seconds: float
    history_steps: int | None = None
    sites_without: tuple[str, ...] = ()


class Unchecked(Struct, frozen=True):
    """A mode that was requested but not checked, and why."""

    mode: Mode
    reason: str


class LeakReport(ScenarioReport, frozen=True, kw_only=True):
    """Everything `memprof leak` found. Its JSON is the contract.

    Attributes:
        leak: the mode that decides: the one that leaks, else one that is inconclusive, else the
            first.
        also: the other mode, where that was checked as well.
    """

    kind: Literal["leak"] = "leak"
    leak: Leak
    also: tuple[Leak, ...] = ()
    unchecked: tuple[Unchecked, ...] = ()
