"""What `optimize` did to a population, pass by pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

from memprof.catalogue.backends import OF_PROGRAMS
from memprof.catalogue.passes import PASSES
from memprof.optimise.plan import Plan
from memprof.text import counted, format_size
from memprof.values.measurements import Effect, WorkingSetUse


@dataclass(frozen=True, slots=True)
class AppliedPass:
    """One pass of a population.

    Attributes:
        name: as `memprof passes` lists it.
        summary: what it is for.
        claim: that behaviour is the same to the bit, or that beliefs change by at most `bound`.
        effect: what it has done for this population until now, with figures that were counted;
            empty where it tells nothing, such as before the first agent.
        saves_bytes: memory that it saves, at least, in all; None where that cannot be counted.
    """

    name: str
    summary: str
    claim: Literal["exact", "bounded"]
    bound: float | None
    effect: str
    saves_bytes: int | None

    def __str__(self) -> str:
        saves = "" if self.saves_bytes is None else f"; saves {format_size(self.saves_bytes)}"
        return f"{self.name}: {self.effect or self.summary}{saves}"


@dataclass(frozen=True, slots=True)
class AppliedPlan:
    """The passes of a population.

    Attributes:
        passes: in order.
        options: those that were given, by name.
        because: why `optimize` chose this plan; empty if the caller named the passes.
    """

    passes: tuple[AppliedPass, ...]
    options: Mapping[str, Any]
    because: str

    def __str__(self) -> str:
        names = ", ".join(each.name for each in self.passes) or "none"
        why = f", because {self.because}" if self.because else ""
        given = [f"  {name}={value!r}" for name, value in self.options.items()]
        return "\n".join([f"passes: {names}{why}", *given, *(f"  {each}" for each in self.passes)])


def applied(
    plan: Plan,
    names: Sequence[str],
    options: Mapping[str, Any],
    because: str,
    use: WorkingSetUse | None,
) -> AppliedPlan:
    """What the passes of a plan, which have these names, have done until now."""
    passes = []
    for name in names:
        form = PASSES[name].form(OF_PROGRAMS)
        effect = _of_working_set(use) if form.kind == "budget" and use else plan.effect(name)
        what, saves = effect.what, effect.saves_bytes
        passes.append(AppliedPass(name, form.summary, form.claim, form.bound, what, saves))
    return AppliedPlan(tuple(passes), MappingProxyType(dict(options)), because)


def _of_working_set(use: WorkingSetUse) -> Effect:
    uses = use.hits + use.activations - use.activated_ahead
    return Effect(
        f"{counted(use.active_agents, 'agent')} active, {format_size(use.active_bytes)} of at most "
        f"{format_size(use.budget_bytes)}; {use.hits:,} of {uses:,} uses found theirs active"
    )
