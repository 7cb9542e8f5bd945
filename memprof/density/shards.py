"""The jobs `distribute` and `reach`: a worker that is Ray's driver, and lets a population grow over
shards."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from tempfile import TemporaryFile
from time import perf_counter

from msgspec.structs import replace

from memprof.catalogue.passes import bound_of
from memprof.density.worker import WATCHED, Sweep, TimeUp
from memprof.distributed.cluster import Cluster
from memprof.distributed.current import on
from memprof.distributed.parts import Memory
from memprof.distributed.traffic import Traffic
from memprof.instruments import Stopwatch
from memprof.populations import Population
from memprof.populations.trace import DigestTrace, ValueTrace
from memprof.text import out_of_memory
from memprof.values.density import DensityPoint, DensityRun, DistributedRun
from memprof.values.distributed import GrowthEnd, NodeMemory, Reached, room_bytes
from memprof.values.instruments import Calibration, Reading
from memprof.values.measurements import Children, TraceComparison
from memprof.values.population import PopulationSpec
from memprof.values.requests import Distribute, Reach
from memprof.worker.growth import Growth
from memprof.worker.job import Channel, backend_of

_LOOK_SECONDS = 1.0
_RESOLVE_FACTOR = 1.0  # a reading of all shards takes longer than one of a process
_PACED_SECONDS = 2.0
_ROUNDS, _ROUNDS_SECONDS = 9, 10.0
_ROUND_SECONDS, _MOST_STEPS = 0.1, 50
"""A round of one process takes so long at least, if that many steps do."""
_WARM_STEPS = 2


def reach(request: Reach, channel: Channel) -> Reached:
    """See whether the cluster answers, and whether shards start there.

    Raises:
        UsageError: there is no Ray, or none at the address.
        ClusterError: shards do not start.
    """
    with _cluster(request.spec, channel) as cluster:
        return Reached(_version(), cluster.shards)


def distribute(request: Distribute, channel: Channel) -> DistributedRun:
    """Let the population grow over shards to each of the sizes, and beyond to resolve what an agent
    costs; then compare it with one process: how fast it steps, and what the first agents do.

    Raises:
        UsageError, ClusterError: as of `reach`; or a shard has gone, or there is no room.
    """
    with _cluster(request.spec, channel) as cluster, on(cluster):
        return _Spread(cluster, request, channel).run()


@contextmanager
def _cluster(spec: PopulationSpec, channel: Channel) -> Iterator[Cluster]:
    assert spec.engine is not None
    channel.progress("Ray")
    cluster = Cluster(spec.engine.shards, spec.engine.address)
    try:
        yield cluster
    finally:
        cluster.close()


def _version() -> str:
    import ray

    return ray.__version__


class ShardsGauge:
    """Reads all shards of a cluster, and the object stores of their nodes.

    Attributes:
        nodes: as of the last reading.
        processes: the shards.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster, self.processes = cluster, cluster.shards
        self.nodes: tuple[NodeMemory, ...] = ()
        self._memory: list[Memory] = []
        self._looked = perf_counter()

    def begin(self) -> Reading:
        self.settle()
        self._cluster.each("fill")
        self._cluster.each("memory")  # its peak is not that of agents
        return self.read()

    def settle(self) -> None:
        self._cluster.each("settle")

    def read(self) -> Reading:
        """Private are shards' anonymous memory and the stores; USS and PSS have files' pages too,
        each once."""
        self._look()
        self._memory = self._cluster.each("memory")
        whole = sum(each.shards_bytes + each.store_bytes for each in self.nodes)
        private = sum(each.private_bytes + each.store_bytes for each in self.nodes)
        rss = sum(each.reading.rss_bytes for each in self._memory)
        return Reading(rss, whole, whole, private, None)

    def sizes(self) -> dict[str, int]:
        """None: no limit of one process is compared with the sum of several."""
        return {}

    def peak_rss_bytes(self) -> int | None:
        """Until the last reading."""
        known = [each.peak_rss_bytes for each in self._memory if each.peak_rss_bytes is not None]
        return sum(known) if len(known) == len(self._memory) else None

    def left_bytes(self) -> int:
        return sum({each.machine: room_bytes(each) for each in self.nodes}.values())

    def scarce_words(self) -> str:
        if perf_counter() - self._looked > _LOOK_SECONDS:
            self._look()
        full = next((each for each in self.nodes if not room_bytes(each)), None)
        return "" if full is None else f"node {full.name} is short of memory"

    def calibration(self) -> Calibration:
        return Calibration()

    def children(self) -> Children:
        """Ray's processes are no agents'."""
        return Children()

    def _look(self) -> None:
        self.nodes = self._cluster.nodes()
        self._looked = perf_counter()


