"""`memprof profile`: one scenario measured before and after its passes, and held to its budget."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Sequence
from typing import Literal

from msgspec.structs import replace

from memprof.catalogue.passes import PASSES, passes_for
from memprof.errors import BehaviourDiverged, BudgetExceeded, CheckFailed, Interrupted, MemprofError
from memprof.launch.machine import describe_environment
from memprof.launch.runner import Crew, Observer, Outcome
from memprof.posix import Limits
from memprof.profile import cautions, judge
from memprof.profile.advice import advise
from memprof.profile.auto import changes_order, judged
from memprof.profile.kinds import profile_kinds
from memprof.profile.passes import cost_of
from memprof.profile.rows import waterfall
from memprof.profile.shards import with_shards
from memprof.profile.workers import Runs, VariantRuns
from memprof.scenario import LoadedScenario
from memprof.scenario.schema import PER_AGENT, Scenario
from memprof.stats import equivalence
from memprof.stats.lines import mean_interval, mean_of_known, median_half_width, process_bytes
from memprof.text import format_size
from memprof.values.measurements import Measurement
from memprof.values.population import EngineSpec
from memprof.values.profile import Hotspots, PassResult, Report, StepSeconds, Variant
from memprof.values.report import BudgetCheck, Equivalence, PerAgent, Variants


def profile(
    loaded: LoadedScenario, limits: Limits, observer: Observer, engine: EngineSpec | None = None
) -> Outcome[Report]:
    """Measure the scenario in fresh workers and condense what they brought home; then over shards,
    if there is an `engine`.

    Raises:
        ScenarioError: a worker found the scenario wrong.
        UsageError: there is no cluster at the engine's address.
        MeasurementError: nothing was measured.
    """
    if engine is not None:
        return with_shards(
            lambda: profile(loaded, limits, observer), engine, Crew(loaded, limits, observer)
        )
    if loaded.kinds:
        return profile_kinds(loaded, lambda each, told: profile(each, limits, told), observer)
    runs = Runs(Crew(loaded, limits, observer)).run_all()
    report = condense(runs, loaded, limits)
    return Outcome(report, runs.failure or _broken_check(report, loaded.kind))


def condense(runs: Runs, loaded: LoadedScenario, limits: Limits) -> Report:
    """What all the workers' figures come to."""
    scenario = loaded.scenario
    before = _variant(runs.before, runs.compiling.get(()))
    after = _variant(runs.after, runs.compiling.get(runs.plan)) if runs.after else None
    if scenario.auto and not runs.plan and runs.failure is None:
        after = before  # no pass helps: the best plan is none
    verdict, passes = _behaviour(runs, scenario)
    # A budget is for the population as it is run in the end, with its passes.
    judged = after or (None if scenario.passes else before)
    budget = budget_check(scenario, judged.per_agent) if judged else None
    clean = [run for each in (runs.before, runs.after) if each for run in each.clean]
    report = Report(
        scenario=scenario.reported,
        file=loaded.file,
        environment=describe_environment(scenario.backend, clean[-1], limits.memory_bytes),
        variants=Variants(before, after),
        passes=passes,
        equivalence=verdict,
        budget=budget,
        warnings=cautions.find(
            before,
            after if runs.plan else None,
            verdict,
            [each for each in passes if each.kept],
            runs.failure,
            runs.differs,
            scenario.max_slowdown if scenario.auto else None,
            clean,
        ),
        complete=runs.failure is None,
    )
    return replace(report, advice=advise(report, passes_for(scenario.backend)))


def _variant(runs: VariantRuns, compiling: Measurement | None) -> Variant:
    clean = runs.clean
    samples = [run.sample for run in clean]
    like_users = [run.sample for run in ([compiling] if compiling else clean)]
    at_n = [each.at_n.reading for each in like_users]
    peaks = [each.peak_rss_bytes for each in like_users if each.peak_rss_bytes is not None]
    timed = runs.timed
    compiled = [
        run.compile_seconds
        for run in ([compiling] if compiling else timed)
        if run.compile_seconds is not None
    ]
    cost = cost_of(clean, compiling)
    traced = runs.instruments.get("tracemalloc")
    intrusive = runs.instruments.values()
    return Variant(
        passes=runs.passes,
        repeats=len(clean),
        per_agent=cost.per_agent,
        baseline_bytes=statistics.fmean([process_bytes(run.baseline) for run in clean]),
        imports_bytes=statistics.fmean(
            process_bytes(each.imported) - process_bytes(each.start) for each in samples
        ),
        uss_bytes=mean_of_known(reading.uss_bytes for reading in at_n),
        pss_bytes=mean_of_known(reading.pss_bytes for reading in at_n),
        rss_bytes=statistics.fmean([reading.rss_bytes for reading in at_n]),
        peak_bytes=max(peaks) if peaks else None,
        file_bytes=statistics.fmean([run.file_bytes for run in clean]),
        kept_whole=tuple(sorted({each for run in clean for each in run.kept_whole})),
        working_set=clean[0].working_set,
        step_seconds=_step_seconds([run.step_seconds for run in timed]),
        compile_seconds=statistics.median(compiled) if compiled else None,
        build_seconds=statistics.median([s for run in timed for s in run.build_seconds]),
        ledger=clean[0].ledger,
        world=clean[0].world,
        rewards=clean[0].rewards,
        born=clean[0].born,
        instruments=judge.side_by_side(clean, runs.instruments, runs.failures, runs.sampled),
        hotspots=Hotspots(
            judge.operations(timed, traced),
            traced.details.lines if traced else (),
            traced.details.stacks if traced else (),
        ),
        trend=judge.trend([each.trend for each in samples]),
        device=used.details.device if (used := runs.instruments.get("device")) else None,
        timeline=judge.timeline(runs.sampled),
        samples=tuple(samples),
        contents=next((run.details.contents for run in intrusive if run.details.contents), ()),
        gains=next((run.details.gains for run in intrusive if run.details.gains), ()),
        imports=next((run.imports for run in intrusive if run.imports), ()),
        one_agent=judge.one_agent(
            cost.per_agent, cost.growth.value, cost.agents, clean[0].ledger, traced
        ),
        file_pages_bytes=statistics.fmean(
            process_bytes(run.baseline) - run.baseline.private_bytes for run in clean
        ),
    )


