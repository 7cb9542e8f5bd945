"""`memprof leak`: does a population's memory go on growing, and where?"""

from __future__ import annotations

from dataclasses import dataclass

from memprof.analysis.cautions import of_calibration, of_facts
from memprof.analysis.leak_verdict import attributed, verdict_on
from memprof.environment import describe_environment
from memprof.errors import Interrupted, LeakFound, MeasurementError, MemprofError, Undecided
from memprof.leak import CycleRun, Leak, LeakReport, Mode
from memprof.results import Caution
from memprof.scenario_file import LoadedScenario
from memprof.units import format_size
from memprof.worker.spawn import Limits
from memprof.workflows.crew import Crew, Observer

_WATCHED_CYCLES, _MOST_WATCHED = 6, 45
_WATCHED_OBJECTS = 9
"""What leaks less than an object per cycle is watched for as long as it takes to leak so many."""
_USED_TIME = 0.9
"""Share of a worker's time limit after which it ends its cycles and says what it has."""


@dataclass(frozen=True, slots=True)
class LeakOutcome:
    """A report, and what the command has to end with: None when nothing leaks."""

    report: LeakReport
    failure: MemprofError | None


def leak(
    loaded: LoadedScenario, mode: Mode, cycles: int, limits: Limits, observer: Observer
) -> LeakOutcome:
    """Let the population run through cycles in fresh clean workers, one for each repeat, and look
    for the sites of a leak in one more if there is any.

    Raises:
        ScenarioError: a worker found the scenario wrong.
        MeasurementError: nothing was measured.
    """
    scenario = loaded.scenario
    passes = tuple(scenario.passes)
    crew = Crew(loaded, limits, observer, total=scenario.repeats)
    runs: list[CycleRun] = []
    found: Leak | None = None
    failure: MemprofError | None = None
    cautions: list[Caution] = []
    try:
        for repeat in range(scenario.repeats):
            runs.append(_run(crew, mode, cycles, repeat, scenario.repeats))
        found = verdict_on(runs, mode, cycles, scenario.agents, scenario.steps, passes)
        if found.verdict == "leak":
            found = _attributed(found, crew, cautions)
    except MeasurementError as error:
        if not runs:
            raise
        failure = error
    except KeyboardInterrupt:
        if not runs:
            raise Interrupted("interrupted before anything was measured") from None
        failure = Interrupted()
    if failure is not None:
        remedy = "run it again; what was measured until then is here"
        cautions.append(Caution("incomplete", str(failure), remedy))
    found = found or verdict_on(runs, mode, cycles, scenario.agents, scenario.steps, passes)
    cautions += of_calibration(run.calibration for run in runs)
    cautions += of_facts(runs[0].facts)
    report = LeakReport(
        scenario=scenario.model_dump(mode="json"),
        environment=describe_environment(
            scenario.backend,
            runs[0].facts,
            limits.memory_bytes,
            cycles=True,
            malloc=runs[0].calibration.malloc,
        ),
        leak=found,
        warnings=tuple(cautions),
        complete=failure is None,
    )
    return LeakOutcome(report, failure or _failed(report))


def _run(crew: Crew, mode: Mode, cycles: int, repeat: int, repeats: int) -> CycleRun:
    limit = crew.limits.timeout_seconds
    done = crew.run(
        f"{mode}, repeat {repeat + 1} of {repeats}",
        tuple(crew.loaded.scenario.passes),
        job="leak",
        mode=mode,
        cycles=cycles,
        seconds=None if limit is None else _USED_TIME * limit,
    )
    run: CycleRun = done.value
    return run


def _attributed(found: Leak, crew: Crew, cautions: list[Caution]) -> Leak:
    """The leak with its sites. It stays a leak if they cannot be found."""
    crew.total += 1
    try:
        done = crew.run(
            "sites of the leak",
            found.passes,
            job="sites",
            mode=found.mode,
            cycles=_watched(found),
            warm_up=max(found.warm_up_cycles),
        )
    except MeasurementError as error:
        remedy = "the verdict stands; mend what the worker met, and run it again for the sites"
        cautions.append(Caution("no_sites", str(error), remedy))
        return found
    return attributed(found, done.value)


def _watched(found: Leak) -> int:
    """Cycles in which a leak shows its sites."""
    objects = next((signal for signal in found.signals if signal.name == "objects"), None)
    if objects is None or objects.verdict != "leak":
        return _WATCHED_CYCLES
    return min(_MOST_WATCHED, max(_WATCHED_CYCLES, round(_WATCHED_OBJECTS / objects.per_cycle)))


def _failed(report: LeakReport) -> MemprofError | None:
    found, name = report.leak, report.scenario["name"]
    if found.verdict == "leak":
        first = f"; first at {found.sites[0].name}" if found.sites else "; no site was found"
        first += "".join(f" ({each.evidence})" for each in report.warnings)
        return LeakFound(
            f"{name} leaks {format_size(found.bytes_per_cycle)} per cycle, "
            f"{format_size(found.bytes_per_agent)} per agent{first}"
        )
    if found.verdict == "inconclusive":
        return Undecided(
            f"{name}: could not decide whether it leaks: {found.detail}; {_what_would(report)}"
        )
    return None


def _what_would(report: LeakReport) -> str:
    """What would decide."""
    if report.leak.cycles_needed is not None:
        return f"try --cycles {report.leak.cycles_needed}"
    return "; ".join(
        f"{each.evidence} ({each.remedy})" for each in report.warnings if each.kind == "left_out"
    )
