"""The messages between parent and worker: one request in, events out, each a line of JSON."""

from __future__ import annotations

import json
from typing import Any, ClassVar, Generic, Literal, TypeVar

import msgspec

from memprof.values.counts import CountName
from memprof.values.density import DensityRun, DistributedRun
from memprof.values.distributed import Reached
from memprof.values.instruments import Calibration, InstrumentRun
from memprof.values.leak import Attribution, LeakRun, Mode
from memprof.values.measurements import Mark, Measurement, PlanTrials, ThreadsRun, TraceComparison
from memprof.values.population import PopulationSpec
from memprof.values.prediction import ForecastRun

R = TypeVar("R")


class Request(msgspec.Struct, Generic[R], frozen=True, tag_field="job"):
    """One job for a fresh process, which ends with an R.

    Attributes:
        target: what runs it in the worker, as `module:function`: it gets the request and the
            worker's end of the pipe.
        result: the type R.
        cycles: its readings are compared from cycle to cycle, which the allocator's thread caches
            would disturb.
        one_arena: all its threads allocate from one arena.
        peaks: its highest resident set is compared with what programs need.
        memory_limit_bytes: RLIMIT_DATA of the worker.
    """

    target: ClassVar[str]
    result: ClassVar[type[Any]]
    cycles: ClassVar[bool] = False
    one_arena: ClassVar[bool] = False
    peaks: ClassVar[bool] = False

    spec: PopulationSpec
    memory_limit_bytes: int | None = None

    @property
    def is_of_start(self) -> bool:
        """Its result tells how a process starts, what it imports or how far it can grow: not to be
        had from the fork of another."""
        return True


class Measure(Request[Measurement], frozen=True, kw_only=True, tag="measure"):
    """Measure the population cleanly.

    Attributes:
        resolve: add agents, within the limits of the effort, until the cost of one is known by so
            many workers together; none are added for 0.
        most: so many agents in the end, where another worker has found out how many it takes; of
            those that are built anew.
        trend: let them live on, to see whether they grow.
    """

    target = "memprof.profile.worker:measure"
    result = Measurement

    resolve: int = 0
    most: int = 0
    trend: bool = True

    @property
    def is_of_start(self) -> bool:
        return False


class ReadThrough(Request[InstrumentRun], frozen=True, kw_only=True, tag="instrument"):
    """Read the population through an instrument, and say what `imports` take if asked to."""

    target = "memprof.profile.worker:read_through"
    result = InstrumentRun

    instrument: str
    imports: bool = False

    @property
    def is_of_start(self) -> bool:
        return self.imports


class Trace(Request[TraceComparison], frozen=True, kw_only=True, tag="trace"):
    """Write every belief and action to a file, or `compare` with those that are in it."""

    target = "memprof.profile.worker:trace"
    result = TraceComparison

    file: str
    compare: bool = False

    @property
    def is_of_start(self) -> bool:
        return False


class TryPlans(Request[PlanTrials], frozen=True, kw_only=True, tag="plans"):
    """Search the passes that help, with every plan on the way tried in this one worker.

    Attributes:
        spec: with the passes that every plan begins with.
        max_slowdown: largest time per step over that of the plain population.
        known: what an earlier worker tried of the same search.
    """

    target = "memprof.profile.trials:try_plans"
    result = PlanTrials

    max_slowdown: float
    known: PlanTrials = PlanTrials()

    @property
    def is_of_start(self) -> bool:
        return False


class LiveInCycles(Request[LeakRun], frozen=True, kw_only=True, tag="leak"):
    """Run the population in cycles, in one mode after the other.

    Attributes:
        history_steps: of their past that agents which live on keep; None for what the spec says.
        seconds: how long it may take; None for no limit.
    """

    target = "memprof.leak.worker:live_in_cycles"
    result = LeakRun
    cycles = True

    modes: tuple[Mode, ...]
    count: int
    history_steps: int | None = None
    seconds: float | None = None


class FindSites(Request[Attribution], frozen=True, kw_only=True, tag="sites"):
    """Look for where memory stays, in `count` cycles after `warm_up` others.

    Attributes:
        history_steps: as in `LiveInCycles`.
        counts: what grows of what is counted.
        heap: whether memory grows, too.
    """

    target = "memprof.leak.sites:find_sites"
    result = Attribution
    cycles = True

    mode: Mode
    count: int
    warm_up: int = 0
    history_steps: int | None = None
    counts: tuple[CountName, ...] = ()
    heap: bool = True


