"""The job `density`: a population that grows from size to size, steps, and leaves."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass, fields
from time import perf_counter
from typing import Any

import psutil

from memprof.analysis import marginal
from memprof.density import DensityPoint, DensityRun
from memprof.errors import ScenarioError
from memprof.instruments import process
from memprof.instruments.base import Stopwatch
from memprof.limits import scarce
from memprof.measurements import Reading, WorkingSetUse
from memprof.populations.base import Population
from memprof.populations.trace import DigestTrace
from memprof.spec import PopulationSpec
from memprof.worker.protocol import Channel
from memprof.worker.rows import Rows

MOST_SIZES = 32
_MOST_POINTS = 2 * MOST_SIZES
_WATCHED = 100
"""Agents whose behaviour is noted down."""
_PORTION_SECONDS, _PORTION_SHARE = 0.25, 0.01
"""Agents are built in portions of so much time, and of so much of the population."""
_TOLD_SHARE = 0.005
"""The parent is told of every population that is so much larger."""
_ROUND_SECONDS = 1.0
"""A round that would take longer covers the first agents only."""
_ROUNDS_SECONDS, _MOST_ROUNDS = 0.1, 9
"""Short rounds are repeated for so long, at most so often: a step leaves something behind."""
_FEWEST_POINTS = 4
_REPLACE_SECONDS = 1.0
_RESOLUTION, _RESOLVE_SECONDS, _RESOLVE_FACTOR = 0.01, 6.0, 1.2
_RESOLVE_SHARE = 0.25
"""Share of the memory left that agents may take only to resolve what they cost."""
_SCARCE = 0.04
"""With less of the machine's memory left, the kernel would soon end a process, most likely ours."""


def density(
    build: Callable[[PopulationSpec, Stopwatch], Population],
    spec: PopulationSpec,
    sizes: Sequence[int],
    resolve: bool,
    seconds: float | None,
    channel: Channel,
) -> DensityRun:
    """Let the population grow to each of the `sizes`, and beyond to `resolve` what an agent costs;
    at most for so many `seconds`. What is measured is sent home on the way.

    Raises:
        MemoryError: the population does not fit in the memory that the worker may have.
    """
    sweep = Sweep(build, spec, sizes, seconds, channel)
    time_up = False
    try:
        for size in sizes:
            sweep.visit(size, whole_round=size == sizes[-1])
        if resolve:
            sweep.resolve()
    except TimeUp:
        time_up = True
        sweep.take_last()
    replaced = 0 if time_up else sweep.replace_some()
    return sweep.run(time_up=time_up, replaced=replaced, left=sweep.leave())


class TimeUp(Exception):
    """The sweep has used up its time."""


@dataclass(slots=True)
class _Built:
    """What building agents took since the last size; `optimised` is the stopwatch's count of what
    the passes did until then."""

    optimised: float = 0.0
    seconds: float = 0.0
    agents: int = 0


