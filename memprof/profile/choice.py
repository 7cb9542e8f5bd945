"""How `auto` comes to its plan: clean workers try the passes that act before PyMDP is imported, and
one worker, plan after plan, all others."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from msgspec.structs import replace

from memprof.catalogue.passes import PASSES, candidates
from memprof.errors import MeasurementError, WorkerTimeout
from memprof.launch.runner import Crew
from memprof.profile.auto import Tried, Untried
from memprof.profile.passes import Cost, Plan, gain
from memprof.profile.rows import chosen, found_out, unproved, waterfall
from memprof.profile.search import HELPS, Finding, Search
from memprof.stats.equivalence import Parting, same_digests
from memprof.values.measurements import PlanTrial, PlanTrials
from memprof.values.profile import Claim, PassResult
from memprof.values.report import Verdict
from memprof.values.requests import TryPlans


@dataclass(slots=True)
class Choice:
    """What `auto` has chosen until now, and why; an interruption loses nothing of it.

    Attributes:
        clean: what a plan costs by its clean workers, of which it has so many at least.
        early: the passes that act before PyMDP is imported, of those that were chosen.
        search: for the others, on top of the early ones.
    """

    crew: Crew
    clean: Callable[[Plan, int], Cost]
    early: Plan = field(default=(), init=False)
    search: Search = field(init=False)
    _findings: dict[str, Finding] = field(default_factory=dict, init=False)
    _known: PlanTrials = field(default_factory=PlanTrials, init=False)
    _told: dict[str, str] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self._go_over()

    @property
    def plan(self) -> Plan:
        """The passes that were chosen."""
        return (*self.early, *self.search.kept)

    @property
    def findings(self) -> Mapping[str, Finding]:
        """What came of each pass that was tried."""
        return {**self._findings, **self.search.findings}

    @property
    def differs(self) -> Parting | None:
        """Where two trials of the plain population part; None as far as is known."""
        return self.search.differs

    def make(self) -> None:
        """Search.

        Raises:
            MeasurementError: the plain population could not be measured.
            ScenarioError: it cannot be built.
        """
        for name in candidates(self.crew.loaded.scenario.backend):
            if PASSES[name].early:
                self._try_early(name)
                self._tell()
        while (plan := self._go_over()) is not None:
            self._work_on(plan)

    def rows(
        self, clean: Mapping[Plan, Cost], claims: Mapping[str, Claim], verdict: Verdict
    ) -> tuple[PassResult, ...]:
        """What each pass of the plan adds to those before it: an early one by the `clean` workers,
        the others as the search saw them; then the passes that are left out."""
        early = waterfall(self.early, claims, clean, {}, verdict)
        others = waterfall(self.search.kept, claims, self.search.costs, {}, verdict)
        return chosen((*early, *others), self.findings)

    def _try_early(self, name: str) -> None:
        """Such a pass is for the process. Of agents' memory and of time, workers of one plan differ
        by more than single ones can tell."""
        plan = (*self.early, name)
        claim = PASSES[name].form(self.crew.loaded.scenario.backend).claim
        before = self.clean(self.early, 1)
        try:
            after = self.clean(plan, 1)
        except MeasurementError as error:
            self._findings[name] = Finding("failed", str(error))
            return
        if not same_digests(before.digests, after.digests):  # is it the pass, or chance?
            before = self.clean(self.early, 2)
        saved = dataclasses.replace(gain(before, after), per_agent_bytes=None)
        self._findings[name] = unproved(before, after, claim, "not_checked") or found_out(
            before, after, saved, 1.0
        )
        if self._findings[name].outcome in HELPS:
            self.early = plan

    def _work_on(self, plan: Plan) -> None:
        """Have a worker go on with the search, `plan` first. One that dies has failed the plan that
        it was trying, and the next one goes on without that."""
        before = self._known
        spec = self.crew.loaded.spec(self.early)
        slowest = self.crew.loaded.scenario.max_slowdown
        request = TryPlans(spec, max_slowdown=slowest, known=before)
        try:
            self._hear(self.crew.run("auto: plan after plan", request, on_part=self._hear).value)
        except MeasurementError as error:
            if isinstance(error, WorkerTimeout) and self._known != before:
                return  # which is no fault of the plan that it ended with
            last = self._go_over()
            if last == ():
                raise
            if last is not None:
                failed = PlanTrial(last, str(error))
                self._hear(replace(self._known, trials=(*self._known.trials, failed)))

    def _hear(self, known: PlanTrials) -> None:
        self._known = known
        self._go_over()
        self._tell()

    def _go_over(self) -> Plan | None:
        """Search in what is known; the plan that has to be tried next, None when it is over."""
        spec = self.crew.loaded.spec(self.early)
        tried = Tried(spec, self.crew.loaded.scenario.max_slowdown, self._known)
        untried = None
        try:
            tried.search.run()
        except Untried as next_one:
            untried = next_one.plan
        self.search = tried.search  # whole: Ctrl-C amid it leaves the one before
        return untried

    def _tell(self) -> None:
        for name, found in self.findings.items():
            if self._told.get(name) != found.detail:
                self._told[name] = found.detail
                self.crew.say(f"{name}: {found.detail}")
