"""The jobs of a worker: measure cleanly, read through an instrument, trace behaviour."""

from __future__ import annotations

import statistics
from array import array
from collections.abc import Iterable, MutableSequence, Sequence
from pathlib import Path
from time import process_time
from typing import NamedTuple

from msgspec.structs import replace

from memprof.catalogue import load_target
from memprof.catalogue.instruments import INSTRUMENTS
from memprof.errors import ScenarioError
from memprof.instruments import DirectCalls, Instrument, Stopwatch, heap, process, walker
from memprof.instruments.children import children, running
from memprof.instruments.imports import ImportWatch
from memprof.instruments.program import program_holdings
from memprof.instruments.residency import residency_failure
from memprof.populations import WORLD, Population
from memprof.populations.trace import DigestTrace, ValueTrace
from memprof.posix import own_seconds
from memprof.profile.resolve import Readings, resolve, resolve_anew
from memprof.stats.growth import FEWEST_CYCLES
from memprof.stats.lines import as_others, is_gained_alike, is_like_all, uneven
from memprof.values.instruments import InstrumentRun, Reading
from memprof.values.measurements import (
    GrowthPoint,
    Ledger,
    LedgerRow,
    Measurement,
    Sample,
    TraceComparison,
    TrendSeries,
    WorldMemory,
)
from memprof.values.population import PopulationSpec
from memprof.values.requests import Measure, ReadThrough, Trace
from memprof.worker.growth import (
    FEWEST_POINTS,
    Batches,
    Growth,
)
from memprof.worker.job import Channel, backend_of, warm_up

_TREND_READINGS = 12


def measure(request: Measure, channel: Channel) -> Measurement:
    """The clean worker: no instrument but readings of the process between steps."""
    spec = request.spec
    process.expect_process()
    start = process.at_start()
    channel.progress("import")
    population_type = backend_of(spec)
    imported = process.read()
    warm_up(spec, channel)
    watch, digests = Stopwatch(), DigestTrace(spec.agents, spec.steps, with_others=True)
    population = population_type(spec, watch)
    growth = Growth(population, spec.steps, digests)
    batches = Batches(growth, spec.agents, channel.progress)
    readings = Readings(channel)
    trend_heap = array("q", [0]) * _TREND_READINGS
    earlier = running()
    programs = walker.walk(program_holdings(), 1).rows
    process.settle()
    filled = heap.fill_free_blocks()
    peak_known = process.reset_peak()
    baseline = process.read()

    for agents in batches:
        readings.take(agents)
    peak = process.peak_rss_bytes() if peak_known else None
    at_n = readings.at(spec.agents)
    file_bytes, working_set = population.file_bytes, population.working_set()
    rewards, born = population.rewards(), population.born
    digests.finish()
    programs_differ, first_calls = False, watch.times()
    if population.rebuilds:
        programs_differ = population.compiles and not population.keep_programs()
        batches.time_again()
        contents = _Contents.of(population, at_n, programs, channel)
        resolve_anew(request, contents.each_bytes, batches, readings)
    else:
        resolve(request, batches, readings)
        contents = _Contents.of(population, readings.points[-1], programs, channel)
    walked = contents.walked
    if len(population) > contents.agents:
        walked = walker.walk(population.holdings(), len(population))
    points, held = _evened(readings.points, spec, walked, rebuilds=population.rebuilds)
    ledger = contents.ledger(baseline, held)
    trend = TrendSeries(len(population), spec.steps + 1, 1, ())
    if request.trend:
        trend = _live_on(batches, spec, trend_heap, channel)
    world = _world(contents, walked, batches) if spec.world else None
    channel.progress("done")
    del filled
    return Measurement(
        sample=Sample(
            start=start,
            imported=imported,
            points=tuple(points),
            at_n=at_n,
            peak_rss_bytes=peak,
            step_cpu_seconds=batches.step_cpu_seconds,
            batches=batches.timed,
            reference_cpu_seconds=batches.reference.seconds,
            trend=trend,
            programs_differ=programs_differ,
        ),
        baseline=baseline,
        step_seconds=batches.step_seconds,
        compile_seconds=batches.compile_seconds,
        build_seconds=tuple(batches.build_seconds),
        # Calls for more agents take longer.
        operations=first_calls if population.rebuilds else watch.times(),
        ledger=ledger,
        world=world,
        rewards=rewards,
        born=born,
        file_bytes=file_bytes,
        kept_whole=population.kept_whole,
        working_set=working_set,
        facts=population.facts(),
        digests=digests.per_agent(),
        course=digests.course(),
        calibration=process.calibration(residency=residency_failure()),
        children=children(earlier),
    )