class Grow(Request[DensityRun], frozen=True, kw_only=True, tag="density"):
    """Let the population grow to each of the `sizes`, smallest first, and beyond to `resolve` what
    an agent costs; for at most so many `seconds`."""

    target = "memprof.density.worker:grow"
    result = DensityRun
    peaks = True

    sizes: tuple[int, ...]
    resolve: bool = False
    seconds: float | None = None


class Distribute(Request[DistributedRun], frozen=True, kw_only=True, tag="distribute"):
    """Let the population grow over shards to each of the `sizes`, smallest first, and beyond to
    resolve what an agent costs; for at most so many `seconds`."""

    target = "memprof.density.shards:distribute"
    result = DistributedRun
    peaks = True

    sizes: tuple[int, ...]
    seconds: float | None = None


class Reach(Request[Reached], frozen=True, kw_only=True, tag="reach"):
    """See whether a cluster answers, and whether shards start there, before anything is measured
    that they are to be compared with."""

    target = "memprof.density.shards:reach"
    result = Reached


class Forecast(Request[ForecastRun], frozen=True, kw_only=True, tag="forecast"):
    """Say what populations would take that are not built: a few agents are.

    Attributes:
        sizes: agents of each.
        room_bytes: also look for the largest population with which the process has no more than
            this; None for no such search.
        device_bytes: look for the largest with which no more is on a device, instead. A device that
            has memory of its own says how much, where this is None.
        chunks: the sizes of chunks that this search tries; None is what memprof would choose.
    """

    target = "memprof.density.forecast:forecast"
    result = ForecastRun
    peaks = True

    sizes: tuple[int, ...] = ()
    room_bytes: int | None = None
    device_bytes: int | None = None
    chunks: tuple[int | None, ...] = (None,)


class StepInThreads(Request[ThreadsRun], frozen=True, kw_only=True, tag="threads"):
    """Step the agents from one thread and from several, in alternation."""

    target = "memprof.density.threads:step_in_threads"
    result = ThreadsRun
    one_arena = True

    threads: int


class TryReadings(Request[Calibration], frozen=True, kw_only=True, tag="try"):
    """Try the readings with memory of known size, and the backend with an import."""

    target = "memprof.doctor.worker:try_readings"
    result = Calibration


AnyRequest = (
    Measure
    | ReadThrough
    | Trace
    | TryPlans
    | LiveInCycles
    | FindSites
    | Grow
    | Distribute
    | Reach
    | Forecast
    | StepInThreads
    | TryReadings
)


class Progress(msgspec.Struct, frozen=True, tag_field="event", tag="progress"):
    """A phase begins."""

    mark: Mark


class Part(msgspec.Struct, Generic[R], frozen=True, tag_field="event", tag="part"):
    """The part of the result that is known so far."""

    value: R


class Result(msgspec.Struct, Generic[R], frozen=True, tag_field="event", tag="result"):
    """The result."""

    value: R


FailureKind = Literal["scenario", "usage", "backend", "cluster", "memory", "failure"]


class Failure(msgspec.Struct, frozen=True, tag_field="event", tag="error"):
    """Why there is no result; `field` is the scenario's that is wrong."""

    kind: FailureKind
    message: str
    field: str = ""
    detail: str = ""


Event = Progress | Part[R] | Result[R] | Failure


def encode(said: Request[Any] | Event[Any]) -> str:
    """One line. Text need not be Unicode, as names of files are not, and is kept as it is."""
    return json.dumps(msgspec.to_builtins(said))


def decode_request(text: str) -> AnyRequest:
    """The parent's request."""
    request: AnyRequest = msgspec.convert(json.loads(text), AnyRequest)
    return request


def decode_event(line: bytes, request: Request[R]) -> Event[R]:
    """What the worker says.

    Raises:
        ValueError, RecursionError: it is none of its words.
    """
    form: Any = request.result
    return msgspec.convert(json.loads(line), Progress | Failure | Part[form] | Result[form])