class _Spread:
    """A population that grows over the shards of a cluster, and is compared with one process."""

    def __init__(self, cluster: Cluster, request: Distribute, channel: Channel) -> None:
        self._cluster, self._channel, self._spec = cluster, channel, request.spec
        self._on_nodes: tuple[int, ...] = ()
        self._lack = ""
        self._warm_up()
        self._gauge = ShardsGauge(cluster)
        self._population = backend_of(self._spec)(self._spec, Stopwatch())
        self._sweep = Sweep(
            lambda *_: self._population,
            self._gauge,
            self._spec,
            request.sizes,
            request.seconds,
            channel,
            lambda run: None,
            WATCHED,
        )
        self._empty = self._nodes = self._gauge.nodes

    def _warm_up(self) -> None:
        """Let imports and caches happen on every shard before the baseline."""
        self._channel.progress("warm up")
        population = backend_of(self._spec)(self._spec, Stopwatch())
        agents = self._spec.agents if self._spec.world else self._cluster.shards
        agents += -agents % math.lcm(population.group, population.period)
        steps = max(population.stride, min(_WARM_STEPS, self._spec.steps))
        population.lived(population.grow(agents), range(steps))
        population.close()
        population.drop_caches()

    def run(self) -> DistributedRun:
        """What was measured."""
        ended = self._grow()
        sweep = self._sweep.run()
        paced = self._paced()
        traffic = self._traffic(len(self._population) if self._spec.world else paced)
        alone, together = ([], []) if ended == "time" else self._pace(paced)
        behaved = self._behaved(sweep)
        bound = bound_of(self._spec.passes, self._spec.backend)
        compared = self._compared() if len(behaved) > 1 and bound is not None else None
        return DistributedRun(
            ray=_version(),
            sweep=sweep,
            empty=self._empty,
            nodes=self._nodes,
            agents=self._on_nodes,
            ended=ended,
            behaved=tuple(each.per_agent() for each in behaved),
            courses=tuple(each.course() for each in behaved),
            comparison=compared,
            paced=paced,
            one_process_seconds=tuple(alone),
            shards_seconds=tuple(together),
            messages=traffic.messages,
            message_bytes=traffic.size_bytes,
            lack=self._lack,
        )

    def _grow(self) -> GrowthEnd:
        try:
            for size in self._sweep.sizes:
                self._sweep.look(size)
                self._note(self._sweep.run().points)
            self._sweep.resolve(_RESOLVE_FACTOR)
        except TimeUp:
            self._sweep.take_last()
            self._note(self._sweep.run().points)
            return "time"
        except MemoryError as error:
            self._lack = out_of_memory(error)
            return "memory"
        return "reached"

    def _note(self, points: Sequence[DensityPoint]) -> None:
        """What nodes held at the last of the points, and how many of its agents, in the order of
        their first shards."""
        agents = points[-1].agents if points else 0
        if agents == sum(self._on_nodes):
            return
        count = Counter[str]()
        for number, place in enumerate(self._cluster.places):
            count[place.node] += len(range(number, agents, self._cluster.shards))
        self._nodes, self._on_nodes = self._gauge.nodes, tuple(count.values())

    def _traffic(self, agents: int) -> Traffic:
        """Of one step of so many, who tell no more than they have to: nothing, where their worlds
        are with them."""
        growth = self._sweep.growth
        growth.record_no_more()
        before = self._cluster.traffic.copy()
        growth.live_on(agents, self._population.stride)
        return self._cluster.traffic.since(before)

    def _paced(self) -> int:
        """Agents that one process builds in the time for that, if shards take nothing from each
        other."""
        each = self._cluster.shards * self._sweep.agent_seconds
        in_time = max(1, int(_PACED_SECONDS / each))
        return self._sweep.whole(min(len(self._population), in_time))

    def _pace(self, agents: int) -> tuple[list[float], list[float]]:
        """Seconds of a step of one of so many in one process and on shards, in alternating
        rounds."""
        alone, there = Growth(self._local(self._spec.passes), self._spec.steps), self._sweep.growth
        alone.come(agents)
        if self._population.rebuilds:
            there.come(agents)
        self._channel.progress("pace", agents)
        stride, end = self._population.stride, perf_counter() + _ROUNDS_SECONDS
        there.live_on(agents, stride)
        in_time = _ROUND_SECONDS / alone.live_on(agents, stride)
        steps = stride * math.ceil(max(1.0, min(in_time, _MOST_STEPS / stride)))
        rounds: tuple[list[float], list[float]] = [], []
        while len(rounds[0]) < _ROUNDS and (not rounds[0] or perf_counter() < end):
            for growth, seconds in zip((alone, there), rounds, strict=True):
                seconds.append(growth.live_on(agents, steps) / (agents * steps))
        alone.population.close()
        return rounds

    def _behaved(self, sweep: DensityRun) -> list[DigestTrace]:
        """What the first agents do in one process, without passes; once more where those on the
        shards do otherwise."""
        found = [self._behave()]
        digests = found[0].per_agent()
        if digests != sweep.digests[: len(digests)]:
            found.append(self._behave())
        return found

    def _behave(self) -> DigestTrace:
        """They come as on the shards: where they are built anew for every size, a life of theirs is
        that in the first one that they are in."""
        sizes = self._sweep.sizes
        most = min(WATCHED, sizes[-1])
        self._channel.progress("compare", most)
        population = self._local(())
        digests = DigestTrace(most, self._spec.steps)
        growth = Growth(population, self._spec.steps, digests)
        few = [size for size in sizes if size <= WATCHED] if population.rebuilds else [most]
        for size in few:
            growth.come(size)
        population.close()
        population.drop_caches()
        return digests

    def _compared(self) -> TraceComparison:
        """Value by value, where passes may change them within a bound."""
        agents = self._sweep.whole(min(WATCHED, len(self._population)))
        self._channel.progress("compare", agents)
        there = backend_of(self._spec)(self._spec, Stopwatch())
        with TemporaryFile() as stream:
            for population, compare in ((self._local(()), False), (there, True)):
                stream.seek(0)
                values = ValueTrace(stream, compare=compare)
                Growth(population, self._spec.steps, values).come(agents)
                population.close()
            return values.comparison()

    def _local(self, passes: tuple[str, ...]) -> Population:
        """The population in this process."""
        kinds = tuple(replace(each, passes=passes and each.passes) for each in self._spec.kinds)
        spec = replace(self._spec, engine=None, passes=passes, kinds=kinds)
        return backend_of(spec)(spec, Stopwatch())
