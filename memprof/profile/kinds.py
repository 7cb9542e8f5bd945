"""A scenario of several kinds of agents: each is profiled in the company of the others, its number
varied alone; and what that says of all of them together."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from msgspec import structs

from memprof.errors import CheckFailed, MemprofError
from memprof.launch.runner import Crew, Named, Observer, Outcome
from memprof.profile.passes import Plan
from memprof.profile.workers import Runs
from memprof.scenario import LoadedScenario
from memprof.stats.equivalence import of_all
from memprof.values.measurements import Ledger, LedgerRow, Rewards, WorkingSetUse, WorldMemory
from memprof.values.profile import (
    Hotspots,
    KindFound,
    KindVariant,
    Report,
    StepSeconds,
    Trend,
    Variant,
)
from memprof.values.report import Caution, Interval, PerAgent, Variants

Profile = Callable[[LoadedScenario, Observer], Outcome[Report]]
"""One kind."""


def profile_kinds(loaded: LoadedScenario, profile: Profile, observer: Observer) -> Outcome[Report]:
    """Profile each kind. Where `auto` chooses, those that come later live with what was chosen for
    those before them.

    What fails, or Ctrl-C, ends it with the kinds that are known.

    Raises:
        ScenarioError, MeasurementError: as `profile`, of the first kind.
    """
    reports: dict[str, Report] = {}
    plans: dict[str, Plan] = {}
    failure: MemprofError | None = None
    for each in loaded.kinds:
        try:
            outcome = profile(replace(each, plans=dict(plans)), Named(observer, each.kind))
        except MemprofError as error:
            if not reports:
                raise
            failure = error
            break
        reports[each.kind] = outcome.report
        plans[each.kind] = outcome.report.variants.final.passes
        if outcome.failure is not None and not isinstance(outcome.failure, CheckFailed):
            failure = outcome.failure
            break
        failure = failure or outcome.failure
    return Outcome(combined(loaded, reports), failure)


def choose(crew: Crew) -> Plan:
    """The passes of the crew's scenario, or those that `auto` chooses, for each kind alone; the
    crew's scenario has them then."""
    loaded = crew.loaded
    if not (loaded.kinds and loaded.scenario.auto):
        return Runs(crew).choose()
    plans: dict[str, Plan] = {}
    for each in loaded.kinds:
        own = replace(each, plans=dict(plans))
        plans[each.kind] = Runs(Crew(own, crew.limits, Named(crew.observer, each.kind))).choose()
    crew.loaded = replace(loaded, plans=plans)
    return tuple(dict.fromkeys(name for plan in plans.values() for name in plan))


def combined(loaded: LoadedScenario, reports: dict[str, Report]) -> Report:
    """The report of all agents."""
    found = list(reports.values())
    afters = {name: after for name, each in reports.items() if (after := each.variants.after)}
    after = None
    if afters:  # of those kinds that are known, where it was cut short
        after = _variant({name: reports[name] for name in afters}, list(afters.values()))
    last = found[-1]
    return structs.replace(
        last,
        scenario=loaded.scenario.reported,
        variants=Variants(_variant(reports, [each.variants.before for each in found]), after),
        passes=(),
        equivalence=of_all({name: each.equivalence for name, each in reports.items()}),
        budget=None,
        warnings=tuple(_warnings(reports)),
        advice=(),
        complete=all(each.complete for each in found) and len(found) == len(loaded.kinds),
        kinds=tuple(
            KindFound(
                name=name,
                scenario=each.scenario,
                passes=each.passes,
                equivalence=each.equivalence,
                budget=each.budget,
                warnings=each.warnings,
                advice=each.advice,
            )
            for name, each in reports.items()
        ),
    )


def _warnings(reports: dict[str, Report]) -> Iterator[Caution]:
    """Those of all kinds once, and those of one with its name."""
    everywhere = list(next(iter(reports.values())).warnings)
    for report in reports.values():
        everywhere = [each for each in everywhere if each in report.warnings]
    yield from everywhere
    for name, report in reports.items():
        for each in report.warnings:
            if each not in everywhere:
                yield structs.replace(each, evidence=f"{name}: {each.evidence}")


def _variant(reports: dict[str, Report], variants: Sequence[Variant]) -> Variant:
    """All agents, from the variants of all kinds. What is of the process was read with all of them
    in it; under what `auto` chose for each, the last kind's workers were the first."""
    agents = [report.scenario.agents for report in reports.values()]
    names, last = [*reports], variants[-1]

    def mean(figure: Callable[[Variant], float]) -> float:
        values = zip(agents, map(figure, variants), strict=True)
        return sum(count * value for count, value in values) / sum(agents)

    step = _interval(agents, [each.step_seconds.ci95 for each in variants])
    kinds = tuple(
        _kind(name, report, variant)
        for (name, report), variant in zip(reports.items(), variants, strict=True)
    )
    return Variant(
        passes=tuple(dict.fromkeys(name for each in variants for name in each.passes)),
        repeats=min(each.repeats for each in variants),
        per_agent=_cost(agents, variants),
        baseline_bytes=last.baseline_bytes,
        uss_bytes=last.uss_bytes,
        pss_bytes=last.pss_bytes,
        peak_bytes=last.peak_bytes,
        file_bytes=sum(each.file_bytes for each in variants),
        kept_whole=tuple(sorted({name for each in variants for name in each.kept_whole})),
        working_set=WorkingSetUse.together(
            [each.working_set for each in variants if each.working_set]
        ),
        build_seconds=mean(lambda each: each.build_seconds),
        imports_bytes=last.imports_bytes,
        rss_bytes=last.rss_bytes,
        step_seconds=StepSeconds(mean(lambda each: each.step_seconds.median), step),
        compile_seconds=_sum(each.compile_seconds for each in variants),
        ledger=_ledger(names, agents, variants),
        instruments=(),
        hotspots=Hotspots((), ()),
        trend=_trend(agents, [each.trend for each in variants]),
        device=None,
        timeline=None,
        samples=(),
        file_pages_bytes=last.file_pages_bytes,
        world=_world(agents, variants),
        rewards=Rewards.together([each.rewards for each in variants if each.rewards]),
        born=last.born,
        kinds=kinds,
    )


