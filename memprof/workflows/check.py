"""One scenario held against a limit: what tests and scripts ask for."""

from __future__ import annotations

from dataclasses import dataclass, replace

from memprof.errors import CheckFailed, Interrupted
from memprof.results import Report
from memprof.scenario import Budget
from memprof.scenario_file import LoadedScenario
from memprof.worker.spawn import Limits
from memprof.workflows.crew import Observer
from memprof.workflows.profile import profile


@dataclass(frozen=True, slots=True)
class Checked:
    """What was measured, and what is wrong with it: None when all is well."""

    report: Report
    failure: CheckFailed | None


def limited(loaded: LoadedScenario, per_agent: int | None) -> LoadedScenario:
    """The scenario with a budget of `per_agent` bytes, or its own if that is lower."""
    scenario = loaded.scenario
    limits = [scenario.budget.per_agent] if scenario.budget else []
    limits += [per_agent] if per_agent is not None else []
    if not limits:
        return loaded
    budget = Budget(per_agent=min(limits))
    return replace(loaded, scenario=scenario.model_copy(update={"budget": budget}))


def check(loaded: LoadedScenario, limits: Limits, observer: Observer) -> Checked:
    """Profile the scenario and judge it by its budget and its behaviour.

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
    return Checked(outcome.report, failure)
