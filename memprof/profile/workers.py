"""The worker runs of one command: which, in which order, and what came of them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from msgspec.structs import replace

from memprof.catalogue.instruments import INSTRUMENTS
from memprof.errors import MeasurementError
from memprof.launch.runner import Crew, Measuring
from memprof.launch.spawn import Finished
from memprof.profile.auto import changes_order
from memprof.profile.choice import Choice
from memprof.profile.passes import Cost, Plan, cost_of
from memprof.stats.equivalence import Parting, parting, reproducible, same_digests
from memprof.text import format_size
from memprof.values.instruments import InstrumentRun
from memprof.values.measurements import Measurement, TraceComparison
from memprof.values.population import EFFORTS, EffortName
from memprof.values.report import VariantName
from memprof.values.requests import Measure, ReadThrough, Trace

# Repeats to one that also sees whether agents grow: the last ones, so that a cost is known soon.
_TREND_EVERY = 3


@dataclass(slots=True)
class VariantRuns:
    """What the workers of one variant brought home.

    Attributes:
        clean: of all repeats.
        alone: of those that had the machine to themselves.
    """

    passes: Plan = ()
    clean: list[Measurement] = field(default_factory=list)
    alone: list[Measurement] = field(default_factory=list)
    sampled: Finished[Measurement] | None = None
    instruments: dict[str, InstrumentRun] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)

    @property
    def timed(self) -> list[Measurement]:
        """The workers whose wall-clock times count."""
        return self.alone or self.clean


@dataclass(slots=True)
class Runs(Measuring):
    """All worker runs of one scenario, and what they have brought home until now.

    Attributes:
        plan: the passes of the population after; for `auto`, what was chosen until now.
        trials: clean workers of single plans: those that `auto` tries in this way, and those of the
            waterfall.
        trial_failures: why a plan of the waterfall has none.
        compiling: of each plan of a backend that compiles, the worker that did so; all others of
            the plan find the programs there, and differ by less.
        compiling_failures: why a plan of passes has none.
        choice: how `auto` came to its plan.
        comparison: value by value, where digests differ or do not tell all.
        parted: where the plain population differs from itself, value by value.
        resolve: clean workers go on until they know well what an agent costs.
    """

    crew: Crew
    before: VariantRuns = field(default_factory=VariantRuns)
    after: VariantRuns | None = None
    plan: Plan = ()
    trials: dict[Plan, list[Measurement]] = field(default_factory=dict)
    trial_failures: dict[Plan, str] = field(default_factory=dict)
    compiling: dict[Plan, Measurement] = field(default_factory=dict)
    compiling_failures: dict[Plan, MeasurementError] = field(default_factory=dict)
    choice: Choice | None = None
    comparison: TraceComparison | None = None
    parted: Parting | None = None
    resolve: bool = True

    def run_all(self) -> Runs:
        """A clean worker before, the search if the scenario asks for it, and one after; then,
        beside each other, the further repeats, the plans in between and the instruments.

        A failure ends the clean runs, and what they measured so far is kept; an instrument or a
        plan in between that fails is noted and the others go on.

        Raises:
            ScenarioError: a worker found the scenario wrong.
            MeasurementError: nothing at all was measured, or the user ended it before that.
        """
        scenario = self.crew.loaded.scenario
        names = [name for name in scenario.instruments if INSTRUMENTS[name].target]
        with self._kept(), self.crew.forking(self._most_forks(names)):
            if scenario.auto:  # what it chooses from has to be better than that
                self._clean("before", self.before, 0, scenario.repeats)
            self._choose_plan()
            plans = self._to_compile([(), self.plan, *self._plans_between()])
            first, *further = self._repeats(0, scenario.repeats)
            tasks = [task for tasks in further for task in tasks]
            tasks += [*self._waterfall(), *self._instruments(names)]
            traces = _most_traces(scenario.repeats) if self.after else 0
            self.crew.beside = len(tasks)
            known = len(plans) + len(first) + len(tasks) + traces
            self.crew.total = self.crew.started + known
            self._compile_beside(plans)
            if not self.before.clean:  # until then nobody knows how much memory workers take
                first.pop(0)()

            def after_first(task: Callable[[], None]) -> None:
                task()
                self.crew.total -= 0 if self._is_to_compare() else traces

            first = [partial(after_first, task) for task in first]
            self._beside([*first, *tasks], after_clock=bool(first))
            self._compare()
        return self

    def _compile_beside(self, plans: Sequence[Plan]) -> None:
        """Compile for all plans, before anything is measured by a clock."""
        tasks = [partial(self._compile, plan) for plan in plans]
        for task in tasks[:1]:  # until then nobody knows how much memory workers take
            task()
        if tasks[1:]:
            self._beside(tasks[1:])

    def _to_compile(self, plans: Sequence[Plan]) -> list[Plan]:
        """Those of the plans whose programs are to be compiled."""
        if not self.crew.compiles:
            return []
        done = {*self.compiling, *self.compiling_failures}
        return [plan for plan in dict.fromkeys(plans) if plan not in done]

    def _compile(self, plan: Plan) -> None:
        """A plan of passes that fails may leave something to report; not so the population itself.

        Raises:
            MeasurementError: that failed.
        """
        self.crew.keep_compiled()
        spec, repeats = self.crew.loaded.spec(plan), self.crew.loaded.scenario.repeats
        request = Measure(spec, resolve=repeats if self.resolve else 0, trend=False)
        try:
            self.compiling[plan] = self.crew.run(f"{_words(plan)}, compiling", request).value
        except MeasurementError as error:
            if not plan:
                raise
            self.compiling_failures[plan] = error

    def _request(
        self, plan: Plan, workers: int, *, trend: bool = False, effort: EffortName | None = None
    ) -> Measure:
        """For one of so many clean workers of the plan, after the one that compiles for it.

        Raises:
            MeasurementError: that one failed.
        """
        for each in self._to_compile([plan]):
            self._compile(each)
        if plan in self.compiling_failures:
            raise self.compiling_failures[plan]
        scenario = self.crew.loaded.scenario
        spec = replace(self.crew.loaded.spec(plan), effort=EFFORTS[effort or scenario.effort])
        known = self.compiling.get(plan)
        most = 0 if known is None else max(each.agents for each in known.sample.points)
        return Measure(spec, resolve=workers, most=most, trend=trend)

    def cost(self, plan: Plan, clean: Sequence[Measurement]) -> Cost:
        """What a plan costs by its clean workers."""
        return cost_of(clean, self.compiling.get(plan))

    def run_clean(self) -> Runs:
        """The same without the plans in between and the instruments, and without agents beyond the
        scenario's that only resolve what one costs.

        Raises:
            ScenarioError, MeasurementError: as `run_all`.
        """
        self.resolve = False
        with self._kept():
            self._choose_plan()
            self._measure(0, self.crew.loaded.scenario.repeats)
            self._compare()
        return self

    def run_again(self) -> None:
        """One more repeat of clean workers."""
        with self._kept():
            done = len(self.before.clean)
            self._measure(done, done + 1)

    def run_between(self) -> None:
        """The plans in between, which show what each pass does."""
        with self._kept():
            tasks = self._waterfall()
            self.crew.total += len(self._to_compile(self._plans_between())) + len(tasks)
            self._beside(tasks)

    @contextmanager
    def _kept(self) -> Iterator[None]:
        """The same, and variants of which nothing was measured are none."""
        with self.kept(self._measured):
            yield
        for _, variant in self._variants():  # which come as they finish
            names, found = self.crew.loaded.scenario.instruments, variant.instruments
            variant.instruments = {name: found[name] for name in names if name in found}
        if self.choice is not None:
            self.plan = self.choice.plan
        if self.after is not None and not self.after.clean:
            self.after = None

    def _measured(self) -> bool:
        """Whether there is anything to report: if need be, plain workers of `auto`, or the one that
        compiled."""
        compiling = [self.compiling[()]] if () in self.compiling else []
        self.before.clean = self.before.clean or self.trials.get((), compiling)
        return bool(self.before.clean)

    def _choose_plan(self) -> None:
        self.plan = self.choose()
        self.after = VariantRuns(self.plan) if self.plan else None

    def choose(self) -> Plan:
        """The scenario's passes, or those that `auto` chooses."""
        scenario = self.crew.loaded.scenario
        if not scenario.auto:
            return tuple(scenario.passes)

        if self.before.clean:
            self.trials[()] = self.before.clean[:1]
        self.choice = Choice(self.crew, self._clean_cost)
        self.choice.make()
        self.crew.total = self.crew.started
        return self.choice.plan

    def _clean_cost(self, plan: Plan, least: int) -> Cost:
        while len(self.trials.get(plan, ())) < least:
            self._trial(plan, f"auto: {_words(plan)}", "quick")
        return self.cost(plan, self.trials[plan])

    def _trial(self, plan: Plan, title: str, effort: EffortName) -> None:
        done = self.crew.run(title, self._request(plan, 1, effort=effort))
        self.trials.setdefault(plan, []).append(done.value)

    def _plans_between(self) -> list[Plan]:
        """The first pass, the first two, ... without the whole plan, and without what is known; the
        search of `auto` has seen what its passes add."""
        if self.choice is not None:
            return []
        plans = [self.plan[:count] for count in range(1, len(self.plan))]
        return [plan for plan in plans if plan not in self.trials]

    def _variants(self) -> Iterator[tuple[VariantName, VariantRuns]]:
        yield "before", self.before
        if self.after is not None:
            yield "after", self.after

    def _measure(self, done: int, most: int) -> None:
        tasks = [task for tasks in self._repeats(done, most) for task in tasks]
        plans = self._to_compile([variant.passes for _, variant in self._variants()])
        self.crew.total += len(plans) + len(tasks)
        for task in tasks:
            task()

    def _repeats(self, done: int, most: int) -> Iterator[list[Callable[[], None]]]:
        """Clean workers of all repeats but those that are done, before and after interleaved."""
        for repeat in range(done, most):
            order = list(self._variants())
            yield [
                partial(self._clean, name, variant, repeat, most)
                for name, variant in (order if repeat % 2 == 0 else reversed(order))
                if len(variant.clean) <= repeat
            ]

    def _clean(self, name: VariantName, variant: VariantRuns, repeat: int, most: int) -> None:
        # Repeats that another run is compared with all do the same.
        trend = not self.resolve or repeat >= most - max(1, most // _TREND_EVERY)
        instruments = self.crew.loaded.scenario.instruments
        sample = self.resolve and "memory_profiler" in instruments and not variant.clean
        request = self._request(variant.passes, most if self.resolve else 0, trend=trend)
        is_abreast = self.crew.is_abreast
        done = self.crew.run(f"{name}, repeat {repeat + 1} of {most}", request, sample=sample)
        variant.clean.append(done.value)
        if not is_abreast:
            variant.alone.append(done.value)
        if sample:
            variant.sampled = done
        self.crew.say(f"{name}: {_in_words(self.cost(variant.passes, variant.clean))}")

    def _beside(self, tasks: Sequence[Callable[[], None]], *, after_clock: bool = False) -> None:
        """Do what needs no clock; as `Crew.all_of`."""
        known = [self.before.clean, self.after.clean if self.after else (), *self.trials.values()]
        runs = [*self.compiling.values(), *(run for runs in known for run in runs)]
        room = max(map(_most_bytes, runs))
        self.crew.all_of(tasks, room, after_clock=after_clock)

    def _waterfall(self) -> list[Callable[[], None]]:
        """One clean worker for each plan between before and after: what each pass adds."""

        def measure(plan: Plan) -> None:
            try:
                self._trial(plan, _words(plan), self.crew.loaded.scenario.effort)
            except MeasurementError as error:
                self.trial_failures[plan] = str(error)
                self.failure = self.failure or error

        return [partial(measure, plan) for plan in self._plans_between()]

    def _instruments(self, instruments: Sequence[str]) -> list[Callable[[], None]]:
        """A worker for each variant and instrument: those after the passes, which take less time,
        last, so that no lane waits for another in the end."""

        def read(instrument: str, name: VariantName, variant: VariantRuns) -> None:
            try:
                spec = self.crew.loaded.spec(variant.passes)
                first = instrument == instruments[0]
                request = ReadThrough(spec, instrument=instrument, imports=first)
                done = self.crew.run(f"{name}, {instrument}", request)
                variant.instruments[instrument] = done.value
            except MeasurementError as error:
                variant.failures[instrument] = str(error)
                self.failure = self.failure or error

        return [
            partial(read, instrument, *variant)
            for variant in self._variants()
            for instrument in instruments
        ]

    def _most_forks(self, instruments: Sequence[str]) -> int:
        """How many workers there are that can be forked: of those that do the same one, and no
        instrument that tells what imports take."""
        scenario = self.crew.loaded.scenario
        passes = max(len(scenario.passes), 1 if scenario.auto else 0)
        return 1 + passes + (1 + min(1, passes)) * max(0, len(instruments) - 1)

    @property
    def differs(self) -> Parting | None:
        """Where the plain population differs from itself in two runs; None as far as is known."""
        clean = [*self.before.clean, *self.trials.get((), ())]
        if not reproducible([run.digests for run in clean]):
            return parting([run.course for run in clean]) or Parting()
        clean += self.after.clean if self.after else []
        alike = [run for run in clean if run.digests == clean[0].digests]
        if len({run.rewards for run in alike}) > 1:
            return Parting(in_rewards=True)
        return self.parted or (None if self.choice is None else self.choice.differs)

    def _is_to_compare(self) -> bool:
        """Whether digests differ, or do not tell all; but where the plain population differs from
        itself, no value could put that right."""
        if self.after is None:
            return False
        before, after = ([run.digests for run in v.clean] for v in (self.before, self.after))
        if self.differs is not None:
            return False
        spec = self.crew.loaded.spec(self.plan)
        return not same_digests(before, after) or changes_order(spec)

    def _compare(self) -> None:
        """Where digests differ or do not tell all, run both populations once more and compare
        value by value."""
        if self._is_to_compare():
            repeats = len(self.before.clean)
            found = compared_with_plain(self.plan, repeats, self.crew)
            if isinstance(found, Parting):
                self.parted = found
            else:
                self.comparison = found


def _in_words(found: Cost) -> str:
    cost = found.per_agent
    low, high = map(format_size, cost.ci95_bytes)
    if not cost.resolved:
        return f"an agent costs at most {high}"
    return f"an agent costs {format_size(cost.marginal_bytes)} ({low} to {high})"


def _most_bytes(run: Measurement) -> int:
    return run.sample.peak_rss_bytes or run.sample.at_n.reading.rss_bytes


def _words(plan: Plan) -> str:
    return " + ".join(plan) or "no passes"


def _most_traces(repeats: int) -> int:
    """Workers of `compared_with_plain`."""
    return 3 if repeats == 1 else 2


def compared_with_plain(plan: Plan, repeats: int, crew: Crew) -> TraceComparison | Parting:
    """Every value of the population under a plan against the plain one; or where the plain one, of
    which only one of the `repeats` is known, differs from itself."""
    with tempfile.TemporaryDirectory(prefix="memprof-") as folder:
        file = Path(folder) / "trace"
        if repeats == 1:
            itself = compared((), (), "before, again", file, crew)
            if itself.first_difference is not None:
                return Parting(itself.first_difference[1], itself.perceived)
        return compared((), plan, "after", file, crew)


def compared(before: Plan, after: Plan, name: str, file: Path, crew: Crew) -> TraceComparison:
    """Every value of both, by a worker each; the first one's are in `file`, if that exists."""
    if crew.total:
        crew.total = max(crew.total, crew.started + (1 if file.exists() else 2))
    if not file.exists():
        crew.run("before, trace", Trace(crew.loaded.spec(before), file=str(file)))
    request = Trace(crew.loaded.spec(after), file=str(file), compare=True)
    return crew.run(f"{name}, trace", request).value
