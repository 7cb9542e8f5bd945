"""The job `leak`: memory after each cycle of a population's life, in a clean worker."""

from __future__ import annotations

import gc
from array import array
from collections.abc import Mapping, Sequence
from itertools import pairwise
from time import perf_counter

from msgspec.structs import replace

from memprof.catalogue.backends import BACKENDS
from memprof.errors import MemprofError, ScenarioError
from memprof.instruments import DirectCalls, heap, process, resources
from memprof.instruments.device import Compilations, device_failure, live_device_bytes
from memprof.instruments.held import reachable
from memprof.instruments.memory import nominal_bytes
from memprof.leak.verdict import series_of, verdict_on
from memprof.populations import Population, Probe
from memprof.posix import take_single_pages
from memprof.stats import growth
from memprof.upstream.prints import leave_out_prints
from memprof.values.leak import CycleReading, CycleRun, Exhausted, LeakRun, Mode, cycle_steps
from memprof.values.population import PopulationSpec
from memprof.values.requests import LiveInCycles
from memprof.worker.growth import Growth, Records
from memprof.worker.job import Channel, backend_of

_FIELDS = {
    "native": "native_bytes",
    "python": "python_bytes",
    "objects": "python_blocks",
    "mapped": "mapped_bytes",
}
_FEWEST_CYCLES = 3
"""With fewer, there is not even an interval."""


def live_in_cycles(request: LiveInCycles, channel: Channel) -> LeakRun:
    """Let the population live in the modes that are asked for.

    A huge page would be all that a leak takes for hundreds of cycles; of single ones, it takes some
    in each.
    """
    take_single_pages()
    process.grain_bytes()  # is found out while there is room
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
    start, compilations = perf_counter(), Compilations()
    resources.counts()  # they are tried
    heap.fill_caches_of_numpy()
    process.collect()
    gc.freeze()  # what is there by now: collections after every cycle need not look at it
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
    compilations: Compilations,
    channel: Channel,
) -> CycleRun:
    """Run cycles until they decide (`growth.decided`), at most `growth.most_cycles`, or for as long
    as `seconds` allow."""
    start, grain = perf_counter(), process.grain_bytes()
    most = growth.most_cycles(cycles)
    taken, spare = Records(CycleReading, most + 1), resources.Spare()
    exhausted: Exhausted | None = None
    durations, compiled = array("d", [0.0]) * most, array("q", [0]) * most
    still = growth.CycleSeries([0] * (cycles + 1))
    growth.decided([still], cycles)  # what this needs is there before the first reading
    taken.append(_reading(life))
    for cycle in range(most):
        channel.progress(f"cycle {cycle + 1}", spec.agents)
        before, count = perf_counter(), compilations.count
        try:
            life.run()
        except Exception as error:
            spare.release()
            exhausted = _exhausted(error, [*taken])
            lived = isinstance(error, MemoryError | ScenarioError) and cycle >= cycles
            if not (exhausted or lived):
                raise
            break  # agents that cannot live on for so long; what was measured stands
        durations[cycle] = perf_counter() - before
        compiled[cycle] = compilations.count - count
        taken.append(_reading(life))
        if cycle + 1 >= cycles and growth.decided(series_of([*taken], grain).values(), cycles):
            break
        late = seconds is not None and perf_counter() - start + 2 * max(durations) > seconds
        if late and cycle + 1 >= _FEWEST_CYCLES:
            break
    compiles, facts = BACKENDS[spec.backend].compiles, life.facts
    life.close()
    spare.release()
    return CycleRun(
        readings=tuple(taken),
        seconds=tuple(durations[: len(taken) - 1]),
        compilations=tuple(compiled[: len(taken) - 1]) if compiles else (),
        facts=facts,
        calibration=process.calibration(
            device=device_failure() if compiles else "",
            **resources.left_out(),
            **_lost([*taken]),
        ),
        peak_bytes=process.peak_rss_bytes() or 0,
        exhausted=exhausted,
        grain_bytes=grain,
    )


def _exhausted(error: Exception, taken: Sequence[CycleReading]) -> Exhausted | None:
    """What there was no more of, if that is what had grown in every cycle."""
    for what, said in resources.exhausted(error):
        counts = [each.counts.get(what, 0) for each in taken]
        if len(counts) > 1 and all(before < after for before, after in pairwise(counts)):
            return Exhausted(what, said)
    return None


def _reading(life: Cycles) -> CycleReading:
    """Settle, and read."""
    process.settle()
    return CycleReading(
        heap.native_bytes(),
        heap.small_object_bytes(),
        heap.small_objects(),
        process.taken_bytes(),
        live_device_bytes(),
        *process.address_space(),
        counts=resources.counts(),
        records_bytes=life.records_bytes(),
    )


def _lost(readings: Sequence[CycleReading]) -> dict[str, str]:
    """Readings that were there first and no more later, and why they tell nothing: the population
    may change the process that it is in."""
    found = {}
    for name, field in _FIELDS.items():
        values = [getattr(each, field) for each in readings]
        if values[0] is not None and None in values:
            found[name] = f"there have been no such statistics since cycle {values.index(None)}"
    return found


def bounded(spec: PopulationSpec, mode: Mode, history_steps: int | None) -> PopulationSpec:
    """The population whose agents, where they live on, keep `history_steps` of their past.

    PyMDP appends to an agent's histories for ever; the pass `history` lets go of what PyMDP never
    reads again, so that any other growth shows, however small it is.
    """
    if mode != "steps" or history_steps is None:
        return spec
    others = tuple(name for name in spec.passes if name != "history")
    return replace(
        spec,
        passes=("history", *others),
        options={**spec.options, "history_steps": history_steps},
        kinds=tuple(bounded(each, mode, history_steps) for each in spec.kinds),
    )


def life_of(
    spec: PopulationSpec, mode: Mode, history_steps: int | None, probe: Probe | None = None
) -> Cycles:
    """The population's life in a mode, as `bounded` has it."""
    spec = bounded(spec, mode, history_steps)
    population_type = backend_of(spec)
    leave_out_prints()
    return Cycles(population_type, spec, mode, probe)


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
        self.facts: dict[str, str] = {}
        self._type = population_type
        self._spec = spec
        self._mode = mode
        self._probe = probe or DirectCalls()
        self._growth: Growth | None = None

    @property
    def population(self) -> Population | None:
        return None if self._growth is None else self._growth.population

    def run(self, cycles: int = 1) -> None:
        """So many cycles. What is garbage afterwards is not yet collected."""
        for _ in range(cycles):
            self._run()

    def _run(self) -> None:
        if self._growth is not None:
            self._growth.live_on(self._spec.agents, self._growth.steps)
            process.clear_free_lists()
            return
        population = self._type(self._spec, self._probe)
        growth = Growth(population, cycle_steps(self._spec, self._mode))
        growth.come(self._spec.agents)
        self.facts = self.facts or population.facts()
        if self._mode == "steps":
            self._growth = growth
        else:
            population.close()

    def records_bytes(self) -> int:
        """Blocks of the records of agents that are at rest, and live on."""
        if self.population is None:
            return 0
        held = (root for _, component, root in self.population.holdings() if component == "records")
        return sum(heap.object_bytes(nominal_bytes(each)) for each in reachable(held))

    def close(self) -> None:
        """Let go of the population that lives on."""
        if self._growth is not None:
            self._growth.population.close()
            self._growth = None
