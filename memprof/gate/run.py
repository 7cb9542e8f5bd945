"""`memprof gate`: scenarios compared with what they cost when the baseline was made; with
--self-check, with themselves. And `memprof compare`: two reports of `memprof profile`."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from msgspec.structs import replace

from memprof.errors import (
    CheckFailed,
    Interrupted,
    MeasurementError,
    MemprofError,
    NotComparable,
    RegressionFound,
    Undecided,
)
from memprof.gate.baseline import cautions
from memprof.gate.case import Case, Rules, compare, comparison, measure
from memprof.gate.differences import environment_changes, scenario_changes
from memprof.gate.judge import alarm_rates, judge, measured
from memprof.gate.words import clause
from memprof.launch.machine import describe_environment
from memprof.launch.runner import Observer, Outcome
from memprof.text import cut
from memprof.values.gate import (
    DEFAULTS,
    AlarmRate,
    Baseline,
    BaselineEntry,
    Change,
    Comparison,
    GateReport,
    MetricChange,
    Tolerance,
    read_tolerances,
)
from memprof.values.profile import Report
from memprof.values.report import Caution, Environment

_MOST_SAID = 500  # of one metric; the report has all of it
_RENEW = "--update --force renews it"


@dataclass(frozen=True, slots=True)
class GateOutcome(Outcome[GateReport]):
    """What a gate ends with; `baseline` is to be written if it is there."""

    baseline: Baseline | None = None


@dataclass(frozen=True, slots=True)
class _Judged:
    """A case compared with its entry. `report` is None where nothing was measured, `failure` what
    ended its workers early."""

    case: Case
    comparison: Comparison
    report: Report | None = None
    failure: MemprofError | None = None


def gate(
    cases: Sequence[Case], baseline: Baseline, file: Path, rules: Rules, observer: Observer
) -> GateOutcome:
    """Measure every scenario and judge it by the baseline.

    Raises:
        ScenarioError: a worker found a scenario wrong.
    """

    def judged(case: Case) -> _Judged:
        entry = _entry(case, baseline)
        if isinstance(entry, str):
            return _refused(case, f"{entry}; --update adds it")
        if problem := _incomparable(case, entry):
            return _refused(case, f"{problem}; {_RENEW}")
        return _measured_and_judged(_as_chosen(case, entry), entry, rules, observer)

    report = _report(_in_turn(cases, judged), file)
    names = {each.name for each in cases}
    others = tuple(each for each in baseline.scenarios if each not in names)
    report = replace(report, not_gated=others)
    return GateOutcome(report, failure_of(report))


def update(
    cases: Sequence[Case],
    baseline: Baseline | str,
    file: Path,
    rules: Rules,
    observer: Observer,
    *,
    force: bool,
) -> GateOutcome:
    """Measure every scenario for the baseline. What is in it is replaced where nothing got worse,
    or under `force`; all of it or nothing.

    Raises:
        ScenarioError: a worker found a scenario wrong.
    """

    def judged(case: Case) -> _Judged:
        entry = _entry(case, baseline)
        if isinstance(baseline, str) and file.exists():
            problem = baseline  # it is there, but cannot be read: others may be in it
        else:
            problem = "" if isinstance(entry, str) else _incomparable(case, entry)
        if problem and not force:
            return _refused(case, f"{problem}; --force replaces it without a comparison")
        known = None if isinstance(entry, str) or problem else entry
        return _measured_and_judged(case, known, rules, observer, anew=True)

    found = _in_turn(cases, judged)
    report = _report(found, file)
    failure = failure_of(report)
    whole = all(each.report is not None and each.failure is None for each in found)
    if failure is not None and whole and not force:
        failure = type(failure)(f"{failure}; the baseline is unchanged; --force replaces it")
    if failure is not None and not (force and whole):
        return GateOutcome(report, failure)
    entries = {} if isinstance(baseline, str) else dict(baseline.scenarios)
    for each in found:
        assert each.report is not None
        entries[each.case.name] = _new_entry(each.case, each.report, file)
    scenarios = tuple(_with_cautions(each, rules) for each in found)
    report = replace(report, scenarios=scenarios, updated=tuple(each.name for each in scenarios))
    return GateOutcome(report, None, Baseline(entries))


def _with_cautions(found: _Judged, rules: Rules) -> Comparison:
    """A case that is in the baseline from now on, with what that cannot judge."""
    assert found.report is not None
    warnings = cautions(found.report, found.case.tolerances, rules.max_repeats)
    return replace(found.comparison, warnings=(*found.comparison.warnings, *warnings))


def failure_of(report: GateReport) -> MemprofError | None:
    """What a command ends with: that something got worse, else what is inconclusive."""
    if not report.complete:
        return Interrupted()
    worse = _said(report, "worse")
    if worse:
        return RegressionFound(worse)
    inconclusive = _said(report, "could_not_measure")
    if any(each.failure for each in report.scenarios):
        return NotComparable(inconclusive)
    return Undecided(inconclusive) if inconclusive else None


def _said(report: GateReport, verdict: Change) -> str:
    """All that came out as `verdict`, in a sentence."""
    return "; ".join(
        f"{cut(found.name)}: {cut(said, _MOST_SAID)}"
        for found in report.scenarios
        if found.verdict == verdict
        for said in (
            [found.failure]
            if found.failure and verdict == "could_not_measure"
            else [clause(each, found) for each in found.metrics if each.verdict == verdict]
        )
    )


def _as_chosen(case: Case, entry: BaselineEntry) -> Case:
    """The case with the passes that `auto` chose for the baseline: a new search may waver."""
    if not case.loaded.scenario.auto:
        return case
    after = entry.report.variants.after
    return case.with_passes(after.passes if after else ())


def _in_turn(cases: Sequence[Case], judged: Callable[[Case], _Judged]) -> list[_Judged]:
    """All cases, or as many as were measured before Ctrl-C."""
    found: list[_Judged] = []
    for case in cases:
        found.append(judged(case))
        if isinstance(found[-1].failure, Interrupted):
            break
    return found


def _measured_and_judged(
    case: Case,
    entry: BaselineEntry | None,
    rules: Rules,
    observer: Observer,
    *,
    anew: bool = False,
) -> _Judged:
    """Measure the case, and judge it by its entry if there is one; `anew` for a new entry, by which
    what each pass does will be judged too."""
    try:
        now = measure(case, rules, observer)
    except MeasurementError as error:
        return dataclasses.replace(_refused(case, str(error)), failure=error)
    found = compare(now, entry.report if entry else None)
    if entry is not None and (problem := _other_environment(entry, now.report.environment)):
        found = _refused(case, f"{problem}; {_RENEW}").comparison
    if anew:
        now.measure_each_pass()
    return _Judged(case, found, now.report, now.failure)


def _entry(case: Case, baseline: Baseline | str) -> BaselineEntry | str:
    """The baseline of a case, or why there is none."""
    if isinstance(baseline, str):
        return baseline
    known = baseline.scenarios
    if case.name in known:
        return known[case.name]
    return (
        f"the baseline has no scenario {case.name!r}, only {cut(', '.join(known), 200) or 'none'}"
    )


def _incomparable(case: Case, entry: BaselineEntry) -> str:
    """Why a case cannot be compared with its entry, as far as that is known before it is measured;
    empty if it can."""
    scenario = case.loaded.scenario
    if entry.scenario_hash != case.hash():
        changed = scenario_changes(entry.report.scenario.flat(), scenario.reported.flat())
        what = "; ".join(changed) or "the content of its model's file"
        return f"the scenario differs from that of the baseline ({what})"
    if not measured(entry.report):
        return "the baseline has no raw samples of the population with its passes"
    was = entry.report.environment
    now = describe_environment(scenario.backend, None, None)
    # What workers find out is known when they have run.
    known = {"malloc": was.allocator["malloc"]} if "malloc" in was.allocator else {}
    now = replace(now, device=was.device, backend=was.backend, allocator=now.allocator | known)
    return _other_environment(entry, now)


def _other_environment(entry: BaselineEntry, now: Environment) -> str:
    changed = environment_changes(entry.report.environment, now)
    if not changed:
        return ""
    return f"the baseline's figures are from another environment ({'; '.join(changed)})"


def _refused(case: Case, problem: str) -> _Judged:
    return _Judged(case, Comparison(case.name, case.file, (0, 0), (), failure=problem))


def _report(found: Sequence[_Judged], file: Path) -> GateReport:
    return GateReport(
        baseline=str(file),
        scenarios=tuple(each.comparison for each in found),
        complete=not any(isinstance(each.failure, Interrupted) for each in found),
    )


def _new_entry(case: Case, report: Report, file: Path) -> BaselineEntry:
    path = os.path.relpath(case.loaded.path.absolute(), file.absolute().parent)
    scenario = case.loaded.scenario.reported
    return BaselineEntry(path, case.hash(), replace(report, scenario=scenario))


def self_check(cases: Sequence[Case], checks: int, rules: Rules, observer: Observer) -> GateOutcome:
    """Measure every scenario once and `checks` times more, and compare each run with the one
    before it, as a gate does. Nothing has changed in between: whatever is worse is a false alarm.

    Raises:
        ScenarioError: a worker found a scenario wrong.
        MeasurementError: a scenario could not be measured twice.
    """
    rates: list[AlarmRate] = []
    failure: MemprofError | None = None
    for case in cases:
        found: list[list[MetricChange]] = []
        try:
            _compare_with_itself(case, checks, rules, observer, found)
        except MeasurementError as error:
            if not found and not rates:
                raise
            failure = error
        rates += alarm_rates(case.name, found)
        if failure is not None:
            break
    report = GateReport(
        baseline="", scenarios=(), alarms=tuple(rates), complete=failure is None, kind="self_check"
    )
    return GateOutcome(report, failure or _false_alarms(rates))


def _compare_with_itself(
    case: Case,
    checks: int,
    rules: Rules,
    observer: Observer,
    found: list[list[MetricChange]],
) -> None:
    was = None
    for check in range(checks + 1):
        measured = measure(case, rules, observer, f", run {check + 1} of {checks + 1}")
        if was is not None and measured.failure is None:
            judged = measured.compared_with(was)  # a budget is no comparison: it holds or does not
            found.append([each for each in judged if each.metric != "budget"])
        if measured.failure is not None:
            raise measured.failure
        was = measured.report


def _false_alarms(rates: Sequence[AlarmRate]) -> CheckFailed | None:
    false = [each for each in rates if each.false_alarms]
    if not false:
        return None
    names = ", ".join(f"{each.scenario}: {each.metric}" for each in false)
    return CheckFailed(
        f"false alarms in {names}; widen these tolerances, or run on a quieter machine"
    )


def compare_reports(
    was: Report, now: Report, files: tuple[str, str], tolerances: Mapping[str, Tolerance]
) -> GateOutcome:
    """A verdict on each metric. Scenarios may differ, such as in their passes; that is said. The
    tolerances are those of the scenario now, which those given replace.

    Raises:
        NotComparable: the reports are from environments whose figures cannot be compared, or of
            other kinds of agents.
    """
    changed = environment_changes(was.environment, now.environment)
    if changed:
        raise NotComparable(
            f"{files[0]} and {files[1]} are from environments whose figures cannot be compared: "
            f"{'; '.join(changed)}; measure both in one environment"
        )
    found = tuple(
        replace(_verdicts(*each, files[1], tolerances), warnings=tuple(_differing(*each, files)))
        for each in _pairs(was, now, files)
    )
    report = GateReport(baseline=files[0], scenarios=found, kind="compare")
    return GateOutcome(report, failure_of(report))


def _pairs(was: Report, now: Report, files: tuple[str, str]) -> list[tuple[Report, Report]]:
    """What is compared with what: where there are several kinds, each with itself.

    Raises:
        NotComparable: there are other kinds now.
    """
    before, after = ([each.name for each in report.kinds] for report in (was, now))
    if before != after:
        said = [", ".join(names) or "none" for names in (before, after)]
        raise NotComparable(
            f"{files[1]}: expected agents of kinds {said[0]}, as in {files[0]}; found {said[1]}. "
            "Measure both with the same kinds"
        )
    if not after:
        return [(was, now)]
    return list(zip(was.of_kinds(), now.of_kinds(), strict=True))


def _verdicts(
    was: Report, now: Report, file: str, tolerances: Mapping[str, Tolerance]
) -> Comparison:
    allowed = {**DEFAULTS, **read_tolerances(now.scenario.tolerances), **tolerances}
    return comparison(now.scenario.name, file, was, now, judge(was, now, allowed))


def _differing(was: Report, now: Report, files: tuple[str, str]) -> Iterator[Caution]:
    """What a reader must know of the two."""
    others = scenario_changes(was.scenario.flat(), now.scenario.flat())
    if others:
        remedy = "the changes may come from the scenario rather than from the code"
        yield Caution("other_scenario", "; ".join(others), remedy)
    for file, each in zip(files, (was, now), strict=True):
        if not each.complete:
            remedy = "measure it again: with fewer workers, intervals are wider"
            yield Caution("incomplete", f"{file} was cut short", remedy)
