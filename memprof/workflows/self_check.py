"""`memprof gate --self-check`: how often would the gate cry wolf on this machine?"""

from __future__ import annotations

from collections.abc import Sequence

from memprof.analysis.alarms import alarm_rates
from memprof.errors import CheckFailed, MeasurementError, MemprofError
from memprof.gate import AlarmRate, GateReport, MetricChange
from memprof.workflows.cases import Case, Rules, measure
from memprof.workflows.crew import Observer
from memprof.workflows.gate import GateOutcome


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
