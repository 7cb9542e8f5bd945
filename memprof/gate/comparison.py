"""`memprof compare`: two reports of `memprof profile`, held against each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from memprof.errors import NotComparable
from memprof.gate import comparable, regression
from memprof.gate.case import comparison
from memprof.gate.run import GateOutcome, failure_of
from memprof.values.gate import DEFAULTS, GateReport, Tolerance, read_tolerances
from memprof.values.profile import Caution, Report


def compare(
    was: Report, now: Report, files: tuple[str, str], tolerances: Mapping[str, Tolerance]
) -> GateOutcome:
    """A verdict on each metric. Scenarios may differ, such as in their passes; that is said. The
    tolerances are those of the scenario now, which those given replace.

    Raises:
        NotComparable: the reports are from environments whose figures cannot be compared.
    """
    changed = comparable.environment_changes(was.environment, now.environment)
    if changed:
        raise NotComparable(
            f"{files[0]} and {files[1]} are from environments whose figures cannot be compared: "
            f"{'; '.join(changed)}; measure both in one environment"
        )
    allowed = {**DEFAULTS, **read_tolerances(now.scenario.tolerances), **tolerances}
    metrics = regression.judge(was, now, allowed)
    found = comparison(now.scenario.name, files[1], was, now, metrics)
    others = comparable.scenario_changes(was.scenario.flat(), now.scenario.flat())
    warnings = []
    if others:
        remedy = "read the changes as those of the scenario, not of the code"
        warnings.append(Caution("other_scenario", "; ".join(others), remedy))
    for file, each in zip(files, (was, now), strict=True):
        if not each.complete:
            remedy = "measure it again: fewer workers than the scenario asks for tell less"
            warnings.append(Caution("incomplete", f"{file} was cut short", remedy))
    report = GateReport(files[0], (replace(found, warnings=tuple(warnings)),), kind="compare")
    return GateOutcome(report, failure_of(report))