def _step_seconds(workers: Sequence[Sequence[float]]) -> StepSeconds:
    within = statistics.fmean(median_half_width(each) for each in workers)
    median, interval = mean_interval([statistics.median(each) for each in workers], within)
    return StepSeconds(median, interval)


def _equivalence(runs: Runs, scenario: Scenario) -> Equivalence:
    if runs.differs is not None:
        return equivalence.not_checked(runs.differs.words)
    if runs.after is None and (runs.plan or runs.failure or not scenario.passes):
        return equivalence.not_checked(
            "no passes to check" if not scenario.passes else "the passes were not measured"
        )
    if runs.after is None:
        return equivalence.exact(scenario.agents, scenario.steps, "auto kept no pass")
    before, after = ([run.digests for run in v.clean] for v in (runs.before, runs.after))
    same = equivalence.same_digests(before, after)
    if same and not changes_order(runs.crew.loaded.spec(runs.plan)):
        return equivalence.exact(scenario.agents, scenario.steps)
    if runs.comparison is None:
        return equivalence.not_finished(same=same)
    return judged(runs.comparison, runs.crew.loaded.spec(()), runs.plan, same_digests=same)


def _behaviour(runs: Runs, scenario: Scenario) -> tuple[Equivalence, tuple[PassResult, ...]]:
    """Whether agents behave as before, and what each pass did."""
    verdict = _equivalence(runs, scenario)
    clean = {**runs.trials, (): runs.before.clean}
    if runs.after is not None:
        clean[runs.plan] = runs.after.clean
    costs = {plan: runs.cost(plan, workers) for plan, workers in clean.items()}
    claims = {name: PASSES[name].form(scenario.backend).claim for name in runs.plan}
    if runs.choice is not None:
        rows = runs.choice.rows(costs, claims, verdict.verdict)
    else:
        rows = waterfall(runs.plan, claims, costs, runs.trial_failures, verdict.verdict)
    broken = [row.name for row in rows if row.kept and row.outcome == "diverged"]
    if verdict.verdict == "bounded" and broken:  # within the bound of another pass
        detail = f"{', '.join(broken)} broke its claim; {verdict.detail}"
        verdict = replace(verdict, verdict="diverged", detail=detail)
    return verdict, rows


def _broken_check(report: Report, kind: str) -> MemprofError | None:
    broken = [each.name for each in report.passes if each.kept and each.outcome == "diverged"]
    plan = report.variants.after.passes if report.variants.after else ()
    return diverged(report.equivalence, broken or plan, "saving") or over_budget(
        report.budget, kind or PER_AGENT
    )


def diverged(
    found: Equivalence, passes: Sequence[str], claim: Literal["saving", "capacity"]
) -> BehaviourDiverged | None:
    """What a command ends with where `passes` changed what agents do, so that nothing is claimed
    for them."""
    if found.verdict != "diverged":
        return None
    return BehaviourDiverged(
        f"passes {', '.join(passes)} changed the agents' behaviour ({found.detail}); no {claim} "
        "is claimed. Leave the pass out, or report it with this scenario"
    )


def budget_check(scenario: Scenario, cost: PerAgent) -> BudgetCheck | None:
    """The marginal cost against the budget, its upper end where it is below resolution; None if
    there is no budget."""
    limit = scenario.limit_bytes
    if limit is None:
        return None
    return BudgetCheck(limit, cost.at_most_bytes, cost.at_most_bytes <= limit)


def over_budget(budget: BudgetCheck | None, name: str = PER_AGENT) -> BudgetExceeded | None:
    """What a command ends with where a budget of that name is broken."""
    if budget is None or budget.kept:
        return None
    return BudgetExceeded(
        f"budget.{name}: expected at most {format_size(budget.limit_bytes)}, found "
        f"{format_size(budget.marginal_bytes)} per agent with the passes; add passes, or raise "
        "the budget"
    )


def limited(loaded: LoadedScenario, per_agent: int | None) -> LoadedScenario:
    """The scenario with a budget of `per_agent` bytes, or its own if that is lower."""
    scenario = loaded.scenario
    limits = [limit for limit in (scenario.limit_bytes, per_agent) if limit is not None]
    if not limits:
        return loaded
    budget = {PER_AGENT: min(limits)}
    return dataclasses.replace(loaded, scenario=scenario.model_copy(update={"budget": budget}))


def check(loaded: LoadedScenario, limits: Limits, observer: Observer) -> Outcome[Report]:
    """Profile the scenario and judge it by its budget and its behaviour: what is wrong with them is
    its failure.

    Raises:
        KeyboardInterrupt: the user ended it.
        ScenarioError: a worker found the scenario wrong.
        MeasurementError: it could not be measured, or not in full.
    """
    try:
        outcome = profile(loaded, limits, observer)
    except Interrupted:
        raise KeyboardInterrupt from None
    failure = outcome.failure
    if isinstance(failure, Interrupted):
        raise KeyboardInterrupt
    if failure is not None and not isinstance(failure, CheckFailed):
        raise failure
    return outcome
