"""The job `density`: a population that grows from size to size, steps, and leaves."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import astuple, fields
from time import perf_counter
from typing import Any

from memprof.density.living import WATCHED, Living, TimeUp
from memprof.errors import ScenarioError
from memprof.instruments import heap, process
from memprof.instruments.base import Stopwatch
from memprof.launch.limits import left_bytes, scarce
from memprof.populations.base import Population
from memprof.populations.trace import DigestTrace
from memprof.stats import lines
from memprof.values.density import DensityPoint, DensityRun
from memprof.values.measurements import Reading, WorkingSetUse
from memprof.values.population import PopulationSpec
from memprof.values.requests import Grow
from memprof.worker.channel import Channel
from memprof.worker.growth import Rows, backend_of, warm_up

_MOST_POINTS = 64
_TOLD_SHARE = 0.005
"""The parent is told of every population that is larger by this share."""
_ROUNDS_SHARE, _MOST_ROUNDS = 0.1, 9  # of the longest round; of rounds
"""Short rounds are repeated, within these limits: a step leaves something behind."""
_NEW_SIZE = 1.1
_FEWEST_POINTS, _LEAST_GROWTH_BYTES = 4, 4 * 2**20
"""The fewest sizes and the least growth that a cost is known from: the first agents move into
memory that was freed before."""
_RESOLUTION, _RESOLVE_FACTOR = 0.01, 0.2
_RESOLVE_SHARE = 0.25
"""Share of the memory left that agents may take only to resolve what they cost."""
_READING = len(fields(Reading))
_SCARCE = 0.04
"""With less of the machine's memory left, the kernel would soon end a process, most likely ours."""


