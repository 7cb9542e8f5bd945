"""The job `leak`: memory after each cycle of a population's life, in a clean worker.

A population whose agents come, live, step in rounds and go.

The life of a population in equal cycles: what a leak check repeats.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from time import perf_counter
from typing import Any

from memprof.catalogue.backends import BACKENDS
from memprof.errors import MemprofError, ScenarioError
from memprof.instruments import process
from memprof.instruments.base import DirectCalls
from memprof.instruments.walker import device_failure, live_device_bytes
from memprof.leak import judgement
from memprof.leak.verdict import series_of, verdict_on
from memprof.populations.base import Population, Probe
from memprof.values.leak import CycleReading, CycleRun, LeakRun, Mode
from memprof.values.measurements import UNSEEN, Calibration
from memprof.values.population import PopulationSpec
from memprof.values.requests import LiveInCycles
from memprof.worker.channel import Channel
from memprof.worker.growth import Recorder, Rows, backend_of

_FEWEST_CYCLES = 3
"""With fewer, there is not even an interval."""


def live_in_cycles(request: LiveInCycles, channel: Channel) -> LeakRun:
    """Let the population live in the modes that are asked for."""
    spec, kept = request.spec, request.history_steps
    lives = {mode: life_of(spec, mode, kept) for mode in request.modes}
    return leak(lives, spec, request.count, request.seconds, channel)


def leak(
    lives: Mapping[Mode, Cycles],
    spec: PopulationSpec,
    cycles: int,
    seconds: float | None,
    channel: Channel,
) -> LeakRun:
    """Let the population live in one mode after the other, until one leaks; each has its share of
    the `seconds`. What is known after each is handed over, whatever becomes of the next."""
    start, compilations = perf_counter(), _compilations(spec.backend)
    found = LeakRun({})
    for number, (mode, life) in enumerate(lives.items(), 1):
        left = None if seconds is None else start + seconds * number / len(lives) - perf_counter()
        try:
            run = _run(life, spec, cycles, left, compilations, channel)
        except MemoryError:
            raise
        except Exception as error:  # a world may end, or a pass may not fit
            if not found.runs:
                raise
            known = isinstance(error, MemprofError)
            return replace(found, refused=f"{'' if known else type(error).__name__ + ': '}{error}")
        found = LeakRun({**found.runs, mode: run})
        channel.part(found)
        if verdict_on([run], mode, cycles, spec.agents, spec.steps, ()).verdict == "leak":
            break
    return found


def _run(
    life: Cycles,
    spec: PopulationSpec,
    cycles: int,
    seconds: float | None,
    compilations: Any,
    channel: Channel,
) -> CycleRun:
    """Run cycles until they decide (`leaks.decided`), at most `leaks.most_cycles`, or for as long
    as `seconds` allow."""
    start = perf_counter()
    most = judgement.most_cycles(cycles)
    readings = _Readings(most + 1)
    durations, compiled = array("d", [0.0]) * most, array("q", [0]) * most
    still = judgement.CycleSeries([0] * (cycles + 1))
    judgement.decided([still], cycles)  # what this needs is there before the first reading
    readings.take()
    for cycle in range(most):
        channel.progress(f"cycle {cycle + 1}", spec.agents)
        before, count = perf_counter(), compilations.count
        try:
            life.run()
        except (MemoryError, ScenarioError):
            if cycle < cycles:
                raise
            break  # agents that cannot live on for so long; what was measured stands
        durations[cycle] = perf_counter() - before
        compiled[cycle] = compilations.count - count
        readings.take()
        if cycle + 1 >= cycles and judgement.decided(series_of(readings.all()).values(), cycles):
            break
        late = seconds is not None and perf_counter() - start + 2 * max(durations) > seconds
        if late and cycle + 1 >= _FEWEST_CYCLES:
            break
    taken = readings.all()
    facts = life.facts
    life.close()
    return CycleRun(
        readings=tuple(taken),
        seconds=tuple(durations[: len(taken) - 1]),
        compilations=tuple(compiled[: len(taken) - 1]) if BACKENDS[spec.backend].compiles else (),
        facts=facts,
        calibration=_calibration(spec.backend),
    )


def _calibration(backend: str) -> Calibration:
    """What the readings are worth, that of JAX's arrays included."""
    found, why = process.calibration(), device_failure() if BACKENDS[backend].compiles else ""
    if not why:
        return found
    return replace(
        found, left_out={**found.left_out, "device": why}, unseen=(*found.unseen, UNSEEN["device"])
    )


