"""`memprof gate`: scenarios held against what they cost when the baseline was made.

`memprof gate --self-check`: how often would the gate cry wolf on this machine?
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from memprof.errors import (
    CheckFailed,
    Interrupted,
    MeasurementError,
    MemprofError,
    NotComparable,
    RegressionFound,
    Undecided,
)
from memprof.gate import comparable
from memprof.gate.case import Case, Rules, alone, compare, measure
from memprof.gate.changes import clause
from memprof.gate.regression import alarm_rates, measured
from memprof.launch.machine import describe_environment
from memprof.launch.runner import Observer
from memprof.text import cut
from memprof.values.gate import (
    AlarmRate,
    Baseline,
    BaselineEntry,
    Change,
    Comparison,
    GateReport,
    MetricChange,
)
from memprof.values.profile import Environment, Report

_MOST_SAID = 500  # of one metric; the report has all of it
_ANEW = "--update --force makes it anew"


@dataclass(frozen=True, slots=True)
class GateOutcome:
    """A report, and what the command has to end with: None when all is well. `baseline` is to be
    written if it is there."""

    report: GateReport
    failure: MemprofError | None
    baseline: Baseline | None = None


@dataclass(frozen=True, slots=True)
class _Held:
    """A case held against its entry. `report` is None where nothing was measured, `failure` what
    ended its workers early."""

    case: Case
    comparison: Comparison
    report: Report | None = None
    failure: MemprofError | None = None

    @property
    def interrupted(self) -> bool:
        return isinstance(self.failure, Interrupted)


def gate(
    cases: Sequence[Case], baseline: Baseline | str, file: Path, rules: Rules, observer: Observer
) -> GateOutcome:
    """Measure every scenario and judge it by the baseline; a text says why there is none.

    Raises:
        ScenarioError: a worker found a scenario wrong.
    """
    held: list[_Held] = []
    for case in cases:
        entry = _entry(case, baseline)
        if isinstance(entry, str):
            held.append(_refused(case, f"{entry}; --update makes one"))
        elif problem := _foreign(case, entry):
            held.append(_refused(case, f"{problem}; {_ANEW}"))
        else:
            held.append(_hold(_as_chosen(case, entry), entry, rules, observer))
        if held[-1].interrupted:
            break
    names = {each.name for each in cases}
    known = () if isinstance(baseline, str) else tuple(baseline.scenarios)
    report = _report(held, file)
    report = replace(report, not_gated=tuple(each for each in known if each not in names))
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
    held: list[_Held] = []
    for case in cases:
        entry = _entry(case, baseline)
        if isinstance(baseline, str) and file.exists():
            problem = baseline  # it is there, but cannot be read: others may be in it
        else:
            problem = "" if isinstance(entry, str) else _foreign(case, entry)
        if problem and not force:
            held.append(_refused(case, f"{problem}; --force replaces it unseen"))
        else:
            known = None if isinstance(entry, str) or problem else entry
            held.append(_hold(case, known, rules, observer, anew=True))
        if held[-1].interrupted:
            break
    report = _report(held, file)
    failure = failure_of(report)
    whole = all(each.report is not None and each.failure is None for each in held)
    if failure is not None and not (force and whole):
        return GateOutcome(report, _unless_forced(failure) if whole else failure)
    entries = {} if isinstance(baseline, str) else dict(baseline.scenarios)
    for each in held:
        assert each.report is not None
        entries[each.case.name] = _new_entry(each.case, each.report, file)
    report = replace(report, updated=tuple(each.case.name for each in held))
    return GateOutcome(report, None, Baseline(entries))


def _unless_forced(failure: MemprofError) -> MemprofError:
    """The same, with what can be done about it."""
    return type(failure)(f"{failure}; the baseline stays as it was, --force replaces it")


def failure_of(report: GateReport) -> MemprofError | None:
    """What a command ends with: that something got worse, else what is not known."""
    if not report.complete:
        return Interrupted()
    worse = _said(report, "worse")
    if worse:
        return RegressionFound(worse)
    unknown = _said(report, "could_not_measure")
    if any(each.failure for each in report.scenarios):
        return NotComparable(unknown)
    return Undecided(unknown) if unknown else None


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


def _hold(
    case: Case,
    entry: BaselineEntry | None,
    rules: Rules,
    observer: Observer,
    *,
    anew: bool = False,
) -> _Held:
    """Measure the case, and judge it by its entry if there is one; `anew` for a new entry, by which
    what each pass does will be judged too."""
    try:
        now = measure(case, rules, observer)
    except MeasurementError as error:
        return _Held(case, _unknown(case, str(error)), failure=error)
    found = alone(now) if entry is None else compare(now, entry.report)
    if entry is not None:
        problem = _foreign_environment(entry, now.report.environment)
        if problem:
            found = _unknown(case, f"{problem}; {_ANEW}")
    if anew:
        now.tell_passes_apart()
    return _Held(case, found, now.report, now.failure)


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


def _foreign(case: Case, entry: BaselineEntry) -> str:
    """Why a case cannot be held against its entry, as far as that is known before it is measured;
    empty if it can."""
    scenario = case.loaded.scenario
    if entry.scenario_hash != case.hash():
        changed = comparable.scenario_changes(
            entry.report.scenario.flat(), scenario.reported.flat()
        )
        what = "; ".join(changed) or "the content of its model's file"
        return f"the scenario is not the one of the baseline ({what})"
    if not measured(entry.report):
        return "the baseline has no raw samples of the population with its passes"
    was = entry.report.environment
    now = describe_environment(scenario.backend, {}, None)
    # What workers find out is known when they have run.
    known = {"malloc": was.allocator["malloc"]} if "malloc" in was.allocator else {}
    now = replace(now, device=was.device, backend=was.backend, allocator=now.allocator | known)
    return _foreign_environment(entry, now)


def _foreign_environment(entry: BaselineEntry, now: Environment) -> str:
    changed = comparable.environment_changes(entry.report.environment, now)
    if not changed:
        return ""
    return f"the baseline's figures are from another environment ({'; '.join(changed)})"


def _refused(case: Case, problem: str) -> _Held:
    return _Held(case, _unknown(case, problem))


def _unknown(case: Case, failure: str) -> Comparison:
    return Comparison(case.name, case.file, (0, 0), (), failure=failure)


def _report(held: Sequence[_Held], file: Path) -> GateReport:
    return GateReport(
        str(file),
        tuple(each.comparison for each in held),
        complete=not any(each.interrupted for each in held),
    )


def _new_entry(case: Case, report: Report, file: Path) -> BaselineEntry:
    path = os.path.relpath(case.loaded.path.absolute(), file.absolute().parent)
    scenario = case.loaded.scenario.reported
    return BaselineEntry(path, case.hash(), replace(report, scenario=scenario))


def self_check(cases: Sequence[Case], checks: int, rules: Rules, observer: Observer) -> GateOutcome:
    """Measure every scenario once and `checks` times more, and hold each run against the one
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
            _hold_against_itself(case, checks, rules, observer, found)
        except MeasurementError as error:
            if not found and not rates:
                raise
            failure = error
        rates += alarm_rates(case.name, found)
        if failure is not None:
            break
    report = GateReport("", (), alarms=tuple(rates), complete=failure is None, kind="self_check")
    return GateOutcome(report, failure or _failure_of(rates))


def _hold_against_itself(
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
            judged = measured.held_against(was)  # a budget is no comparison: it holds or does not
            found.append([each for each in judged if each.metric != "budget"])
        if measured.failure is not None:
            raise measured.failure
        was = measured.report


def _failure_of(rates: Sequence[AlarmRate]) -> CheckFailed | None:
    false = [each for each in rates if each.false_alarms]
    if not false:
        return None
    names = ", ".join(f"{each.scenario}: {each.metric}" for each in false)
    return CheckFailed(
        f"false alarms in {names}; widen these tolerances, or run on a quieter machine"
    )
