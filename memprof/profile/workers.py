"""The worker runs of one command: which, in which order, and what came of them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from memprof.catalogue.instruments import INSTRUMENTS
from memprof.catalogue.passes import PASSES, bound_of, candidates, only_reorders
from memprof.errors import Interrupted, MeasurementError, MemprofError
from memprof.launch.runner import Crew
from memprof.launch.spawn import Finished
from memprof.profile.passes import Cost, Plan, cost_of
from memprof.profile.search import Search
from memprof.scenario.file import LoadedScenario
from memprof.stats.equivalence import judge, reproducible, same_digests
from memprof.values.measurements import InstrumentRun, Measurement, TraceComparison
from memprof.values.profile import Equivalence
from memprof.values.requests import Measure, ReadThrough, Trace

VariantName = Literal["before", "after"]


@dataclass(slots=True)
class VariantRuns:
    """What the workers of one variant brought home."""

    passes: tuple[str, ...]
    clean: list[Measurement] = field(default_factory=list)
    sampled: Finished[Measurement] | None = None
    instruments: dict[str, InstrumentRun] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Runs:
    """All runs of one scenario.

    Attributes:
        plan: the passes of the population after; for `auto`, what was chosen until now.
        trials: single clean workers, by their plan: those of the search and the waterfall.
        trial_failures: why a plan of the waterfall has none.
        search: how `auto` came to its plan.
        comparison: value by value, where digests differ.
        reproducible: False where the plain population differs from itself, value by value.
        resolve: clean workers go on until they know well what an agent costs.
        failure: what ended the runs early.
    """

    before: VariantRuns
    after: VariantRuns | None = None
    plan: Plan = ()
    trials: dict[Plan, list[Measurement]] = field(default_factory=dict)
    trial_failures: dict[Plan, str] = field(default_factory=dict)
    search: Search | None = None
    comparison: TraceComparison | None = None
    reproducible: bool = True
    resolve: bool = True
    failure: MemprofError | None = None


def run_all(crew: Crew) -> Runs:
    """The search if the scenario asks for it, then clean workers, before and after interleaved over
    the repeats, then the plans in between, then the instruments.

    A failure ends the clean runs, and what they measured so far is kept; an instrument or a plan in
    between that fails is noted and the others go on.

    Raises:
        ScenarioError: a worker found the scenario wrong.
        MeasurementError: nothing at all was measured, or the user ended it before that.
    """
    scenario = crew.loaded.scenario
    runs = Runs(VariantRuns(()))
    with _kept(runs):
        _choose_plan(runs, crew)
        crew.total += _count(runs, crew.loaded)
        _measure(runs, crew, scenario.repeats, "memory_profiler" in scenario.instruments)
        _waterfall(runs, crew)
        _instruments(runs, crew, [n for n in scenario.instruments if INSTRUMENTS[n].target])
        _compare(runs, crew)
    return runs


def run_clean(crew: Crew) -> Runs:
    """The same without the plans in between and the instruments, and without agents beyond the
    scenario's that only resolve what one costs.

    Raises:
        ScenarioError, MeasurementError: as `run_all`.
    """
    runs = Runs(VariantRuns(()), resolve=False)
    with _kept(runs):
        _choose_plan(runs, crew)
        crew.total += len(list(_variants(runs))) * crew.loaded.scenario.repeats
        _measure(runs, crew, crew.loaded.scenario.repeats)
        _compare(runs, crew)
    return runs


def run_again(runs: Runs, crew: Crew) -> None:
    """One more repeat of clean workers."""
    with _kept(runs):
        crew.total += len(list(_variants(runs)))
        _measure(runs, crew, 1)


def run_between(runs: Runs, crew: Crew) -> None:
    """The plans in between, which show what each pass does."""
    with _kept(runs):
        crew.total += len(_plans_between(runs))
        _waterfall(runs, crew)


@contextmanager
def _kept(runs: Runs) -> Iterator[None]:
    """What was measured outlives a failure or Ctrl-C, which is noted; unless nothing was."""
    try:
        yield
    except MeasurementError as error:
        if not _measured(runs):
            raise
        runs.failure = runs.failure or error
    except KeyboardInterrupt:
        if not _measured(runs):
            raise Interrupted("interrupted before anything was measured") from None
        runs.failure = Interrupted()
    if runs.search is not None:
        runs.plan = runs.search.kept
    if runs.after is not None and not runs.after.clean:
        runs.after = None


def _measured(runs: Runs) -> bool:
    """Whether there is anything to report: if need be, the search's own plain workers."""
    runs.before.clean = runs.before.clean or runs.trials.get((), [])
    return bool(runs.before.clean)


def _choose_plan(runs: Runs, crew: Crew) -> None:
    """The scenario's passes, or those that `auto` finds."""
    scenario = crew.loaded.scenario
    runs.plan = choose(runs, crew) if scenario.auto else tuple(scenario.passes)
    runs.after = VariantRuns(runs.plan) if runs.plan else None


