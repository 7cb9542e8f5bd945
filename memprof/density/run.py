"""`memprof density`: how many agents fit, and how cost and speed grow with their number."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from memprof.density import capacity
from memprof.density.capacity import lowest, threads_row, usage
from memprof.density.sweep import Clock, VariantSweep, measure, step_from_threads, verify
from memprof.errors import (
    Interrupted,
    MemoryLimitReached,
    MemprofError,
    WorkerTimeout,
)
from memprof.launch.limits import bounds
from memprof.launch.machine import describe_environment
from memprof.launch.runner import Crew, Measuring, Observer, Outcome
from memprof.posix import Limits
from memprof.profile import shards
from memprof.profile.auto import changes_order, judged
from memprof.profile.cautions import of_difference, of_workers
from memprof.profile.kinds import choose
from memprof.profile.run import budget_check, diverged, over_budget
from memprof.profile.workers import compared_with_plain
from memprof.scenario import LoadedScenario
from memprof.stats import equivalence
from memprof.stats.equivalence import Parting
from memprof.stats.lines import cost_of_sweeps, mean_of_known, process_bytes, since_baseline
from memprof.text import counted, format_size
from memprof.values.density import (
    Bound,
    Capacity,
    Density,
    DensityReport,
    DensityRun,
    DensityVariant,
)
from memprof.values.distributed import Distributed
from memprof.values.population import EngineSpec
from memprof.values.report import Caution, Equivalence, Variants
from memprof.values.requests import Grow

GIB = 2**30
_FEWEST_SIZES = 3


@dataclass(frozen=True, slots=True)
class Asked:
    """What a user asks for.

    Attributes:
        sizes: the populations of the sweep, smallest first.
        agents: after the sweep, also grow to this many with the passes applied, or without if there
            are none; None for no such.
        verify: put the capacity to the test.
        seconds: for all workers together; None for as long as it takes.
        threads: that step agents at once; None for no such benchmark.
        suite: the sizes are those of the predecessor's benchmarks.
        engine: what the population also grows over, to `agents` or the largest of the sizes; one
            process only has the sizes then. None for no such.
    """

    sizes: tuple[int, ...]
    agents: int | None
    verify: bool
    seconds: float | None
    threads: int | None
    suite: bool
    engine: EngineSpec | None = None


def density(
    loaded: LoadedScenario, asked: Asked, limits: Limits, observer: Observer
) -> Outcome[DensityReport]:
    """Let the population grow from size to size in fresh clean workers, before and after the passes
    interleaved over the repeats.

    Hitting a memory limit, or the time limit, ends a variant's sweep with what it has.

    Raises:
        ScenarioError: a worker found the scenario wrong.
        MeasurementError: there are too few sizes of the plain population to make a line of.
    """
    machine = bounds(limits.memory_bytes)
    scenario = loaded.scenario
    crew = Crew(loaded, limits, observer)
    variants: list[VariantSweep] = []
    verdict: Equivalence | None = None
    distributed: Distributed | None = None
    if asked.engine is not None:
        shards.reach(crew, asked.engine)
    measuring = Measuring()
    with measuring.kept(lambda: True):
        plan = choose(crew)
        loaded = crew.loaded
        clock = Clock(asked.seconds)
        variants = _variants(plan, asked, scenario.steps)
        each = scenario.repeats + asked.verify + bool(asked.threads)
        crew.total += len(variants) * each + (asked.engine is not None)
        for repeat in range(scenario.repeats):
            for number, variant in enumerate(variants if repeat % 2 == 0 else variants[::-1]):
                workers = (scenario.repeats - repeat) * len(variants) - number
                workers += asked.engine is not None
                title = f"{variant.name}, repeat {repeat + 1} of {scenario.repeats}"
                measure(variant, title, crew, clock, workers)
        verdict = _equivalence(variants, loaded, crew)
        for variant in variants if asked.threads else ():
            step_from_threads(variant, asked.threads or 1, crew)
        for number, variant in enumerate(variants if asked.verify else ()):
            seconds = clock.share(len(variants) - number)
            verify(variant, _capacity(variant, machine).room, crew, seconds)
        if asked.engine is not None:
            distributed = _over_shards(plan, asked, asked.engine, crew, clock)
    failure = measuring.failure
    known = [each for each in variants if _lines(each)]
    if not known or known[0].name != "before":
        raise _nothing(variants, failure)
    condensed = [_condensed(each) for each in known]
    verdict = verdict or _equivalence(variants, loaded, None)
    report = DensityReport(
        scenario=scenario.reported,
        file=loaded.file,
        environment=describe_environment(
            scenario.backend, known[-1].runs[0], limits.memory_bytes, Grow
        ),
        variants=Variants(condensed[0], condensed[1] if len(known) > 1 else None),
        density=Density(
            points=tuple(row for each in known for row in capacity.size_rows(each.name, each.runs)),
            capacity=tuple(_capacity(each, machine) for each in known),
            threads=tuple(threads_row(v.name, v.threads) for v in known if v.threads is not None),
            suite=asked.suite,
        ),
        equivalence=verdict,
        budget=budget_check(scenario, condensed[-1].per_agent),
        warnings=tuple(_cautions(variants, verdict, failure, machine)),
        complete=failure is None,
        distributed=distributed,
    )
    after = report.variants.after
    return Outcome(
        report,
        failure
        or diverged(report.equivalence, after.passes if after else (), "capacity")
        or shards.diverged(distributed)
        or over_budget(report.budget),
    )


def _variants(plan: tuple[str, ...], asked: Asked, steps: int) -> list[VariantSweep]:
    """Before and after; the one that the user wants the most of goes on to `agents`."""
    sizes = beyond = asked.sizes
    if asked.agents is not None and asked.engine is None:
        beyond = _on_to(asked.agents, sizes)
    if not plan:
        return [VariantSweep("before", (), steps, beyond)]
    return [VariantSweep("before", (), steps, sizes), VariantSweep("after", plan, steps, beyond)]


def _on_to(agents: int, sizes: Sequence[int]) -> tuple[int, ...]:
    """The sizes up to so many agents, and others on the way to them."""
    further = [n for n in capacity.sweep_sizes(agents) if n > sizes[-1]]
    return (*(n for n in sizes if n < agents), *(further or [agents]))


def _over_shards(
    plan: tuple[str, ...], asked: Asked, engine: EngineSpec, crew: Crew, clock: Clock
) -> Distributed:
    sizes = asked.sizes if asked.agents is None else _on_to(asked.agents, asked.sizes)
    seconds = clock.share(1)
    return shards.distribute(crew, plan, engine, sizes, seconds)


def _equivalence(
    variants: list[VariantSweep], loaded: LoadedScenario, crew: Crew | None
) -> Equivalence:
    """Whether the first agents behave alike; value by value where their digests differ, if there is
    a crew to find out."""
    if (differs := _differs(variants)) is not None:
        return equivalence.not_checked(differs.words)
    if len(variants) < 2:
        return equivalence.not_checked("no passes to check")
    runs = [run for each in variants for run in each.runs]
    agents = min((min(run.lived, len(run.digests)) for run in runs), default=0)
    if agents == 0 or not all(each.runs for each in variants):
        return equivalence.not_checked("the passes were not measured")
    before, after = ([run.digests[:agents] for run in each.runs] for each in variants)
    same, plan = equivalence.same_digests(before, after), variants[1].passes
    if same and not changes_order(loaded.spec(plan)):
        return equivalence.exact(agents, variants[0].steps)
    if crew is None:
        return equivalence.not_finished(same=same)
    found = compared_with_plain(plan, len(before), crew)
    if isinstance(found, Parting):
        return equivalence.not_checked(found.words)
    return judged(found, loaded.spec(plan), plan, same_digests=same)


def _differs(variants: Sequence[VariantSweep]) -> Parting | None:
    """Where the plain population differs from itself in two repeats; None as far as is known."""
    runs = variants[0].runs
    agents = min((min(run.lived, len(run.digests)) for run in runs), default=0)
    if not agents or equivalence.reproducible([run.digests[:agents] for run in runs]):
        return None
    whole = all(run.lived >= len(run.digests) for run in runs)
    return equivalence.parting([run.course for run in runs] if whole else []) or Parting()


def _lines(variant: VariantSweep) -> list[DensityRun]:
    """Runs with sizes enough for a line and its interval."""
    return [run for run in variant.runs if len(run.points) >= _FEWEST_SIZES]


def _condensed(variant: VariantSweep) -> DensityVariant:
    runs = _lines(variant)
    cost = cost_of_sweeps(runs)
    rows = capacity.size_rows(variant.name, runs)
    last = next((row for row in reversed(rows) if row.steps_per_second is not None), rows[-1])
    at_most = [run.points[-1] for run in runs]
    points = [point for run in runs for point in run.points]
    peaks = [each.peak_rss_bytes for each in points if each.peak_rss_bytes is not None]
    each = cost.marginal_bytes if cost.resolved else max(1.0, cost.ci95_bytes[1])
    return DensityVariant(
        passes=variant.passes,
        repeats=len(runs),
        per_agent=cost,
        agents_per_gib=GIB / each,
        lived=variant.lived,
        ended=variant.ended,
        detail=variant.detail,
        uss_bytes=mean_of_known(point.reading.uss_bytes for point in at_most),
        pss_bytes=mean_of_known(point.reading.pss_bytes for point in at_most),
        peak_bytes=float(max(peaks)) if peaks else None,
        baseline_bytes=statistics.fmean(process_bytes(run.baseline) for run in runs),
        replaced=max(run.replaced for run in runs),
        left_bytes=mean_of_known(
            since_baseline(run.baseline, run.left) for run in runs if run.left is not None
        ),
        working_set=runs[0].working_set,
        file_bytes=statistics.fmean(run.file_bytes for run in runs),
        step_seconds=capacity.step_seconds(runs),
        build_seconds=last.build_seconds,
        optimise_seconds=last.optimise_seconds,
        kept_whole=tuple(sorted({name for run in runs for name in run.kept_whole})),
        samples=tuple(run.points for run in runs),
    )


def _capacity(variant: VariantSweep, machine: tuple[Bound, ...]) -> Capacity:
    uses = [(bound, usage(_lines(variant), bound.gauge)) for bound in machine]
    rooms = [use.room(bound) for bound, use in uses if use is not None]
    first = lowest(rooms)
    others = tuple(room for room in rooms if room is not first)
    return Capacity(variant.name, first, others, variant.verification)


def _cautions(
    variants: list[VariantSweep],
    verdict: Equivalence,
    failure: MemprofError | None,
    machine: tuple[Bound, ...],
) -> Iterator[Caution]:
    runs = [run for each in variants for run in each.runs]
    yield from of_workers(failure, runs)
    threaded = {each.threads.digests for each in variants if each.threads is not None}
    if len(threaded) > 1 and verdict.verdict == "exact":
        evidence = "agents stepped by several threads behave differently with the passes"
        yield Caution("threads_diverged", evidence, "report this as a bug, with the scenario")
    if (differs := _differs(variants)) is not None:
        yield of_difference(differs)
    yield from _unjudged(variants, machine)
    for each in variants:
        for kind, said, remedy in _of_variant(each):
            yield Caution(kind, f"{each.name}: {said}", remedy)


def _of_variant(variant: VariantSweep) -> Iterator[tuple[str, str, str]]:
    """Kind, evidence and remedy."""
    lived, known = counted(variant.lived, "agent"), _lines(variant)
    if variant.ended == "memory":
        said = f"{lived} lived; {variant.detail}"
        yield "memory_limit", said, "this is a result: larger sizes do not fit"
    if variant.ended == "time":
        said = f"{variant.detail} at {lived}"
        yield "time_limit", said, "raise --time-limit for larger sizes"
    if not known:
        said = f"fewer than {_FEWEST_SIZES} sizes were measured"
        yield "not_measured", said, "raise --time-limit or --memory-limit"
    elif not (cost := cost_of_sweeps(known)).resolved:
        said = f"an agent costs at most {format_size(cost.at_most_bytes)}"
        remedy = "raise --max-agents or --agents: more agents resolve the cost of one"
        yield "below_resolution", said, remedy
    use = variant.runs[0].working_set if variant.runs else None
    if use is not None and use.hibernations == 0:
        said = "all agents stayed active, so each costs as much as an active one"
        remedy = "lower --working-set, or raise --agents until agents are passivated"
        yield "working_set_not_full", said, remedy
    if variant.unlimited:
        said = f"{lived} fit, too few for a line"
        remedy = "figures come from a sweep without the limit; the capacity was derived from them"
        yield "measured_without_limit", said, remedy
    if variant.verification is not None and variant.verification.ended == "time":
        said = f"no more than {counted(variant.verification.found, 'agent')} lived within the time"
        yield "not_verified", said, "raise --time-limit to verify the rest"


def _unjudged(variants: list[VariantSweep], machine: tuple[Bound, ...]) -> Iterator[Caution]:
    """Bounds that no capacity is compared with, for lack of a reading."""
    for each in variants:
        for bound in machine:
            if _lines(each) and usage(_lines(each), bound.gauge) is None:
                evidence = f"{each.name}: {bound.name} ({format_size(bound.limit_bytes)}) is not "
                yield Caution(
                    "bound_not_judged",
                    f"{evidence}in the capacity: no reading here reports how much of it a "
                    "process uses",
                    "measure where /proc/self/status has VmData and VmSize",
                )


def _nothing(variants: list[VariantSweep], failure: MemprofError | None) -> MemprofError:
    """Why there is no report."""
    if isinstance(failure, Interrupted):
        return Interrupted(f"interrupted before {_FEWEST_SIZES} sizes were measured: no report")
    if failure is not None:
        return failure
    variant = variants[0]
    if variant.ended == "memory":
        return MemoryLimitReached(f"{variant.detail} ({counted(variant.lived, 'agent')} lived)")
    return WorkerTimeout(
        f"the time limit ended the sweep at {counted(variant.lived, 'agent')}, before there were "
        f"{_FEWEST_SIZES} sizes to compare; raise --time-limit, or lower --steps"
    )