class _Contents(NamedTuple):
    """What a population held when the process had so many private bytes."""

    agents: int
    private_bytes: int
    walked: walker.Walk
    rows: tuple[LedgerRow, ...]

    @classmethod
    def of(
        cls,
        population: Population,
        point: GrowthPoint,
        programs: Iterable[LedgerRow],
        channel: Channel,
    ) -> _Contents:
        """All that there is at the `point`, which has just been read, with what the program itself
        has more than in `programs`, its rows at the baseline; caches of the backend go."""
        channel.progress("ledger", point.agents)
        private = point.reading.private_bytes
        walked = walker.walk([*population.holdings(), *program_holdings()], point.agents)
        rows = walker.gained(walked.rows, programs)
        return cls(point.agents, private, walked, (*rows, *caches(population, private)))

    @property
    def each_bytes(self) -> float:
        """What an agent holds alone, nominal."""
        return statistics.fmean(self.walked.nominal)

    def ledger(self, baseline: Reading, held: Sequence[float]) -> Ledger:
        """With what each of the scenario's agents holds alone."""
        growth = self.private_bytes - baseline.private_bytes
        return walker.balance(self.agents, growth, self.rows, held)


def _world(contents: _Contents, walked: walker.Walk, batches: Batches) -> WorldMemory:
    """What the world of all holds, and by how much that grows with their number: `walked` is a
    population of more agents. If there is none, half as many tell."""
    population = batches.growth.population
    if len(population) == contents.agents:
        batches.growth.come(population.group * (len(population) // population.group // 2))
        walked = walker.walk(population.holdings(), len(population))
    size, other = (
        sum(row.private_bytes + row.shared_bytes for row in each.rows if row.component == WORLD)
        for each in (contents.walked, walked)
    )
    each = (size - other) / (contents.agents - len(population))
    return WorldMemory(size, size - contents.agents * each, each)


def _evened(
    points: Sequence[GrowthPoint], spec: PopulationSpec, walked: walker.Walk, *, rebuilds: bool
) -> tuple[list[GrowthPoint], Sequence[float]]:
    """The points as far as the mixture goes, with what their agents hold beyond the mean; and what
    each of the scenario's agents holds alone, empty where that is not known. What `rebuilds` for
    every size compiles anew, too, which is no agent's."""
    held = held_alone(spec.passes, walked.resident)
    nominal = held_alone(spec.passes, walked.nominal)
    sizes = [point.agents for point in points]
    resident = uneven(held or nominal, spec.agents, sizes)
    asked_for = uneven(nominal, spec.agents, sizes)
    evened = [
        replace(point, uneven_bytes=more, uneven_nominal_bytes=nominally)
        for point, more, nominally in zip(points, resident, asked_for, strict=True)
    ]
    gained = [(each.agents, each.reading.private_bytes - each.uneven_bytes) for each in evened]
    like = [
        point
        for point in evened
        if is_like_all(nominal, spec.agents, point.agents)
        and (rebuilds or is_gained_alike(gained, spec.agents, point.agents))
    ]
    chosen = like if len(like) >= FEWEST_POINTS else evened
    return chosen, held[: spec.agents]


def held_alone(passes: Sequence[str], by_agent: Sequence[int]) -> Sequence[float]:
    """What each agent holds alone by the ledger, where one more like the first would not be the
    template that this is."""
    return as_others(by_agent) if by_agent and passes else by_agent


def caches(population: Population, private_bytes: int) -> list[LedgerRow]:
    """What the backend itself remembers, by letting go of it; without what it has come to remember
    since the process had `private_bytes`."""
    process.settle()
    since = max(0, process.read().private_bytes - private_bytes)
    freed = process.freed_by(population.drop_caches)
    if freed is None:
        return []
    freed = max(0, freed - since)
    return [LedgerRow("compiled programs, caches", 0, freed, 0, freed, 0)]


def read_through(request: ReadThrough, channel: Channel) -> InstrumentRun:
    """A worker with one intrusive instrument at work, on the same seeds."""
    spec = request.spec
    with ImportWatch() as with_pymdp:
        backend_of(spec)
    with ImportWatch() as with_model:
        warm_up(spec, channel)
    process.settle()
    chosen: Instrument = load_target(INSTRUMENTS[request.instrument].target)()
    with chosen as instrument:
        population = backend_of(spec)(spec, instrument)
        population.keep_programs()
        agents = max(_agents_to_read(spec, instrument, population), FEWEST_POINTS)
        batches = Batches(Growth(population, spec.steps), agents, channel.progress)
        sizes = batches.anew(agents) if population.rebuilds else batches
        readings = []
        reading_seconds = 0.0
        for size in sizes:
            process.settle()
            start = process_time()
            readings.append((size, instrument.read(population)))
            reading_seconds = process_time() - start
        channel.progress("details", len(population))
        details = instrument.details(population, spec)
    held = held_alone(spec.passes, details.held_bytes)
    readings.sort()
    imports = *with_pymdp.rows("pymdp"), *with_model.rows("model")
    return InstrumentRun(
        readings=tuple(readings),
        uneven_bytes=uneven(held, agents, [size for size, _ in readings]),
        mean_bytes=statistics.fmean(held[: spec.agents]) if held else None,
        step_cpu_seconds=batches.step_cpu_seconds,
        reading_seconds=reading_seconds,
        details=replace(details, held_bytes=()),
        imports=imports if request.imports else (),
    )


def _agents_to_read(spec: PopulationSpec, instrument: Instrument, population: Population) -> int:
    """Where one agent is like the other and fares no better for being among few, some of them tell
    an instrument that watches every operation all there is."""
    alike = not (spec.differs or population.rebuilds or population.working_set())
    watches = not isinstance(instrument, DirectCalls)
    return min(spec.agents, spec.effort.watched_agents) if alike and watches else spec.agents


def trace(request: Trace, channel: Channel) -> TraceComparison:
    """Write every belief and action to the file, or compare with those that are in it."""
    spec = request.spec
    with Path(request.file).open("rb" if request.compare else "wb") as stream:
        values = ValueTrace(stream, compare=request.compare)
        population = backend_of(spec)(spec, DirectCalls())
        channel.progress("step", spec.agents)
        Growth(population, spec.steps, values).come(spec.agents)
        return values.comparison()


def _live_on(
    batches: Batches, spec: PopulationSpec, sizes: MutableSequence[int], channel: Channel
) -> TrendSeries:
    """Let agents live on for as many steps again, reading the heap on the way.

    With many agents, what a step leaves behind is far above what the process's own caches still
    gain. As many live on as take the effort's time: the scenario's at least, for twice as long at
    most, but for as few readings as can be judged. Ends early when steps are slow; nothing is read
    where the platform has no figure. All readings are at the same place of an episode.
    """
    growth, effort = batches.growth, spec.effort
    stride = spec.whole(max(growth.population.stride, growth.steps // len(sizes)))
    agents = batches.agents_within(effort.trend_seconds, len(sizes) * stride)
    channel.progress("trend", agents)
    count, start = 0, own_seconds()
    while count < len(sizes):
        try:
            growth.live_on(agents, stride)
        except (MemoryError, ScenarioError):
            break  # the scenario did not ask for so many steps
        process.settle()
        size = heap.live_bytes()
        if size is None:
            break
        sizes[count] = size
        count += 1
        if count == 1:
            start = own_seconds()  # the first may have to fill caches again
            continue
        each = (own_seconds() - start) / (count - 1)
        if count <= FEWEST_CYCLES:
            slow = each * FEWEST_CYCLES > effort.longest_trend_seconds
        else:
            slow = each * count > 2 * effort.trend_seconds
        if slow:
            break
    blind = "; ".join(f"{name}: {why}" for name, why in heap.left_out().items())
    return TrendSeries(agents, growth.steps + stride, stride, tuple(sizes[:count]), blind)
