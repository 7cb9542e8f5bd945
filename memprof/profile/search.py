"""The passes that `auto` keeps, measured one by one on the scenario itself."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace

from memprof.errors import MemprofError
from memprof.profile.passes import (
    FASTER,
    Cost,
    Gain,
    Plan,
    gain,
    least_time_ratio,
    outcome,
    time_doubt,
    time_ratio,
    words,
)
from memprof.stats.equivalence import Parting, parting, reproducible, same_digests
from memprof.values.profile import PassOutcome
from memprof.values.report import Equivalence

HELPS = ("saves", "faster")
# How often plans are measured again where their time is a near thing.
_MOST_AGAIN = 2


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
    """Forward through the candidates, keeping each that helps, those last of which another does
    all the work; then backward, leaving out each that a later one made superfluous.

    What is found is there at once, so that an interruption loses nothing.

    Attributes:
        candidates: passes that claim to be exact, in the order of application.
        requires: the passes that a pass cannot do without; they come before it in the order.
        done_by: the passes that do all that a pass does; where one is kept, it is not tried.
        max_slowdown: largest time per step over that of the plain population.
        measure: measures a plan, anew in every call: its cost, and those of others that are surer
            by it. May raise a MemprofError.
        compare: the verdict on a plan whose digests are not those of the plain population, value by
            value; None where only equal digests will do.
    """

    candidates: Plan
    requires: Mapping[str, Plan]
    max_slowdown: float
    measure: Callable[[Plan], Mapping[Plan, Cost]]
    compare: Callable[[Plan], Equivalence] | None = None
    done_by: Mapping[str, Plan] = field(default_factory=dict)
    kept: Plan = field(default=(), init=False)
    findings: dict[str, Finding] = field(default_factory=dict, init=False)
    costs: dict[Plan, Cost] = field(default_factory=dict, init=False)
    _verdicts: dict[Plan, Equivalence] = field(default_factory=dict, init=False)

    def run(self) -> None:
        """Search; the choice is in `kept`.

        Raises:
            MemprofError: the plain population could not be measured.
        """
        self._cost(())
        last = [name for name in self.candidates if set(self._doers(name)) & {*self.candidates}]
        for name in self.candidates:
            if name not in last:
                self._forward(name)
        for name in last:
            doer = next((each for each in self._doers(name) if each in self.kept), None)
            if doer is None:
                self._forward(name)
            else:
                self.findings[name] = Finding("not_checked", f"not tried: {doer} does that too")
        for name in self.kept:
            self._backward(name)
        for count in range(1, len(self.kept)):
            self._between(self.kept[:count])

    @property
    def differs(self) -> Parting | None:
        """Where two trials of the plain population part; None as far as is known."""
        plain = self.costs.get(())
        if plain is None or reproducible(plain.digests):
            return None
        return parting(plain.courses) or Parting()

    def _forward(self, name: str) -> None:
        missing = self._unusable_requirement(name)
        if missing is not None:
            why = self.findings[missing].outcome
            self.findings[name] = Finding(why, f"needs {missing}, which is left out ({why})")
            return
        wanted = {*self.kept, *self._with_requirements(name)}
        found = self._judge(self.kept, self._ordered(wanted))
        if found.outcome == "slower" and found.gain and outcome(found.gain, 1.0) in HELPS:
            company = wanted | self._quicker()
            together = self._judge(self.kept, self._ordered(company))
            if together.outcome in HELPS:
                wanted, found = company, together
        self.findings[name] = found
        if found.outcome in HELPS:
            for other in wanted - {*self.kept, name}:
                self.findings[other] = Finding("no_effect", f"{name} needs it")
            self.kept = self._ordered(wanted)

    def _quicker(self) -> set[str]:
        """Passes that took time off a step, but too little to be kept for that."""
        return {
            name
            for name, each in self.findings.items()
            if each.outcome == "no_effect" and each.ratio is not None and each.ratio < 1
        }

    def _ordered(self, names: set[str]) -> Plan:
        return tuple(each for each in self.candidates if each in names)

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

    def _between(self, plan: Plan) -> None:
        """Measure the first passes of what is kept, to tell what the next one adds."""
        with suppress(MemprofError):
            self._cost(plan)

    def _judge(self, without: Plan, plan: Plan) -> Finding:
        """Whether `plan` is better than `without`, and within the limits."""
        try:
            self._check_behaviour(plan)
            saved = gain(self._cost(without), self._cost(plan))
            if saved.per_agent_bytes is None and (saved.transient_bytes or 0) > 0:
                saved = gain(self._again(without), self._again(plan))  # a peak may be chance
            ratio, least = self._ratios(without, plan)
            if outcome(saved, 1.0) == "no_effect" and ratio < FASTER:  # its only merit
                self._again(plan)
                ratio, least = self._decided(without, plan, FASTER)
            found = outcome(saved, least)
            if found in HELPS:
                slowdown = self._slowdown(plan)
                if slowdown > self.max_slowdown:
                    detail = (
                        f"{words(saved)}, but a step takes {slowdown:.2f} times as long as "
                        f"before (max_slowdown {self.max_slowdown:g})"
                    )
                    return Finding("slower", detail, self.costs[plan], saved, ratio)
        except Broken as broken:
            return broken.finding
        except MemprofError as error:
            return Finding("failed", str(error))
        return Finding(found, words(saved, least), self.costs[plan], saved, ratio)

    def _check_behaviour(self, plan: Plan) -> None:
        plain = self.costs[()].digests
        if self.differs is None and same_digests(plain, self._cost(plan).digests):
            return
        if len(plain) == 1:  # is it the passes, or chance that no seed controls?
            self._again(())
        if self.differs is not None:
            raise Broken(Finding("not_checked", self.differs.words))
        why = "agents believe or do something else with it"
        if self.compare is not None:
            if plan not in self._verdicts:
                self._verdicts[plan] = self.compare(plan)
            if self._verdicts[plan].verdict == "bounded":
                return
            why = self._verdicts[plan].detail
        raise Broken(Finding("diverged", why))

    def _slowdown(self, plan: Plan) -> float:
        """Time per step over that of the plain population; no single trial is enough to leave a
        plan out for it."""
        slowdown, _ = self._decided((), plan, self.max_slowdown)
        if slowdown > self.max_slowdown:
            self._again(plan)
            slowdown, _ = self._decided((), plan, self.max_slowdown)
        return slowdown

    def _decided(self, without: Plan, plan: Plan, limit: float) -> tuple[float, float]:
        """The ratios, with both plans measured again while the truth may lie on either side of the
        limit."""
        for _ in range(_MOST_AGAIN):
            both = self._cost(without), self._cost(plan)
            doubt = time_doubt(*both, self.costs.values())
            if doubt is not None and abs(math.log(time_ratio(*both) / limit)) > doubt:
                break
            self._again(plan)
            if without:  # the plain population is part of every trial
                self._again(without)
        return self._ratios(without, plan)

    def _ratios(self, without: Plan, plan: Plan) -> tuple[float, float]:
        """Time per step of a plan over that of the other, and how much of it is sure."""
        both = self._cost(without), self._cost(plan)
        return time_ratio(*both), least_time_ratio(*both, self.costs.values())

    def _cost(self, plan: Plan) -> Cost:
        return self.costs[plan] if plan in self.costs else self._again(plan)

    def _again(self, plan: Plan) -> Cost:
        self.costs.update(self.measure(plan))
        return self.costs[plan]

    def _doers(self, name: str) -> Plan:
        return self.done_by.get(name, ())

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