def _kind(name: str, report: Report, variant: Variant) -> KindVariant:
    own: dict[str, Any] = {field: getattr(variant, field) for field in variant.__struct_fields__}
    return KindVariant(
        **own, name=name, agents=report.scenario.agents, equivalence=report.equivalence
    )


def _interval(agents: Sequence[int], intervals: Sequence[Interval]) -> Interval:
    """Of the mean over all agents: what workers know of one kind is independent of the others."""
    weights = [count / sum(agents) for count in agents]
    middles = [(low + high) / 2 for low, high in intervals]
    halves = [(high - low) / 2 for low, high in intervals]
    middle = sum(map(float.__mul__, weights, middles))
    half = math.hypot(*map(float.__mul__, weights, halves))
    return middle - half, middle + half


def _cost(agents: Sequence[int], variants: Sequence[Variant]) -> PerAgent:
    """The mean of the kinds' slopes, and no slope through a mixture."""
    costs = [each.per_agent for each in variants]
    marginal = sum(n * each.marginal_bytes for n, each in zip(agents, costs, strict=True))
    low, high = _interval(agents, [each.ci95_bytes for each in costs])
    each, at_n = marginal / sum(agents), costs[-1].at_n_bytes
    return PerAgent(
        marginal_bytes=each,
        ci95_bytes=(min(low, each), max(high, each)),
        fixed_bytes=at_n - marginal,
        at_n_bytes=at_n,
        resolved=low > 0,
    )


def _ledger(names: Sequence[str], agents: Sequence[int], variants: Sequence[Variant]) -> Ledger:
    """A row for each kind: what its agents hold alone, and what they share; and what nobody holds
    alone. The last kind's ledger has a row for each of the others."""
    last, others = variants[-1].ledger, {f"kind {name}": name for name in names[:-1]}
    alone = {
        name: round(count * each.ledger.private_each())
        for name, count, each in zip(names, agents, variants, strict=True)
    }
    rows = [LedgerRow(f"kind {names[-1]}", alone[names[-1]], 0, alone[names[-1]], 0, 0)]
    for row in last.rows:
        held = min(alone[others[row.component]], row.shared_bytes) if row.component in others else 0
        shared = row.shared_bytes - held
        if held or shared:
            rows.append(LedgerRow(row.component, held, shared, held, shared, row.objects))
    more = (last.agents - agents[-1]) * variants[-1].per_agent.marginal_bytes
    growth = round(last.growth_bytes - more)
    explained = sum(row.private_bytes + row.shared_bytes for row in rows)
    return Ledger(
        agents=sum(agents),
        growth_bytes=growth,
        explained_bytes=explained,
        unexplained_bytes=growth - explained,
        typical_agent_bytes=None,
        rows=tuple(sorted(rows, key=lambda row: -row.private_bytes - row.shared_bytes)),
        mean_agent_bytes=sum(alone.values()) / sum(agents),
    )


def _world(agents: Sequence[int], variants: Sequence[Variant]) -> WorldMemory | None:
    """The one of all, with the mean over all agents of what one more adds."""
    worlds = [each.world for each in variants if each.world is not None]
    if len(worlds) < len(variants):
        return None
    grows = sum(n * each.bytes_per_agent for n, each in zip(agents, worlds, strict=True))
    size = worlds[-1].bytes
    return WorldMemory(size, size - grows, grows / sum(agents))


def _trend(agents: Sequence[int], trends: Sequence[Trend]) -> Trend:
    """The mean over all agents; they grow where one kind does."""
    verdicts = [each.verdict for each in trends]
    worst = min(verdicts, key=("leak", "inconclusive", None, "clean").index)
    gains = [each.bytes_per_step for each in trends if each.bytes_per_step is not None]
    intervals = [each.ci95_bytes for each in trends if each.ci95_bytes is not None]
    known = len(gains) == len(intervals) == len(trends)
    mean = sum(n * gain for n, gain in zip(agents, gains, strict=False)) / sum(agents)
    return Trend(
        verdict=worst,
        bytes_per_step=mean if known else None,
        ci95_bytes=_interval(agents, intervals) if known else None,
        floor_bytes=None,
        first_step=min(each.first_step for each in trends),
        last_step=max(each.last_step for each in trends),
    )


def _sum(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None
