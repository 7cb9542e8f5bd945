"""The search of `auto`: which passes it chooses among, and the search over what is known of plans.

A worker runs it, and tries each plan that comes next. The parent runs it over what the worker has
said until now: that tells how far it came, and which plan it was trying when it died.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from msgspec.structs import replace

from memprof.catalogue.passes import PASSES, bound_of, candidates, only_reorders
from memprof.errors import WorkerFailed
from memprof.profile.passes import Cost, Plan, cost_of_trials
from memprof.profile.search import Search
from memprof.stats.equivalence import exact, judge
from memprof.values.measurements import PlanTrial, PlanTrials, TraceComparison
from memprof.values.population import PopulationSpec
from memprof.values.report import Equivalence

_ORDER = (
    "agents step in another order under these passes, and what they do depends on it: if they meet "
    "in a world, make it the scenario's field world, in which order makes no difference"
)


class Untried(Exception):
    """The search asks for something of a plan that is not known."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan


def untried(plan: Plan) -> None:
    """Where nothing more is to be tried.

    Raises:
        Untried: always.
    """
    raise Untried(plan)


class Tried:
    """What is known of plans, in the order in which the search asks for it, and the way to more.

    Attributes:
        known: what was tried until now.
        search: as far as it came.
    """

    def __init__(
        self,
        spec: PopulationSpec,
        max_slowdown: float,
        known: PlanTrials,
        attempt: Callable[[Plan], PlanTrial] = untried,  # type: ignore[assignment]
        compare: Callable[[Plan], TraceComparison] = untried,  # type: ignore[assignment]
    ) -> None:
        self.known = known
        self._spec, self._attempt, self._compare = spec, attempt, compare
        self._seen: list[PlanTrial] = []
        names = tuple(each for each in candidates(spec.backend) if not PASSES[each].early)
        self.search = Search(
            candidates=names,
            requires={name: PASSES[name].requires for name in names},
            max_slowdown=max_slowdown,
            measure=self._measure,
            compare=self._compared if bound_of(names, spec.backend) is not None else None,
            done_by={name: PASSES[name].done_by for name in names},
        )

    def _measure(self, plan: Plan) -> Mapping[Plan, Cost]:
        """The plan's cost from one more trial, and that of the plain population, which was part
        of it."""
        self._check(plan)
        known = self.known.trials[len(self._seen) : len(self._seen) + 1]
        self._seen.append(known[0] if known else self._attempt(plan))
        self._check(plan)
        return {each: self._cost(each) for each in {plan, ()}}

    def _check(self, plan: Plan) -> None:
        """Raises:
        WorkerFailed: the plan has failed, for good.
        """
        for each in self._seen:
            if each.plan == plan and each.failure:
                raise WorkerFailed(each.failure)

    def _cost(self, plan: Plan) -> Cost:
        trials = [each for each in self._seen if each.plan == plan]
        paces = [pace for each in trials for pace in each.paces]
        if not plan:
            paces += [each.plain_pace for each in self._seen if each.plan and not each.failure]
        return cost_of_trials(trials, paces, self._spec.agents)

    def _compared(self, plan: Plan) -> Equivalence:
        known = (each.found for each in self.known.comparisons if each.plan == plan)
        found = next(known, None) or self._compare(plan)
        return judged(found, self._spec, plan)


def changes_order(spec: PopulationSpec) -> bool:
    """Whether agents step in another order under the passes where they may see one another: in
    worlds that the user's own code makes. Digests, of a few agents at a time, do not tell."""
    each = spec.kinds or (spec,)
    names = {name for those in (spec, *each) for name in those.passes}
    own = spec.world is None and any(those.model["kind"] == "factory" for those in each)
    return own and any(PASSES[name].form(spec.backend).kind == "budget" for name in names)


def judged(
    found: TraceComparison, spec: PopulationSpec, plan: Plan, *, same_digests: bool = False
) -> Equivalence:
    """Whether a plan keeps to what its passes claim of behaviour, value by value; `same_digests`,
    where only the order of agents could make a difference."""
    if same_digests and found.first_difference is None:
        return exact(found.agents, found.steps)
    verdict = judge(found, bound_of(plan, spec.backend), only_reorders(plan, spec.backend))
    if found.perceived and changes_order(replace(spec, passes=plan)):
        return replace(verdict, detail=f"{verdict.detail}; {_ORDER}")
    return verdict