def choose(runs: Runs, crew: Crew) -> Plan:
    """The plan that `auto` finds, one fresh worker for each plan that it looks at."""

    def measure(plan: Plan) -> Cost:
        number = len(runs.trials.get(plan, [])) + 1
        again = f", worker {number}" if number > 1 else ""
        crew.total = max(crew.total, crew.started + 1)
        return _trial(runs, crew, plan, f"auto: {_words(plan)}{again}")

    scenario = crew.loaded.scenario
    names = candidates(scenario.backend)
    requires = {name: PASSES[name].requires for name in names}
    crew.total = 1 + len(names)
    with tempfile.TemporaryDirectory(prefix="memprof-") as folder:
        file = Path(folder) / "trace"

        def compare(plan: Plan) -> Equivalence:
            found = compared((), plan, _words(plan), file, crew)
            bound = bound_of(plan, scenario.backend)
            return judge(found, bound, only_reorders(plan, scenario.backend))

        reorders = bound_of(names, scenario.backend) is not None
        runs.search = Search(
            names, requires, scenario.max_slowdown, measure, compare if reorders else None
        )
        runs.search.run()
    crew.total = crew.started
    return runs.search.kept


def _trial(runs: Runs, crew: Crew, plan: Plan, title: str) -> Cost:
    done = crew.run(title, _measuring(plan, crew, resolve=True))
    runs.trials.setdefault(plan, []).append(done.value)
    return cost_of([done.value])


def _measuring(plan: Plan, crew: Crew, *, resolve: bool) -> Measure:
    loaded = crew.loaded
    return Measure(loaded.spec(plan), resolve=resolve)


def _words(plan: Plan) -> str:
    return " + ".join(plan) or "no passes"


def _count(runs: Runs, loaded: LoadedScenario) -> int:
    """Workers that a plan needs, once it is known."""
    scenario = loaded.scenario
    intrusive = sum(bool(INSTRUMENTS[name].target) for name in scenario.instruments)
    variants = len(list(_variants(runs)))
    return variants * (scenario.repeats + intrusive) + len(_plans_between(runs))


def _plans_between(runs: Runs) -> list[Plan]:
    """The first pass, the first two, ... without the whole plan, and without what is known."""
    plans = [runs.plan[:count] for count in range(1, len(runs.plan))]
    return [plan for plan in plans if plan not in runs.trials]


def _variants(runs: Runs) -> Iterator[tuple[VariantName, VariantRuns]]:
    yield "before", runs.before
    if runs.after is not None:
        yield "after", runs.after


def _measure(runs: Runs, crew: Crew, repeats: int, sample: bool = False) -> None:
    done_before = len(runs.before.clean)
    for repeat in range(done_before, done_before + repeats):
        order = list(_variants(runs))
        for name, variant in order if repeat % 2 == 0 else reversed(order):
            first = not variant.clean
            done = crew.run(
                f"{name}, repeat {repeat + 1} of {done_before + repeats}",
                _measuring(variant.passes, crew, resolve=runs.resolve),
                sample=sample and first,
            )
            variant.clean.append(done.value)
            if sample and first:
                variant.sampled = done


def _waterfall(runs: Runs, crew: Crew) -> None:
    """One clean worker for each plan between before and after: what each pass adds."""
    for plan in _plans_between(runs):
        try:
            _trial(runs, crew, plan, _words(plan))
        except MeasurementError as error:
            runs.trial_failures[plan] = str(error)
            runs.failure = runs.failure or error


def _instruments(runs: Runs, crew: Crew, names: list[str]) -> None:
    for instrument in names:
        for name, variant in _variants(runs):
            try:
                request = ReadThrough(crew.loaded.spec(variant.passes), instrument=instrument)
                done = crew.run(f"{name}, {instrument}", request)
                variant.instruments[instrument] = done.value
            except MeasurementError as error:
                variant.failures[instrument] = str(error)
                runs.failure = runs.failure or error


def _compare(runs: Runs, crew: Crew) -> None:
    """Where digests differ, run both populations once more and compare value by value; but not
    where the plain one differs from itself, which no value could put right."""
    if runs.after is None:
        return
    before, after = ([run.digests for run in v.clean] for v in (runs.before, runs.after))
    if same_digests(before, after) or not reproducible(before):
        return
    runs.comparison = compared_with_plain(runs.plan, len(before), crew)
    runs.reproducible = runs.comparison is not None


def compared_with_plain(plan: Plan, repeats: int, crew: Crew) -> TraceComparison | None:
    """Every value of the population under a plan against the plain one; None where the plain one,
    of which only one of the `repeats` is known, differs from itself."""
    with tempfile.TemporaryDirectory(prefix="memprof-") as folder:
        file = Path(folder) / "trace"
        if repeats == 1:
            itself = compared((), (), "before, again", file, crew)
            if itself.first_difference is not None:
                return None
        return compared((), plan, "after", file, crew)


def compared(before: Plan, after: Plan, name: str, file: Path, crew: Crew) -> TraceComparison:
    """Every value of both, by a worker each; the first one's are in `file`, if that exists."""
    crew.total += 1 if file.exists() else 2
    if not file.exists():
        crew.run("before, trace", Trace(crew.loaded.spec(before), file=str(file)))
    request = Trace(crew.loaded.spec(after), file=str(file), compare=True)
    return crew.run(f"{name}, trace", request).value