class _Readings:
    """Readings, one after the other."""

    def __init__(self, most: int) -> None:
        self._rows = Rows(most, len(fields(CycleReading)))

    def take(self) -> None:
        """Settle, read, and keep the reading."""
        process.settle()
        self._rows.append(
            (
                process.native_heap_bytes(),
                process.small_object_bytes(),
                process.allocated_blocks(),
                process.private_bytes(),
                live_device_bytes(),
                *process.address_space(),
            )
        )

    def all(self) -> list[CycleReading]:
        return [CycleReading(*row) for row in self._rows]


class _Nothing:
    """What a backend compiles that compiles nothing."""

    count = 0


def _compilations(backend: str) -> Any:
    if not BACKENDS[backend].compiles:
        return _Nothing()
    from memprof.instruments.device import Compilations

    return Compilations()


WATCHED = 100
"""Agents whose behaviour is noted down; and the largest population whose is, where it is built anew
for every size, since each may round differently."""
_PORTION_SECONDS, _PORTION_SHARE = 0.25, 0.01
"""Agents are built in portions of so much time, and of so much of the population."""


class TimeUp(Exception):
    """The population has used up its time."""


class Living:
    """Keeps account of which agents are there, and of how many steps each has lived.

    Attributes:
        there: the agents that are there and have lived the scenario's steps.
        agent_seconds: building an agent and letting it live the scenario's steps.
        build_seconds, built: building all of those that came since `count_anew`, and how many.
    """

    def __init__(
        self,
        population: Population,
        spec: PopulationSpec,
        recorder: Recorder,
        seconds: float | None,
        on_progress: Callable[[str, int], None],
    ) -> None:
        self._population = population
        self._steps = spec.steps
        self._recorder = recorder
        self._end = None if seconds is None else perf_counter() + seconds
        self._on_progress = on_progress
        self._lived: list[tuple[int, int]] = []  # up to which agent, how many steps
        self.there = range(0)
        self.agent_seconds = self.build_seconds = 0.0
        self.built = 0

    def count_anew(self) -> None:
        """Forget what building took until now."""
        self.build_seconds, self.built = 0.0, 0

    def come(self, most: int) -> None:
        """Build a portion of agents, up to `most` in all, and let them live the scenario's steps.

        Raises:
            TimeUp: in the midst of it.
        """
        start = perf_counter()
        new = self._population.grow(self._next(most))
        self.build_seconds += perf_counter() - start
        self.built += len(new)
        for first in range(0, self._steps, self._population.stride):
            last = min(self._steps, first + self._population.stride)
            self._live(new, range(first, last), "build")
        self.agent_seconds = (perf_counter() - start) / len(new)
        if self._population.rebuilds:
            self._lived.clear()
        self.there = range(new.stop)
        self._lived = _merged([*self._lived, (new.stop, self._steps)])
        process.clear_free_lists()

    def round(self, most: int) -> float:
        """Let the agents step once more, all of them or the first `most`; seconds of one step of
        all of those.

        Raises:
            TimeUp: in the midst of it.
        """
        seconds, start, lived = 0.0, 0, []
        stride = self._population.stride
        for stop, steps in self._lived:
            cut = max(start, min(stop, most))
            if cut > start:
                seconds += self._live(range(start, cut), range(steps, steps + stride), "round")
                lived.append((cut, steps + stride))
            if stop > cut:
                lived.append((stop, steps))
            start = stop
        self._lived = _merged(lived)
        return seconds / stride

    def replace(self, seconds: float) -> int:
        """Let agents go while the others stay, as many as can be built in the time and half of them
        at most; and let as many new ones come and live. How many that were."""
        if not self._orderly():
            return 0
        agents = len(self.there)
        going = min(agents // 2, int(seconds / self.agent_seconds))
        self._on_progress("replace", going)
        self._population.leave(range(going))
        new = self._population.grow(agents)
        for _ in self._population.live(new, range(self._steps)):
            pass
        self.there = range(going, new.stop)
        return going

    def leave(self) -> None:
        """Let all agents go, the last one too."""
        self._on_progress("leave", len(self._population))
        if self._orderly():
            self._population.leave(self.there)
        else:
            self._population.close()
            self._population.drop_caches()
        self.there = range(0)

    def _orderly(self) -> bool:
        """Whether agents can leave one by one; not after one of them could not be built."""
        return not self._population.rebuilds and len(self._population) == len(self.there)

    def _next(self, most: int) -> int:
        """How many agents there are to be after the next portion."""
        if self._population.rebuilds:
            return most
        in_time = _PORTION_SECONDS / self.agent_seconds if self.agent_seconds else 1
        portion = max(1, int(min(in_time, _PORTION_SHARE * most)))
        return min(most, len(self._population) + portion)

    def _live(self, agents: range, steps: range, label: str) -> float:
        """Let agents live the steps; the seconds of it."""
        start = told = perf_counter()
        watched = not self._population.rebuilds or agents.stop <= WATCHED
        for lived in self._population.live(agents, steps):
            if watched:
                self._recorder.record(*lived)
            now = perf_counter()
            if now - told > _PORTION_SECONDS:
                told = now
                self._check_time()
                self._on_progress(label, agents.stop)
        self._check_time()
        self._on_progress(label, agents.stop)
        return perf_counter() - start

    def _check_time(self) -> None:
        if self._end is not None and perf_counter() > self._end:
            raise TimeUp


def _merged(lived: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The same, where neighbours that have lived as many steps are one."""
    merged: list[tuple[int, int]] = []
    for stop, steps in lived:
        if merged and merged[-1][1] == steps:
            merged.pop()
        merged.append((stop, steps))
    return merged


def bounded(spec: PopulationSpec, mode: Mode, history_steps: int | None) -> PopulationSpec:
    """The population whose agents, where they live on, keep so many steps of their past.

    PyMDP appends to an agent's histories for ever; the pass `history` lets go of what PyMDP never
    reads again, so that any other growth shows, however small it is.
    """
    if mode != "steps" or history_steps is None:
        return spec
    others = tuple(name for name in spec.passes if name != "history")
    return replace(
        spec, passes=("history", *others), options={**spec.options, "history_steps": history_steps}
    )


def life_of(spec: PopulationSpec, mode: Mode, history_steps: int | None) -> Cycles:
    """The population's life in a mode, as `bounded` has it."""
    spec = bounded(spec, mode, history_steps)
    return Cycles(backend_of(spec), spec, mode)


class Cycles:
    """One population after the other, or one that lives on.

    Attributes:
        population: the one that lives on; None in the mode `lifecycle`, between cycles.
        facts: what a reader must know of the backend, once a cycle has run.
    """

    def __init__(
        self,
        population_type: type[Population],
        spec: PopulationSpec,
        mode: Mode,
        probe: Probe | None = None,
    ) -> None:
        self.population: Population | None = None
        self.facts: dict[str, str] = {}
        self._type = population_type
        self._spec = spec
        self._mode = mode
        self._probe = probe or DirectCalls()
        self._lived = 0

    def run(self) -> None:
        """One cycle. What is garbage afterwards is not yet collected."""
        population = self.population or self._new()
        self._live(population, self._lived)
        if self._mode == "steps":
            self.population = population
            self._lived += self._spec.steps
        else:
            population.close()

    def close(self) -> None:
        """Let go of the population that lives on."""
        if self.population is not None:
            self.population.close()
            self.population = None

    def _new(self) -> Population:
        population = self._type(self._spec, self._probe)
        population.grow(self._spec.agents)
        self.facts = self.facts or population.facts()
        return population

    def _live(self, population: Population, first: int) -> None:
        agents = range(len(population))
        for step in range(first, first + self._spec.steps, population.stride):
            for _ in population.live(agents, range(step, step + population.stride)):
                pass
        process.clear_free_lists()