def grow(request: Grow, channel: Channel) -> DensityRun:
    """Let the population grow to each of the sizes, and beyond to resolve what an agent costs; as
    far as the effort goes, and at most for the seconds given. What is measured is sent home on the
    way.

    Raises:
        MemoryError: the population does not fit in the memory that the worker may have.
    """
    warm_up(request.spec, channel)
    sizes, effort = request.sizes, request.spec.effort
    build = backend_of(request.spec)
    sweep = Sweep(build, request.spec, sizes, request.seconds, channel)
    try:
        for size in sizes:
            sweep.visit(size, whole_round=size == sizes[-1])
        if request.resolve:
            sweep.resolve()
        replaced, time_up = sweep.living.replace(effort.replace_seconds), False
    except TimeUp:
        sweep.take_last()
        replaced, time_up = 0, True
    return sweep.run(time_up=time_up, replaced=replaced, left=sweep.left())


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
        self._channel, self._effort = channel, spec.effort
        self._steps = spec.steps
        self._watch = Stopwatch()
        self._digests = DigestTrace(min(WATCHED, sizes[-1]), spec.steps)
        self._rows = Rows(_MOST_POINTS, len(fields(DensityPoint)) - 1 + _READING)
        self._population = build(spec, self._watch)
        self.living = Living(self._population, spec, self._digests, seconds, channel.progress)
        self._told = 0
        self._optimised_before = 0.0
        self._use: WorkingSetUse | None = None
        self._file_bytes = 0
        process.expect_process()
        process.settle()
        self._filled = heap.fill_free_blocks()
        process.reset_peak()
        self._baseline = process.read()

    def visit(self, agents: int, *, whole_round: bool) -> None:
        """Grow to `agents`, read the process, and let the agents step once more.

        Raises:
            TimeUp: the time was over; points that were completed stand.
        """
        self._grow_to(agents)
        point = self._read()
        self._channel.progress("round", agents)
        per_step = self.living.agent_seconds / (self._steps + 1)
        in_time = max(1, int(self._effort.round_seconds / per_step))
        most = agents if whole_round else min(agents, in_time)
        self._keep((*point, round(self._step_seconds(most) * 1e9), most))

    def resolve(self) -> None:
        """Grow on until the cost of an agent is known well, within limits."""
        end = perf_counter() + self._effort.resolve_seconds
        while len(self._rows) < _MOST_POINTS and not self._resolved():
            agents = len(self._population)
            affordable = int((end - perf_counter()) / self.living.agent_seconds)
            more = min(int(agents * _RESOLVE_FACTOR) + 1, affordable, self._room())
            if more < max(1, agents // 8):
                if len(self._rows) >= _FEWEST_POINTS:
                    return
                more = 1
            try:
                self._grow_to(agents + more)
            except (MemoryError, ScenarioError):
                return  # nobody asked for these; what was measured stands
            self._keep((*self._read(), None, 0))

    def take_last(self) -> None:
        """Read the population that time has left, where it is much of a new size."""
        largest = max((each.agents for each in self._points()), default=1)
        if len(self._population) >= _NEW_SIZE * largest:
            self._keep((*self._read(), None, 0))

    def left(self) -> Reading:
        """Let all agents go; what the process has then."""
        self.living.leave()
        process.settle()
        return process.read()

    def run(
        self, *, time_up: bool = False, replaced: int = 0, left: Reading | None = None
    ) -> DensityRun:
        """What was measured so far."""
        return DensityRun(
            baseline=self._baseline,
            points=tuple(sorted(self._points(), key=lambda point: point.agents)),
            lived=self._told,
            time_up=time_up,
            replaced=replaced,
            left=left,
            working_set=self._use,
            file_bytes=self._file_bytes,
            facts=self._population.facts(),
            kept_whole=self._population.kept_whole,
            digests=self._digests.per_agent(),
            calibration=process.calibration(),
        )

    def _grow_to(self, agents: int) -> None:
        self.living.count_anew()
        self._optimised_before = self._optimised()
        while (count := len(self._population)) < agents:
            if count and scarce(_SCARCE):
                raise MemoryError(f"less than {_SCARCE:.0%} of the machine's memory is left")
            self.living.come(agents)
            if len(self._population) >= self._told * (1 + _TOLD_SHARE):
                self._tell()

    def _step_seconds(self, most: int) -> float:
        """One step of one agent, the first `most` stepping in turn: the median of a few rounds
        where a round is short."""
        rounds: list[float] = []
        enough = _ROUNDS_SHARE * self._effort.round_seconds
        while not rounds or (sum(rounds) < enough and len(rounds) < _MOST_ROUNDS):
            rounds.append(self.living.round(most))
        return statistics.median(rounds) / most

    def _optimised(self) -> float:
        """Seconds that the passes have taken for new agents."""
        return sum(each.seconds for each in self._watch.times() if each.operation == "optimise")

    def _points(self) -> list[DensityPoint]:
        """What was measured, in the order in which it was."""
        return [_point(row) for row in self._rows]

    def _read(self) -> tuple[int | None, ...]:
        """Settle, and read; the start of a row."""
        agents = len(self._population)
        self._channel.progress("settle", agents)
        process.settle()
        sizes, reading = process.status(), process.read()
        peak_rss = process.peak_rss_bytes()
        process.reset_peak()
        optimising, built = self._optimised() - self._optimised_before, max(1, self.living.built)
        return (
            agents,
            *astuple(reading),
            sizes.get("VmData"),
            sizes.get("VmSize"),
            sizes.get("VmPeak"),
            peak_rss,
            round(self.living.build_seconds / built * 1e9),
            round(optimising / built * 1e9) if optimising else None,
        )

    def _keep(self, row: tuple[int | None, ...]) -> None:
        self._rows.append(row)
        self._use = self._population.working_set()
        self._file_bytes = self._population.file_bytes
        self._tell()

    def _tell(self) -> None:
        """Send home what is known so far; a population that was told of has lived."""
        self._told = len(self.living.there)
        self._channel.part(self.run())

    def _resolved(self) -> bool:
        points = [(each.agents, each.reading.private_bytes) for each in self._points()]
        if len(points) < _FEWEST_POINTS:
            return False
        if points[-1][1] - points[0][1] < _LEAST_GROWTH_BYTES:
            return False
        line = lines.memory_line(lines.largest(points))
        return line.half_width <= _RESOLUTION * abs(line.slope)

    def _room(self) -> int:
        """How many more agents may be built only to resolve their cost."""
        last = self._points()[-1]
        grown = last.reading.private_bytes - self._baseline.private_bytes
        each = max(1.0, grown / last.agents)
        return int(_RESOLVE_SHARE * left_bytes() / each)


def _point(row: Sequence[Any]) -> DensityPoint:
    """The point that a row of whole numbers is: its fields in order, those of the reading in its
    place, and nanoseconds."""
    agents, *values = row
    data, virtual, peak, peak_rss, build, optimise, step, stepped = values[_READING:]
    return DensityPoint(
        agents,
        Reading(*values[:_READING]),
        *(data, virtual, peak, peak_rss),
        *(build * 1e-9, _seconds(optimise), _seconds(step)),
        stepped,
    )


def _seconds(nanoseconds: int | None) -> float | None:
    return None if nanoseconds is None else nanoseconds * 1e-9
