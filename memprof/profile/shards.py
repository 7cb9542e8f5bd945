"""A population over shards on Ray: the worker that drives them, and what its figures come to."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence

from msgspec.structs import asdict, replace

from memprof.catalogue.backends import BACKENDS
from memprof.errors import BehaviourDiverged, CheckFailed, ClusterError
from memprof.launch.runner import Crew, Measuring, Outcome
from memprof.profile.auto import judged
from memprof.profile.cautions import incomplete_because
from memprof.profile.passes import Plan
from memprof.stats import equivalence
from memprof.stats.equivalence import Parting
from memprof.stats.lines import PROCESS_GRAIN_BYTES, cost_of_sweeps, median_half_width
from memprof.text import counted
from memprof.values.density import DensityPoint, DistributedRun
from memprof.values.distributed import Distributed, GrowthEnd, NodeMemory, NodeRow, Pace, room_bytes
from memprof.values.population import EngineSpec, PopulationSpec
from memprof.values.profile import Report
from memprof.values.report import Equivalence, PerAgent
from memprof.values.requests import Distribute, Reach

_SIZES = 5
_FEWEST_SIZES = 3
_WHY_FEW: Mapping[GrowthEnd, str] = {
    "reached": "too few agents were asked for; raise --agents",
    "time": "the time was up; raise --time-limit",
    "memory": "memory ran out; use more nodes, or passes",
}


def reach(crew: Crew, engine: EngineSpec) -> None:
    """See whether the cluster answers that is to be there.

    Raises:
        UsageError: there is none.
        ClusterError: shards don't start there.
    """
    if engine.address is not None:
        crew.total += 1
        crew.run("Ray", Reach(replace(crew.loaded.spec(()), engine=engine)))


def distribute(
    crew: Crew, plan: Plan, engine: EngineSpec, sizes: Sequence[int], seconds: float | None = None
) -> Distributed:
    """Let the population with the passes of the plan grow over shards, from size to size.

    Raises:
        UsageError: there is no cluster at the address.
        ClusterError: a shard or a node has gone, or has no room.
        MeasurementError: it cannot be measured for another reason.
    """
    spec = replace(crew.loaded.spec(plan), engine=engine)
    request = Distribute(spec, sizes=tuple(sizes), seconds=seconds)
    return condensed(crew.run("shards on Ray", request).value, spec)


def with_shards(
    profile: Callable[[], Outcome[Report]], engine: EngineSpec, crew: Crew
) -> Outcome[Report]:
    """A profile in one process, and then the same population over shards, with the passes that it
    has in the end. What fails there leaves the report of one process.

    Raises:
        UsageError: there is no cluster at the engine's address.
        MemprofError: as `profile`.
    """
    reach(crew, engine)
    outcome = profile()
    report, failure = outcome.report, outcome.failure
    if failure is not None and not isinstance(failure, CheckFailed):
        return outcome
    if crew.loaded.scenario.auto:
        kinds = {each.name: each.passes for each in report.variants.final.kinds}
        crew.loaded = dataclasses.replace(crew.loaded, plans=kinds)
    measuring, found = Measuring(), None
    with measuring.kept(lambda: True):
        sizes = _even_sizes(crew.loaded.scenario.agents)
        found = distribute(crew, report.variants.final.passes, engine, sizes)
    failure = measuring.failure
    incomplete = [incomplete_because(failure)] if failure is not None else []
    report = replace(
        report,
        distributed=found,
        warnings=(*report.warnings, *incomplete),
        complete=report.complete and failure is None,
    )
    return Outcome(report, failure or outcome.failure or diverged(found))


def _even_sizes(agents: int) -> tuple[int, ...]:
    """A few populations on the way to that of the scenario."""
    return tuple(sorted({max(1, agents * n // _SIZES) for n in range(1, _SIZES + 1)}))


def condensed(run: DistributedRun, spec: PopulationSpec) -> Distributed:
    """What the figures of the process that drove the shards come to.

    Raises:
        ClusterError: there are too few to make a line of.
    """
    engine = spec.engine
    assert engine is not None
    if len(run.sweep.points) < _FEWEST_SIZES:
        raise ClusterError(
            f"fewer than {_FEWEST_SIZES} sizes of the population lived on the shards, as "
            f"{_WHY_FEW[run.ended]}{f' ({run.lack})' if run.lack else ''}"
        )
    shards = sum(each.shards for each in run.nodes)
    cost = _no_surer(cost_of_sweeps([run.sweep]), run.sweep.points, shards)
    each_bytes = max(1.0, cost.ci95_bytes[1])
    rows = tuple(_rows(run.nodes, run.agents, each_bytes, _transient(run.sweep.points)))
    return Distributed(
        ray=run.ray,
        address=engine.address or "",
        shards=shards,
        world=engine.world if spec.world is not None else "",
        passes=spec.passes,
        agents=sum(run.agents),
        ended=run.ended,
        per_agent=cost,
        nodes=rows,
        capacity=sum(row.agents + row.more for row in rows),
        shard_bytes=sum(each.shards_bytes for each in run.empty) / shards,
        pace=_pace(run),
        messages_per_step=run.messages,
        bytes_per_step=run.message_bytes,
        equivalence=_equivalence(run, spec, shards),
    )


def _no_surer(cost: PerAgent, points: Sequence[DensityPoint], shards: int) -> PerAgent:
    """Each shard grows and shrinks by the grain of processes, whatever agents do."""
    agents = points[-1].agents - points[0].agents
    half = math.sqrt(shards) * PROCESS_GRAIN_BYTES / agents
    low, high = cost.ci95_bytes
    low, high = min(low, cost.marginal_bytes - half), max(high, cost.marginal_bytes + half)
    return replace(cost, ci95_bytes=(low, high), resolved=not low <= 0 <= high)


def _transient(points: Sequence[DensityPoint]) -> int:
    """What building and stepping took above the population at rest, of all shards together."""
    return max(
        (
            point.peak_rss_bytes - point.reading.rss_bytes
            for point in points
            if point.peak_rss_bytes is not None
        ),
        default=0,
    )


def _rows(
    nodes: Sequence[NodeMemory], agents: Sequence[int], each_bytes: float, transient_bytes: int
) -> Iterator[NodeRow]:
    """Each node, with the agents that still fit where one takes so much, and all shards so much in
    passing: nodes on one machine share what that has left, by their shards."""
    shards: dict[str, int] = defaultdict(int)
    for node in nodes:
        shards[node.machine] += node.shards
    each_shard = max(0, transient_bytes) / sum(node.shards for node in nodes)
    for node, there in zip(nodes, agents, strict=True):
        room = room_bytes(node) * node.shards / shards[node.machine]
        room = max(0.0, room - each_shard * node.shards)
        yield NodeRow(**asdict(node), agents=there, more=math.floor(room / each_bytes))


def _pace(run: DistributedRun) -> Pace | None:
    """By the medians over neighbouring rounds."""
    rounds = list(zip(run.one_process_seconds, run.shards_seconds, strict=True))
    if not rounds:
        return None
    ratios = [alone / together for alone, together in rounds]
    ratio, half = statistics.median(ratios), median_half_width(ratios)
    return Pace(
        agents=run.paced,
        one_process_per_second=1 / statistics.median(run.one_process_seconds),
        shards_per_second=1 / statistics.median(run.shards_seconds),
        ratio=ratio,
        ratio_ci95=(max(0.0, ratio - half), ratio + half),
    )


def _equivalence(run: DistributedRun, spec: PopulationSpec, shards: int) -> Equivalence:
    """Whether the first agents do on the shards what they do in one process."""
    alone = run.behaved[0]
    agents = min(len(alone), run.sweep.lived)
    pairs = list(zip(run.sweep.digests[:agents], alone, strict=False))
    different = [number for number, (there, here) in enumerate(pairs) if there != here]
    if not pairs:
        return equivalence.not_checked("no agent lived on the shards")
    if not different:
        why = f"all digests are equal to those in one process, over {counted(shards, 'shard')}"
        return equivalence.exact(len(pairs), spec.steps, why)
    if len({*run.behaved}) > 1:
        found = equivalence.parting(run.courses) or Parting()
        return equivalence.not_checked(found.words)
    if run.comparison is not None:
        return judged(run.comparison, spec, spec.passes)
    if BACKENDS[spec.backend].compiles:
        return equivalence.not_checked(
            "the digests differ, as they may with programs for other numbers of agents, which add "
            "up in another order"
        )
    detail = (
        f"over {counted(shards, 'shard')}, {len(different)} of {counted(len(pairs), 'agent')} do "
        f"otherwise than in one process, agent {different[0]} the first of them"
    )
    return Equivalence("diverged", len(pairs), spec.steps, None, None, None, detail)


def diverged(found: Distributed | None) -> BehaviourDiverged | None:
    """What a command ends with where agents on shards do otherwise than in one process."""
    if found is None or found.equivalence.verdict != "diverged":
        return None
    return BehaviourDiverged(
        f"{found.equivalence.detail}; nothing is claimed for shards. Report it with this scenario"
    )
