"""The workers of one `memprof density`: one variant's population that grows until it meets a
limit."""

from __future__ import annotations

import dataclasses
import time
from collections import deque
from dataclasses import dataclass, field
from math import ceil

from msgspec.structs import replace

from memprof.density import capacity
from memprof.errors import MeasurementError, MemoryLimitReached
from memprof.launch.runner import Crew
from memprof.posix import Limits
from memprof.text import counted
from memprof.values.density import DensityRun, Ended, Room, Verification
from memprof.values.measurements import ThreadsRun
from memprof.values.report import VariantName
from memprof.values.requests import Grow, StepInThreads

SUITE_SIZES, SUITE_THREADS = (1, 50, 75), 4
THREADED_AGENTS, THREADED_STEPS = 30, 50
_LEAST_SECONDS = 1.0
_GRACE_SECONDS = 60.0
"""What a worker may take beyond its own time limit before it is ended."""
_BEYOND = 1.1
_FEWEST_SIZES = 4
_FEW = (1, 2, 3, 4)
_FITTING = 0.9
"""Share of the agents that met the limit that a sweep within it goes up to."""


@dataclass(slots=True)
class VariantSweep:
    """The runs of one variant, and why they ended.

    Attributes:
        lived: most agents that lived at once, within the limits.
        unlimited: too few fit, so their cost was measured without the memory limit.
    """

    name: VariantName
    passes: tuple[str, ...]
    steps: int
    sizes: tuple[int, ...]
    runs: list[DensityRun] = field(default_factory=list)
    lived: int = 0
    ended: Ended = "reached"
    detail: str = ""
    unlimited: bool = False
    verification: Verification | None = None
    threads: ThreadsRun | None = None


class Clock:
    """The time that is left for all workers."""

    def __init__(self, seconds: float | None) -> None:
        self._end = None if seconds is None else time.monotonic() + seconds

    def share(self, workers: int) -> float | None:
        """Seconds for the next of `workers`; None where there is no limit."""
        if self._end is None:
            return None
        return max(_LEAST_SECONDS, (self._end - time.monotonic()) / workers)


def measure(variant: VariantSweep, title: str, crew: Crew, clock: Clock, workers: int) -> None:
    """One more run; where the memory holds fewer agents than were asked for, a second one with
    sizes that it holds takes its place.

    Where not even a few agents fit, those few are measured without the limit: what they cost says
    how many fit.
    """
    run = _grow(variant, title, crew, variant.sizes, clock.share(workers), resolve=True)
    if variant.ended != "memory" or (run is not None and len(run.points) >= _FEWEST_SIZES):
        variant.runs += [] if run is None else [run]
        return
    limits = crew.limits
    variant.sizes = capacity.sweep_sizes(int(_FITTING * variant.lived))
    if len(variant.sizes) < _FEWEST_SIZES:
        variant.sizes, limits = _FEW, dataclasses.replace(crew.limits, memory_bytes=None)
        variant.unlimited = True
    lived, detail = variant.lived, variant.detail
    crew.total += 1
    title = f"{title}, {counted(variant.sizes[-1], 'agent')}"
    seconds = clock.share(workers)
    fitting = _grow(variant, title, crew, variant.sizes, seconds, limits=limits, resolve=True)
    variant.runs = [] if fitting is None else [fitting]
    variant.lived, variant.ended, variant.detail = lived, "memory", detail


def _grow(
    variant: VariantSweep,
    title: str,
    crew: Crew,
    sizes: tuple[int, ...],
    seconds: float | None,
    *,
    resolve: bool,
    limits: Limits | None = None,
) -> DensityRun | None:
    """A worker that grows from size to size, or what it had when it met a limit.

    Raises:
        MeasurementError: it failed in another way; what it had is kept in the variant.
    """
    latest: deque[DensityRun] = deque(maxlen=1)
    try:
        request = Grow(
            crew.loaded.spec(variant.passes),
            sizes=sizes,
            resolve=resolve,
            seconds=seconds,
        )
        in_time = _in_time(limits or crew.limits, seconds)
        done = crew.run(title, request, on_part=latest.append, limits=in_time)
        latest.append(done.value)
        if done.value.time_up:
            variant.ended, variant.detail = "time", "the time limit ended the sweep"
    except MemoryLimitReached as error:
        variant.ended, variant.detail = "memory", str(error).partition(";")[0]
    except (MeasurementError, KeyboardInterrupt) as error:
        variant.ended, variant.detail = "failed", str(error) or "interrupted"
        variant.runs += latest
        raise
    finally:
        variant.lived = max([variant.lived, *(run.lived for run in latest)])
    return latest[0] if latest else None


def _in_time(limits: Limits, seconds: float | None) -> Limits:
    """Limits that end a worker which does not end itself when its time is up."""
    if seconds is None:
        return limits
    late = seconds + _GRACE_SECONDS
    return dataclasses.replace(limits, timeout_seconds=min(late, limits.timeout_seconds or late))


def step_from_threads(variant: VariantSweep, threads: int, crew: Crew) -> None:
    """Let the agents of the predecessor's benchmark step from one thread and from several."""
    spec = crew.loaded.spec(variant.passes)
    spec = replace(spec, agents=THREADED_AGENTS, steps=THREADED_STEPS)
    request = StepInThreads(spec, threads=threads)
    variant.threads = crew.run(f"{variant.name}, {counted(threads, 'thread')}", request).value


def verify(variant: VariantSweep, room: Room, crew: Crew, seconds: float | None) -> None:
    """Let as many agents live as fit by the line, and a tenth more if they do, under the limit and
    within `seconds`."""
    if room.agents < 1:
        return
    asked = ceil(_BEYOND * max(room.agents, room.expected))
    trial = VariantSweep(variant.name, variant.passes, variant.steps, (room.agents, asked))
    run = _grow(
        trial,
        f"{variant.name}, verify {counted(room.agents, 'agent')}",
        crew,
        trial.sizes,
        crew.loaded.spec(()).effort.verify_seconds if seconds is None else seconds,
        resolve=False,
    )
    variant.verification = Verification(asked, 0 if run is None else trial.lived, trial.ended)
