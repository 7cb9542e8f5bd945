"""One scenario at the gate: measured, and judged by an earlier run of it."""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from msgspec.structs import replace

from memprof.catalogue.models import Npz
from memprof.errors import MemprofError
from memprof.gate import differences, judge
from memprof.launch.runner import Crew, Named, Observer
from memprof.posix import Limits
from memprof.profile.run import condense
from memprof.profile.workers import Runs
from memprof.scenario import LoadedScenario
from memprof.values.gate import DEFAULTS, Comparison, MetricChange, Tolerance
from memprof.values.profile import Report


@dataclass(frozen=True, slots=True)
class Case:
    """A scenario, with the tolerances that apply to it."""

    loaded: LoadedScenario
    tolerances: Mapping[str, Tolerance]

    @property
    def name(self) -> str:
        return self.loaded.scenario.name

    @property
    def file(self) -> str:
        return str(self.loaded.path)

    def hash(self) -> str:
        """Of all that decides on the figures: fields of the scenario, and its model's file."""
        values = self.loaded.scenario.model_dump(mode="json")
        whole = self.loaded.whole
        if whole is not None:  # in the company of which it was measured
            values["company"] = whole.scenario.model_dump(mode="json", exclude={"model"})
        models = [each.scenario.model for each in (whole.kinds if whole else [self.loaded])]
        files = [each.path for each in models if isinstance(each, Npz)]
        if files:
            contents = [(self.loaded.path.parent / each).read_bytes() for each in files]
            values["model"]["content"] = hashlib.sha256(b"".join(contents)).hexdigest()
        return differences.scenario_hash(values)

    def with_passes(self, passes: tuple[str, ...]) -> Case:
        """The same under these passes, such as those that `auto` found before."""
        scenario = self.loaded.scenario.model_copy(update={"passes": list(passes)})
        return dataclasses.replace(self, loaded=dataclasses.replace(self.loaded, scenario=scenario))


@dataclass(frozen=True, slots=True)
class Rules:
    """How a gate measures: in workers within `limits`, and where their figures are too noisy to
    tell, in more of them, up to `max_repeats` of each variant."""

    limits: Limits
    max_repeats: int


@dataclass(slots=True)
class Measured:
    """A case as it was measured, and what can be measured further."""

    case: Case
    rules: Rules
    runs: Runs
    started: float
    _report: Report | None = field(default=None, init=False)

    @property
    def report(self) -> Report:
        """What all that was measured comes to."""
        if self._report is None:
            self._report = condense(self.runs, self.case.loaded, self.rules.limits)
        return self._report

    @property
    def failure(self) -> MemprofError | None:
        return self.runs.failure

    def compared_with(self, was: Report) -> list[MetricChange]:
        """A verdict on each metric, from more repeats where it takes them."""
        while True:
            found = judge.judge(was, self.report, self.case.tolerances)
            enough = len(self.runs.before.clean) >= self.rules.max_repeats
            if self.failure is not None or enough or not judge.inconclusive(found):
                return found
            self._report = None
            self.runs.run_again()

    def measure_each_pass(self) -> None:
        """What each pass does, where there are several."""
        if self.failure is None:
            self._report = None
            self.runs.run_between()


def case_of(loaded: LoadedScenario, given: Mapping[str, Tolerance]) -> Case:
    """The scenario with its own tolerances, which those on the command line replace."""
    return Case(loaded, {**DEFAULTS, **loaded.scenario.allowances, **given})


def measure(case: Case, rules: Rules, observer: Observer, doing: str = "") -> Measured:
    """Clean workers of the case, before and after its passes.

    Raises:
        ScenarioError: a worker found the scenario wrong.
        MeasurementError: nothing was measured.
    """
    started = time.monotonic()
    crew = Crew(case.loaded, rules.limits, Named(observer, f"{case.name}{doing}"))
    return Measured(case, rules, Runs(crew).run_clean(), started)


def compare(measured: Measured, was: Report | None) -> Comparison:
    """The case as it is now, compared with what it `was` if that is known; where it got worse, with
    the passes measured one by one, to name the one that does less."""
    name, file = measured.case.name, measured.case.file
    if was is None:
        repeats = (0, measured.report.variants.before.repeats)
        found = Comparison(name, file, repeats, tuple(judge.first(measured.report)))
    else:
        metrics = measured.compared_with(was)
        if any(each.verdict == "worse" for each in metrics):
            measured.measure_each_pass()
        found = comparison(name, file, was, measured.report, metrics)
    seconds = time.monotonic() - measured.started
    return replace(found, failure=str(measured.failure or ""), seconds=seconds)


def comparison(
    name: str, file: str, was: Report, now: Report, metrics: list[MetricChange]
) -> Comparison:
    """The verdicts on metrics, with what grew or shrank where one is worse or better."""
    changed = any(each.verdict in ("worse", "better") for each in metrics)
    return Comparison(
        name=name,
        file=file,
        repeats=(was.variants.before.repeats, now.variants.before.repeats),
        metrics=tuple(metrics),
        components=differences.components(was, now) if changed else (),
        passes=differences.passes(was, now) if changed else (),
        before_passes=differences.before_passes(was, now) if changed else (),
    )
