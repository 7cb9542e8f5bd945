"""The worker runs of one command: which, in which order, and what came of them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from memprof.analysis.equivalence import same_digests
from memprof.errors import Interrupted, MeasurementError, MemprofError, ScenarioError
from memprof.instruments.catalogue import INSTRUMENTS
from memprof.measurements import InstrumentRun, Mark, Measurement, TraceComparison
from memprof.scenario_file import LoadedScenario
from memprof.worker.protocol import Request
from memprof.worker.spawn import Finished, Limits, run_worker

VariantName = Literal["before", "after"]


class Observer(Protocol):
    """Told what is going on, for progress on the way."""

    def worker(self, title: str, number: int, total: int) -> None:
        """The `number`-th of `total` workers starts."""
        ...

    def phase(self, mark: Mark) -> None:
        """The worker enters a phase."""
        ...


@dataclass(slots=True)
class VariantRuns:
    """What the workers of one variant brought home."""

    passes: tuple[str, ...]
    clean: list[Measurement] = field(default_factory=list)
    sampled: Finished | None = None
    instruments: dict[str, InstrumentRun] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Runs:
    """All runs of one scenario; `failure` is what ended them early."""

    before: VariantRuns
    after: VariantRuns | None
    comparison: TraceComparison | None = None
    failure: MemprofError | None = None


def run_all(loaded: LoadedScenario, limits: Limits, observer: Observer) -> Runs:
    """Clean workers first, before and after interleaved over the repeats, then the instruments.

    A failure ends the clean runs, and what they measured so far is kept; an instrument that fails
    is noted and the others go on.

    Raises:
        ScenarioError: a worker found the scenario wrong.
        MeasurementError: nothing at all was measured, or the user ended it before that.
    """
    scenario = loaded.scenario
    passes = tuple(scenario.passes)
    runs = Runs(VariantRuns(()), VariantRuns(passes) if passes else None)
    crew = _Crew(loaded, limits, observer, _count(loaded))
    try:
        _measure(runs, crew, scenario.repeats, "memory_profiler" in scenario.instruments)
        _instruments(runs, crew, [n for n in scenario.instruments if INSTRUMENTS[n].target])
        _compare(runs, crew)
    except MeasurementError as error:
        if not runs.before.clean:
            raise
        runs.failure = runs.failure or error
    except KeyboardInterrupt:
        if not runs.before.clean:
            raise Interrupted("interrupted before anything was measured") from None
        runs.failure = Interrupted("interrupted; the report holds what was measured until then")
    if runs.after is not None and not runs.after.clean:
        runs.after = None
    return runs


@dataclass(slots=True)
class _Crew:
    """Starts the workers of one scenario, one after the other."""

    loaded: LoadedScenario
    limits: Limits
    observer: Observer
    total: int
    started: int = 0

    def run(
        self, title: str, variant: VariantRuns, *, sample: bool = False, **request: Any
    ) -> Finished:
        self.started += 1
        self.observer.worker(title, self.started, self.total)
        spec = self.loaded.spec(variant.passes)
        try:
            return run_worker(
                Request(spec=spec, **request), self.limits, self.observer.phase, sample=sample
            )
        except ScenarioError as error:
            where = self.loaded.where(error.field)
            raise ScenarioError(
                error.field, error.problem, where=where, detail=error.detail
            ) from None


def _count(loaded: LoadedScenario) -> int:
    scenario = loaded.scenario
    intrusive = sum(bool(INSTRUMENTS[name].target) for name in scenario.instruments)
    return (2 if scenario.passes else 1) * (scenario.repeats + intrusive)


def _variants(runs: Runs) -> Iterator[tuple[VariantName, VariantRuns]]:
    yield "before", runs.before
    if runs.after is not None:
        yield "after", runs.after


def _measure(runs: Runs, crew: _Crew, repeats: int, sample: bool) -> None:
    for repeat in range(repeats):
        order = list(_variants(runs))
        for name, variant in order if repeat % 2 == 0 else reversed(order):
            first = not variant.clean
            done = crew.run(
                f"{name}, repeat {repeat + 1} of {repeats}",
                variant,
                job="measure",
                sample=sample and first,
            )
            variant.clean.append(done.value)
            if sample and first:
                variant.sampled = done


def _instruments(runs: Runs, crew: _Crew, names: list[str]) -> None:
    for instrument in names:
        for name, variant in _variants(runs):
            try:
                done = crew.run(
                    f"{name}, {instrument}", variant, job="instrument", instrument=instrument
                )
                variant.instruments[instrument] = done.value
            except MeasurementError as error:
                variant.failures[instrument] = str(error)
                runs.failure = runs.failure or error


def _compare(runs: Runs, crew: _Crew) -> None:
    """Where digests differ, run both populations once more and compare value by value."""
    if runs.after is None:
        return
    before, after = ([run.digests for run in v.clean] for v in (runs.before, runs.after))
    if same_digests(before, after):
        return
    crew.total += 2
    with tempfile.TemporaryDirectory(prefix="memprof-") as folder:
        file = str(Path(folder) / "trace")
        crew.run("before, trace", runs.before, job="trace", trace_file=file)
        runs.comparison = crew.run(
            "after, trace", runs.after, job="trace", trace_file=file, compare=True
        ).value
