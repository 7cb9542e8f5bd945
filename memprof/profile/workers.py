"""The worker runs of one command: which, in which order, and what came of them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from memprof.catalogue.instruments import INSTRUMENTS
from memprof.catalogue.passes import PASSES, bound_of, candidates, only_reorders
from memprof.errors import MeasurementError
from memprof.launch.runner import Crew, Measuring
from memprof.launch.spawn import Finished
from memprof.profile.passes import Cost, Plan, cost_of
from memprof.profile.search import Search
from memprof.stats.equivalence import judge, reproducible, same_digests
from memprof.values.instruments import InstrumentRun
from memprof.values.measurements import Measurement, TraceComparison
from memprof.values.report import Equivalence, VariantName
from memprof.values.requests import Measure, ReadThrough, Trace


@dataclass(slots=True)
class VariantRuns:
    """What the workers of one variant brought home."""

    passes: Plan = ()
    clean: list[Measurement] = field(default_factory=list)
    sampled: Finished[Measurement] | None = None
    instruments: dict[str, InstrumentRun] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Runs(Measuring):
    """All worker runs of one scenario, and what they have brought home until now.

    Attributes:
        plan: the passes of the population after; for `auto`, what was chosen until now.
        trials: single clean workers, by their plan: those of the search and the waterfall.
        trial_failures: why a plan of the waterfall has none.
        search: how `auto` came to its plan.
        comparison: value by value, where digests differ.
        reproducible: False where the plain population differs from itself, value by value.
        resolve: clean workers go on until they know well what an agent costs.
    """

    crew: Crew
    before: VariantRuns = field(default_factory=VariantRuns)
    after: VariantRuns | None = None
    plan: Plan = ()
    trials: dict[Plan, list[Measurement]] = field(default_factory=dict)
    trial_failures: dict[Plan, str] = field(default_factory=dict)
    search: Search | None = None
    comparison: TraceComparison | None = None
    reproducible: bool = True
    resolve: bool = True

    def run_all(self) -> Runs:
        """The search if the scenario asks for it, then clean workers, before and after interleaved
        over the repeats, then the plans in between, then the instruments.

        A failure ends the clean runs, and what they measured so far is kept; an instrument or a
        plan in between that fails is noted and the others go on.

        Raises:
            ScenarioError: a worker found the scenario wrong.
            MeasurementError: nothing at all was measured, or the user ended it before that.
        """
        scenario = self.crew.loaded.scenario
        with self._kept():
            self._choose_plan()
            self.crew.total += self._count()
            self._measure(scenario.repeats, "memory_profiler" in scenario.instruments)
            self._waterfall()
            self._instruments([n for n in scenario.instruments if INSTRUMENTS[n].target])
            self._compare()
        return self

    def run_clean(self) -> Runs:
        """The same without the plans in between and the instruments, and without agents beyond the
        scenario's that only resolve what one costs.

        Raises:
            ScenarioError, MeasurementError: as `run_all`.
        """
        self.resolve = False
        with self._kept():
            self._choose_plan()
            self.crew.total += len(list(self._variants())) * self.crew.loaded.scenario.repeats
            self._measure(self.crew.loaded.scenario.repeats)
            self._compare()
        return self

    def run_again(self) -> None:
        """One more repeat of clean workers."""
        with self._kept():
            self.crew.total += len(list(self._variants()))
            self._measure(1)

    def run_between(self) -> None:
        """The plans in between, which show what each pass does."""
        with self._kept():
            self.crew.total += len(self._plans_between())
            self._waterfall()

    @contextmanager
    def _kept(self) -> Iterator[None]:
        """The same, and variants of which nothing was measured are none."""
        with self.kept(self._measured):
            yield
        if self.search is not None:
            self.plan = self.search.kept
        if self.after is not None and not self.after.clean:
            self.after = None

    def _measured(self) -> bool:
        """Whether there is anything to report: if need be, the search's own plain workers."""
        self.before.clean = self.before.clean or self.trials.get((), [])
        return bool(self.before.clean)

    def _choose_plan(self) -> None:
        self.plan = self.choose()
        self.after = VariantRuns(self.plan) if self.plan else None

    def choose(self) -> Plan:
        """The scenario's passes, or those that `auto` finds, with a fresh worker for each plan that
        it tries."""
        scenario = self.crew.loaded.scenario
        if not scenario.auto:
            return tuple(scenario.passes)

        def measure(plan: Plan) -> Cost:
            number = len(self.trials.get(plan, [])) + 1
            again = f", worker {number}" if number > 1 else ""
            self.crew.total = max(self.crew.total, self.crew.started + 1)
            return self._trial(plan, f"auto: {_words(plan)}{again}")

        names = candidates(scenario.backend)
        requires = {name: PASSES[name].requires for name in names}
        self.crew.total = 1 + len(names)
        with tempfile.TemporaryDirectory(prefix="memprof-") as folder:
            file = Path(folder) / "trace"

            def compare(plan: Plan) -> Equivalence:
                found = compared((), plan, _words(plan), file, self.crew)
                return judged(found, plan, scenario.backend)

            reorders = bound_of(names, scenario.backend) is not None
            self.search = Search(
                names, requires, scenario.max_slowdown, measure, compare if reorders else None
            )
            self.search.run()
        self.crew.total = self.crew.started
        return self.search.kept

    def _trial(self, plan: Plan, title: str) -> Cost:
        done = self.crew.run(title, Measure(self.crew.loaded.spec(plan), resolve=True))
        self.trials.setdefault(plan, []).append(done.value)
        return cost_of([done.value])

    def _count(self) -> int:
        """Workers that a plan needs, once it is known."""
        scenario = self.crew.loaded.scenario
        intrusive = sum(bool(INSTRUMENTS[name].target) for name in scenario.instruments)
        variants = len(list(self._variants()))
        return variants * (scenario.repeats + intrusive) + len(self._plans_between())

    def _plans_between(self) -> list[Plan]:
        """The first pass, the first two, ... without the whole plan, and without what is known."""
        plans = [self.plan[:count] for count in range(1, len(self.plan))]
        return [plan for plan in plans if plan not in self.trials]

    def _variants(self) -> Iterator[tuple[VariantName, VariantRuns]]:
        yield "before", self.before
        if self.after is not None:
            yield "after", self.after

    def _measure(self, repeats: int, sample: bool = False) -> None:
        done_before = len(self.before.clean)
        for repeat in range(done_before, done_before + repeats):
            order = list(self._variants())
            for name, variant in order if repeat % 2 == 0 else reversed(order):
                first = not variant.clean
                done = self.crew.run(
                    f"{name}, repeat {repeat + 1} of {done_before + repeats}",
                    Measure(self.crew.loaded.spec(variant.passes), resolve=self.resolve),
                    sample=sample and first,
                )
                variant.clean.append(done.value)
                if sample and first:
                    variant.sampled = done

    def _waterfall(self) -> None:
        """One clean worker for each plan between before and after: what each pass adds."""
        for plan in self._plans_between():
            try:
                self._trial(plan, _words(plan))
            except MeasurementError as error:
                self.trial_failures[plan] = str(error)
                self.failure = self.failure or error

    def _instruments(self, names: list[str]) -> None:
        for instrument in names:
            for name, variant in self._variants():
                try:
                    request = ReadThrough(
                        self.crew.loaded.spec(variant.passes), instrument=instrument
                    )
                    done = self.crew.run(f"{name}, {instrument}", request)
                    variant.instruments[instrument] = done.value
                except MeasurementError as error:
                    variant.failures[instrument] = str(error)
                    self.failure = self.failure or error

    def _compare(self) -> None:
        """Where digests differ, run both populations once more and compare value by value; but not
        where the plain one differs from itself, which no value could put right."""
        if self.after is None:
            return
        before, after = ([run.digests for run in v.clean] for v in (self.before, self.after))
        if same_digests(before, after) or not reproducible(before):
            return
        self.comparison = compared_with_plain(self.plan, len(before), self.crew)
        self.reproducible = self.comparison is not None


def _words(plan: Plan) -> str:
    return " + ".join(plan) or "no passes"


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


def judged(found: TraceComparison, plan: Plan, backend: str) -> Equivalence:
    """Whether a plan keeps to what its passes claim of behaviour, value by value."""
    return judge(found, bound_of(plan, backend), only_reorders(plan, backend))


def compared(before: Plan, after: Plan, name: str, file: Path, crew: Crew) -> TraceComparison:
    """Every value of both, by a worker each; the first one's are in `file`, if that exists."""
    crew.total += 1 if file.exists() else 2
    if not file.exists():
        crew.run("before, trace", Trace(crew.loaded.spec(before), file=str(file)))
    request = Trace(crew.loaded.spec(after), file=str(file), compare=True)
    return crew.run(f"{name}, trace", request).value