class Sweep:
    """A population on its way from size to size; every size becomes a point."""

    def __init__(
        self,
        build: Callable[[PopulationSpec, Stopwatch], Population],
        spec: PopulationSpec,
        sizes: Sequence[int],
        seconds: float | None,
        channel: Channel,
    ) -> None:
        self._spec = spec
        self._channel = channel
        self._end = None if seconds is None else perf_counter() + seconds
        self._watch = Stopwatch()
        self._digests = DigestTrace(min(_WATCHED, sizes[-1]), spec.steps)
        self._rows = Rows(_MOST_POINTS, len(fields(DensityPoint)) - 1 + len(fields(Reading)))
        self._population = build(spec, self._watch)
        # Steps that agents have lived: (up to which agent, how many).
        self._lived: list[tuple[int, int]] = []
        self._there = range(0)
        self._told = 0
        self._use: WorkingSetUse | None = None
        self._rate = 0.0
        self._built = _Built()
        process.settle()
        self._filled = process.fill_free_blocks()
        process.reset_peak()
        self._baseline = process.read()

    def visit(self, agents: int, *, whole_round: bool) -> None:
        """Grow to so many agents, read the process, and let the agents step once more.

        Raises:
            TimeUp: the time was over; points that were completed stand.
        """
        self._grow_to(agents)
        point = self._read()
        self._channel.progress("round", len(self._population))
        per_step = self._rate / (self._spec.steps + 1)
        most = agents if whole_round else max(1, int(_ROUND_SECONDS / per_step))
        self._keep((*point, round(self._step_seconds(most) * 1e9), min(most, agents)))

    def resolve(self) -> None:
        """Grow on until the cost of an agent is known well, within limits."""
        end = perf_counter() + _RESOLVE_SECONDS
        while len(self._rows) < _MOST_POINTS and not self._resolved():
            agents = len(self._population)
            affordable = int((end - perf_counter()) / self._rate)
            more = min(int(agents * (_RESOLVE_FACTOR - 1)) + 1, affordable, self._room())
            if more < max(1, agents // 8):
                if len(self._rows) >= _FEWEST_POINTS:
                    return
                more = 1
            try:
                self._grow_to(agents + more)
            except (MemoryError, ScenarioError):
                return  # nobody asked for so many; what was measured stands
            self._keep((*self._read(), None, 0))

    def take_last(self) -> None:
        """Read the population that time has left, where it is a new size."""
        sizes = [row[0] for row in self._rows]
        if len(self._population) > max(sizes, default=0):
            self._keep((*self._read(), None, 0))

    def replace_some(self) -> int:
        """Let agents go while the others stay, and as many new ones come and live their steps; how
        many that were."""
        if self._population.rebuilds:
            return 0
        agents = len(self._population)
        going = min(agents // 2, int(_REPLACE_SECONDS / self._rate))
        self._channel.progress("replace", going)
        self._population.leave(range(going))
        new = self._population.grow(agents)
        for _ in self._population.live(new, range(self._spec.steps)):
            pass
        self._there = range(going, new.stop)
        return going

    def leave(self) -> Reading:
        """Let all agents go, the last one too; what the process has then."""
        self._channel.progress("leave", len(self._population))
        if self._population.rebuilds:
            self._population.close()
            self._population.drop_caches()
        else:
            self._population.leave(self._there)
        process.settle()
        return process.read()

    def run(
        self, *, time_up: bool = False, replaced: int = 0, left: Reading | None = None
    ) -> DensityRun:
        """What was measured so far."""
        return DensityRun(
            baseline=self._baseline,
            points=tuple(sorted(map(_point, self._rows), key=lambda point: point.agents)),
            lived=self._lived[-1][0] if self._lived else 0,
            time_up=time_up,
            replaced=replaced,
            left=left,
            working_set=self._use,
            facts=self._population.facts(),
            kept_whole=self._population.kept_whole,
            digests=self._digests.per_agent(),
        )

    def _grow_to(self, agents: int) -> None:
        """Build agents, each of which lives the scenario's steps; keeps count of what that took."""
        self._built = _Built(self._optimised())
        while (count := len(self._population)) < agents:
            if count and scarce(_SCARCE):
                raise MemoryError(f"less than {_SCARCE:.0%} of the machine's memory is left")
            start = perf_counter()
            new = self._population.grow(self._next(count, agents))
            self._built.seconds += perf_counter() - start
            self._built.agents += len(new)
            for first in range(0, self._spec.steps, self._population.stride):
                last = min(self._spec.steps, first + self._population.stride)
                self._live(new, range(first, last), "build")
            self._rate = (perf_counter() - start) / len(new)
            if self._population.rebuilds:
                self._lived.clear()
            self._there = range(new.stop)
            self._lived.append((new.stop, self._spec.steps))
            self._merge()
            process.clear_free_lists()
            if new.stop >= self._told * (1 + _TOLD_SHARE):
                self._tell()

    def _next(self, count: int, agents: int) -> int:
        """How many agents there are to be after the next portion."""
        if self._population.rebuilds:
            return agents
        portion = min(_PORTION_SECONDS / self._rate if self._rate else 1, _PORTION_SHARE * agents)
        return min(agents, count + max(1, int(portion)))

    def _live(self, agents: range, steps: range, label: str) -> float:
        """Let agents live the steps; the seconds of it."""
        start = told = perf_counter()
        # A population that is built anew for every size may round differently in each.
        watched = not self._population.rebuilds or agents.stop <= _WATCHED
        for lived in self._population.live(agents, steps):
            if watched:
                self._digests.record(*lived)
            now = perf_counter()
            if now - told > _PORTION_SECONDS:
                told = now
                self._check_time()
                self._channel.progress(label, agents.stop)
        self._check_time()
        self._channel.progress(label, agents.stop)
        return perf_counter() - start

    def _check_time(self) -> None:
        if self._end is not None and perf_counter() > self._end:
            raise TimeUp

    def _step_seconds(self, most: int) -> float:
        """One step of one agent, all agents or the first `most` stepping in turn: the median of a
        few rounds where a round is short."""
        stepped = min(most, len(self._population))
        rounds: list[float] = []
        while not rounds or (sum(rounds) < _ROUNDS_SECONDS and len(rounds) < _MOST_ROUNDS):
            rounds.append(self._round(most))
        return statistics.median(rounds) / stepped

    def _round(self, most: int) -> float:
        """Let the agents step once more, all of them or the first `most`; seconds of a step of
        all."""
        seconds, start, lived = 0.0, 0, []
        for stop, steps in self._lived:
            cut = max(start, min(stop, most))
            if cut > start:
                more = range(steps, steps + self._population.stride)
                seconds += self._live(range(start, cut), more, "round")
                lived.append((cut, more.stop))
            if stop > cut:
                lived.append((stop, steps))
            start = stop
        self._lived = lived
        self._merge()
        return seconds / self._population.stride

    def _merge(self) -> None:
        """Neighbours that have lived as many steps are one."""
        merged: list[tuple[int, int]] = []
        for stop, steps in self._lived:
            if merged and merged[-1][1] == steps:
                merged.pop()
            merged.append((stop, steps))
        self._lived = merged

    def _optimised(self) -> float:
        return sum(each.seconds for each in self._watch.times() if each.operation == "optimise")

    def _read(self) -> tuple[int | None, ...]:
        """Settle, and read; the start of a row."""
        agents = len(self._population)
        self._channel.progress("settle", agents)
        process.settle()
        sizes, reading = process.status(), process.read()
        process.reset_peak()
        optimising, built = self._optimised() - self._built.optimised, max(1, self._built.agents)
        return (
            agents,
            *astuple(reading),
            sizes.get("VmData"),
            sizes.get("VmSize"),
            sizes.get("VmPeak"),
            sizes.get("VmHWM"),
            round(self._built.seconds / built * 1e9),
            round(optimising / built * 1e9) if optimising else None,
        )

    def _keep(self, row: tuple[int | None, ...]) -> None:
        self._rows.append(row)
        self._use = self._population.working_set()
        self._tell()

    def _tell(self) -> None:
        """Send home what is known; what comes of the population now, that much has been seen."""
        self._told = len(self._population)
        self._channel.part(self.run())

    def _resolved(self) -> bool:
        points = [(row[0], row[1 + _PRIVATE]) for row in self._rows]
        if len(points) < _FEWEST_POINTS:
            return False
        line = marginal.memory_line(marginal.largest(points))
        return line.half_width <= _RESOLUTION * abs(line.slope)

    def _room(self) -> int:
        """How many more agents may be built only to resolve their cost."""
        rows = list(self._rows)
        grown = rows[-1][1 + _PRIVATE] - self._baseline.private_bytes
        each = max(1.0, grown / rows[-1][0])
        return int(_RESOLVE_SHARE * psutil.virtual_memory().available / each)


_PRIVATE = [field.name for field in fields(Reading)].index("private_bytes")


def _point(row: Sequence[Any]) -> DensityPoint:
    agents, rest = row[0], row[1:]
    reading = Reading(*rest[: len(fields(Reading))])
    data, virtual, peak, peak_rss, build, optimise, step, stepped = rest[len(fields(Reading)) :]
    return DensityPoint(
        agents=agents,
        reading=reading,
        data_bytes=data,
        virtual_bytes=virtual,
        peak_virtual_bytes=peak,
        peak_rss_bytes=peak_rss,
        build_seconds=build * 1e-9,
        optimise_seconds=None if optimise is None else optimise * 1e-9,
        step_seconds=None if step is None else step * 1e-9,
        stepped=stepped,
    )
