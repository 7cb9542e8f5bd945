"""The passes that `auto` keeps: measured one by one on the scenario itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from memprof.analysis import equivalence
from memprof.analysis.plans import Cost, Gain, Plan, gain, least_ratio, outcome, time_ratio, words
from memprof.errors import MemprofError
from memprof.results import Equivalence, PassOutcome

HELPS = ("saves", "faster")
# A ratio of two single workers this near to the limit (as a factor) is measured again.
_NEAR_LIMIT = (1 / 1.05, 1.5)


@dataclass(frozen=True, slots=True)
class Finding:
    """What came of one candidate; `cost` and `gain` are None where nothing may be claimed."""

    outcome: PassOutcome
    detail: str
    cost: Cost | None = None
    gain: Gain | None = None
    ratio: float | None = None


class Broken(Exception):
    """A candidate's behaviour is not that of the plain population."""

    def __init__(self, finding: Finding) -> None:
        self.finding = finding


@dataclass(slots=True)
class Search:
    """Forward through the candidates, keeping each that helps; then backward, leaving out each
    that a later one made superfluous.

    What is found is there at once, so that an interruption loses nothing.

    Attributes:
        candidates: passes that claim to be exact, in the order of application.
        requires: the passes that a pass cannot do without; they come before it in the order.
        max_slowdown: largest time per step over that of the plain population.
        measure: the cost of a plan, measured anew in every call; may raise a MemprofError.
        compare: the verdict on a plan whose digests are not those of the plain population, value by
            value; None where only equal digests will do.
    """

    candidates: Plan
    requires: Mapping[str, Plan]
    max_slowdown: float
    measure: Callable[[Plan], Cost]
    compare: Callable[[Plan], Equivalence] | None = None
    kept: Plan = field(default=(), init=False)
    findings: dict[str, Finding] = field(default_factory=dict, init=False)
    _costs: dict[Plan, list[Cost]] = field(default_factory=dict, init=False)
    _verdicts: dict[Plan, Equivalence] = field(default_factory=dict, init=False)

    def run(self) -> None:
        """Search; the choice is in `kept`.

        Raises:
            MemprofError: the plain population could not be measured.
        """
        self._again(())
        for name in self.candidates:
            self._forward(name)
        for name in self.kept:
            self._backward(name)

    def _forward(self, name: str) -> None:
        missing = self._unusable_requirement(name)
        if missing is not None:
            why = self.findings[missing].outcome
            self.findings[name] = Finding(why, f"needs {missing}, which is left out ({why})")
            return
        wanted = {*self.kept, *self._with_requirements(name)}
        plan = tuple(each for each in self.candidates if each in wanted)
        self.findings[name] = self._judge(self.kept, plan)
        if self.findings[name].outcome in HELPS:
            for other in wanted - {*self.kept, name}:
                self.findings[other] = Finding("no_effect", f"{name} needs it")
            self.kept = plan

    def _backward(self, name: str) -> None:
        """Leave `name` out if putting it back would not help."""
        if any(name in self.requires.get(other, ()) for other in self.kept):
            return
        rest = tuple(each for each in self.kept if each != name)
        if not rest or self._judge((), rest).outcome not in HELPS:
            return
        found = self._judge(rest, self.kept)
        if found.outcome not in ("no_effect", "costs", "slower") or found.gain is None:
            return
        if outcome(found.gain, 1.0) not in HELPS:
            place = self.candidates.index(name)
            later = [each for each in rest if self.candidates.index(each) > place]
            found = replace(
                found, outcome="superfluous", detail=f"superfluous after {', '.join(later or rest)}"
            )
        self.kept, self.findings[name] = rest, found
        for needed in self.requires.get(name, ()):
            if needed in self.kept:
                self._backward(needed)

    def _judge(self, without: Plan, plan: Plan) -> Finding:
        """Whether `plan` is better than `without`, and within the limits."""
        try:
            self._check_behaviour(plan)
            before, after = self._cost(without), self._cost(plan)
            saved = gain(before, after)
            ratio, least = time_ratio(before, after), least_ratio(before, after)
            if outcome(saved, least) == "faster":  # the only merit: one figure is not enough
                ratio = least = self._close_ratio(without, plan)
            found = outcome(saved, least)
            if found in HELPS and (slowdown := self._slowdown(plan)) > self.max_slowdown:
                detail = (
                    f"{words(saved)}, but a step takes {slowdown:.2f} times as long as "
                    f"before (max_slowdown {self.max_slowdown:g})"
                )
                return Finding("slower", detail, after, saved, ratio)
        except Broken as broken:
            return broken.finding
        except MemprofError as error:
            return Finding("failed", str(error))
        return Finding(found, words(saved, least), after, saved, ratio)

    def _check_behaviour(self, plan: Plan) -> None:
        plain = self._costs[()]
        if self._reproducible() and self._cost(plan).digests == plain[0].digests:
            return
        if len(plain) == 1:  # is it the passes, or chance that no seed controls?
            self._again(())
        if not self._reproducible():
            why = "the plain population itself behaves differently in two runs with the same seed"
            raise Broken(Finding("not_checked", why))
        why = "agents believe or do something else with it"
        if self.compare is not None:
            if plan not in self._verdicts:
                self._verdicts[plan] = self.compare(plan)
            if self._verdicts[plan].verdict == "bounded":
                return
            why = self._verdicts[plan].detail
        raise Broken(Finding("diverged", why))

    def _reproducible(self) -> bool:
        return equivalence.reproducible([d for cost in self._costs[()] for d in cost.digests])

    def _slowdown(self, plan: Plan) -> float:
        """Time per step over the plain population's, measured again where it is a near thing."""
        ratio = time_ratio(self._costs[()][-1], self._costs[plan][-1])
        low, high = (factor * self.max_slowdown for factor in _NEAR_LIMIT)
        return self._close_ratio((), plan) if low < ratio < high else ratio

    def _close_ratio(self, without: Plan, plan: Plan) -> float:
        """The ratio of times from workers that run next to each other: the machine's own pace
        changes over minutes. The one in the middle sees the mean of what its neighbours see."""
        first, middle, last = (
            self._again(each).step_seconds.median for each in (plan, without, plan)
        )
        return (first + last) / 2 / middle

    def _cost(self, plan: Plan) -> Cost:
        return self._costs[plan][0] if plan in self._costs else self._again(plan)

    def _again(self, plan: Plan) -> Cost:
        cost = self.measure(plan)
        self._costs.setdefault(plan, []).append(cost)
        return cost

    def _with_requirements(self, name: str) -> Plan:
        required = self.requires.get(name, ())
        return (*(each for needed in required for each in self._with_requirements(needed)), name)

    def _unusable_requirement(self, name: str) -> str | None:
        bad = ("diverged", "failed", "slower", "not_checked")
        return next(
            (
                each
                for each in self._with_requirements(name)[:-1]
                if each in self.findings and self.findings[each].outcome in bad
            ),
            None,
        )
