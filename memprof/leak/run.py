"""`memprof leak`: does a population's memory go on growing, and where?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from memprof.catalogue.passes import OPTIONS, passes_with, without_stores
from memprof.errors import LeakFound, MeasurementError, MemprofError, ScenarioError, Undecided
from memprof.launch.machine import describe_environment
from memprof.launch.runner import Crew, Measuring, Observer, Outcome
from memprof.leak.verdict import attributed, outside_records, seldom, verdict_on
from memprof.leak.words import grown, grows_in_memory
from memprof.posix import Limits
from memprof.profile.cautions import of_workers
from memprof.scenario import LoadedScenario
from memprof.scenario.schema import Scenario
from memprof.text import format_size
from memprof.values.counts import COUNTS
from memprof.values.leak import (
    CycleRun,
    Leak,
    LeakReport,
    LeakRun,
    Mode,
    Unchecked,
    cycle_steps,
)
from memprof.values.report import Caution
from memprof.values.requests import FindSites, LiveInCycles

_WATCHED_CYCLES, _MOST_WATCHED = 6, 45
_WATCHED_OBJECTS, _WATCHED_COUNTS = 9, 3
"""What leaks once in some cycles is watched for as long as it takes to leak so often."""
_USED_TIME = 0.9
"""Share of a worker's time limit after which it ends its cycles and says what it has."""
_HISTORY_STEPS = 16
"""More than MMP reads of the past in most models, and few enough to be there after some cycles."""


def leak(
    loaded: LoadedScenario,
    modes: tuple[Mode, ...],
    cycles: int,
    limits: Limits,
    observer: Observer,
) -> Outcome[LeakReport]:
    """Let the population run through cycles in fresh clean workers, one for each repeat, in one
    mode after the other until one leaks; and look for the sites of a leak in one more if there is
    any.

    Agents that live on are only asked about along with others, or alone: alone, all that grows is
    a leak. Along with others, PyMDP's own histories, which are known to grow, are bounded.

    Raises:
        ScenarioError: a worker found the scenario wrong.
        MeasurementError: nothing was measured.
    """
    scenario = loaded.scenario
    check = _Check(
        Crew(loaded, limits, observer, scenario.repeats, beside=scenario.repeats - 1),
        modes,
        cycles,
        _history_steps(scenario) if len(modes) > 1 else None,
        tuple(scenario.passes),
    )
    found: list[Leak] = []
    with check.kept(lambda: check.runs):
        check.run_all()
        for verdict in check.verdicts():
            found.append(verdict)
            if verdict.verdict != "clean":
                found[-1] = check.of_active_agents(verdict) or verdict
            if found[-1].verdict == "leak":
                found[-1] = check.attributed(verdict)
    found = found or list(check.verdicts())
    decides = next(
        (each for said in ("leak", "inconclusive") for each in found if each.verdict == said),
        found[0],
    )
    measured = check.of_all_modes()
    report = LeakReport(
        scenario=scenario.reported,
        file=loaded.file,
        environment=describe_environment(
            scenario.backend, measured[0], limits.memory_bytes, LiveInCycles
        ),
        leak=decides,
        warnings=(*check.cautions, *of_workers(check.failure, measured)),
        complete=check.failure is None,
        also=tuple(each for each in found if each is not decides),
        unchecked=tuple(check.unchecked(found)),
    )
    return Outcome(report, check.failure or _failed(report))


def _history_steps(scenario: Scenario) -> int | None:
    """Of their past that agents keep while they live on, where the scenario does not say it."""
    known = passes_with(OPTIONS["history_steps"])
    if scenario.backend not in known or "history_steps" in scenario.options:
        return None
    return _HISTORY_STEPS


@dataclass(slots=True)
class _Check(Measuring):
    """One population in some modes, and what is known of it.

    Attributes:
        history_steps: of their past that agents which live on keep; None for what the scenario
            says.
    """

    crew: Crew
    modes: tuple[Mode, ...]
    cycles: int
    history_steps: int | None
    passes: tuple[str, ...]
    cautions: list[Caution] = field(default_factory=list)
    _by_repeat: dict[int, LeakRun] = field(default_factory=dict)

    @property
    def runs(self) -> list[LeakRun]:
        """What each repeat measured, in their order."""
        return [self._by_repeat[repeat] for repeat in sorted(self._by_repeat)]

    def of_all_modes(self) -> list[CycleRun]:
        """What each worker measured in each mode."""
        return [each for run in self.runs for each in run.runs.values()]

    def of_mode(self, mode: Mode) -> list[CycleRun]:
        """What those repeats measured that came to this mode: one that leaked before did not."""
        return [each.runs[mode] for each in self.runs if mode in each.runs]

    def run_all(self) -> None:
        """Every repeat: the first tells how much memory the others take, beside each other."""
        self.run(0)
        others = [
            partial(self.run, repeat) for repeat in range(1, self.crew.loaded.scenario.repeats)
        ]
        self.crew.all_of(others, max(each.peak_bytes for each in self.of_all_modes()))

    def run(self, repeat: int) -> None:
        """One more repeat, of which all that is known is kept, however it ends."""
        limit, repeats = self.crew.limits.timeout_seconds, self.crew.loaded.scenario.repeats
        known: list[LeakRun] = []
        try:
            request = LiveInCycles(
                self.crew.loaded.spec(self.passes),
                modes=self.modes,
                count=self.cycles,
                history_steps=self.history_steps,
                seconds=None if limit is None else _USED_TIME * limit,
            )
            title = f"{', '.join(self.modes)}, repeat {repeat + 1} of {repeats}"
            done = self.crew.run(title, request, on_part=known.append)
            known.append(done.value)
        finally:
            if known:
                self._by_repeat[repeat] = known[-1]

    def verdicts(self) -> Iterator[Leak]:
        """On each mode that was looked at, up to the first that leaks."""
        spec = self.crew.loaded.spec(self.passes)
        for mode in self.modes:
            series = self.of_mode(mode)
            if not series:
                return
            kept = self.history_steps if mode == "steps" else None
            found = verdict_on(
                series,
                mode,
                self.cycles,
                spec.agents,
                cycle_steps(spec, mode),
                self.passes,
                kept,
            )
            yield found
            if found.verdict == "leak":
                return

    @property
    def active(self) -> tuple[str, ...]:
        """The passes under which the agents stay active."""
        return without_stores(self.passes, self.crew.loaded.scenario.backend)

    def of_active_agents(self, found: Leak) -> Leak | None:
        """What is said of agents that stay active and live on, where those at rest gain in their
        records alone, and active ones do not grow; None for any other growth.

        A record is the difference from the template: until an agent has learned all that it can,
        its record grows. What an agent keeps for ever makes it grow while it is active, too.
        """
        runs = self.of_mode(found.mode)
        if found.mode != "steps" or self.active == self.passes or not _is_of_records(runs, found):
            return None
        self.crew.total = self.crew.started + len(self.runs)
        check = replace(self, modes=(found.mode,), passes=self.active, _by_repeat={})
        check.run_all()
        (active,) = check.verdicts()
        if active.verdict != "clean":
            return None
        gained = format_size(found.bytes_per_cycle)
        self.cautions.append(
            Caution(
                "records_grow",
                f"the records of agents at rest gain {gained} per cycle, and nothing else grows: "
                "these agents learn, and differ more and more from their template",
                "the verdict is of the same agents while they stay active; a record takes no more "
                "than its agent",
            )
        )
        return active

    def attributed(self, found: Leak) -> Leak:
        """The leak with its sites. It stays a leak if they cannot be found.

        They are looked for in agents that stay active: in a record, an agent has no attributes
        that could be named.
        """
        self.crew.total = 0  # a search takes as long as it takes, whatever the repeats took
        active = self.active
        grow = [signal.name for signal in found.signals if signal.verdict == "leak"]
        counts = tuple(name for name in COUNTS if name in grow)
        try:
            request = FindSites(
                self.crew.loaded.spec(active),
                mode=found.mode,
                count=_watched(found),
                warm_up=max(found.warm_up_cycles),
                history_steps=found.history_steps,
                counts=counts,
                heap=len(grow) > len(counts),
            )
            done = self.crew.run("sites of the leak", request)
        except (MeasurementError, ScenarioError) as error:
            remedy = (
                "the verdict stands; fix what stopped the worker, and run it again for the sites"
            )
            self.cautions.append(Caution("no_sites", str(error), remedy))
            return found
        if done.value.left_out:
            self.cautions.append(
                Caution(
                    "sites_left_out",
                    f"there was no time to look for {' and for '.join(done.value.left_out)}",
                    "lower --agents or --steps, or take --effort thorough, which looks for longer",
                )
            )
        left_out = tuple(name for name in found.passes if name not in active)
        return attributed(found, done.value, left_out)

    def unchecked(self, found: Sequence[Leak]) -> Iterator[Unchecked]:
        """The modes that were asked for and have no verdict."""
        refused = next((each.refused for each in self.runs if each.refused), "")
        for mode in self.modes[len(found) :]:
            if found[-1].verdict == "leak":
                reason = f"a leak was found before; --mode {mode} checks it"
            else:
                reason = refused or str(self.failure or "the time was up")
            yield Unchecked(mode, reason)


def _is_of_records(runs: Sequence[CycleRun], found: Leak) -> bool:
    """Whether only records grow."""
    apart = [outside_records(each) for each in runs]
    said = verdict_on(apart, found.mode, found.cycles, found.agents, found.steps, ())
    return said.verdict == "clean" and any(run.readings[-1].records_bytes for run in runs)


def _watched(found: Leak) -> int:
    """Cycles in which a leak shows its sites."""
    leaking = [signal for signal in found.signals if signal.verdict == "leak"]
    objects = [signal.per_cycle for signal in leaking if signal.name == "objects"]
    counts = [signal.per_cycle for signal in leaking if signal.counted]
    needed = [round(_WATCHED_OBJECTS / rate) for rate in (*objects, *seldom(found))]
    needed += [round(_WATCHED_COUNTS / rate) for rate in counts]
    return min(_MOST_WATCHED, max(_WATCHED_CYCLES, *needed, 0))


def _failed(report: LeakReport) -> MemprofError | None:
    found, name = report.leak, report.scenario.name
    if found.verdict == "leak":
        first = f"; first at {found.sites[0].where}" if found.sites else "; no site was found"
        first += "".join(f" ({each.evidence})" for each in report.warnings)
        each = f", {format_size(found.bytes_per_agent)} per agent" * grows_in_memory(found)
        return LeakFound(f"{name} leaks {grown(found)} per cycle{each}{first}")
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
