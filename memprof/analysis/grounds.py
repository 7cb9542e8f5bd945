"""What the advice on a report is drawn from: the report, and what follows from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from memprof.results import PassResult, Report, Variant

_PROVED = ("saves", "faster", "superfluous")
_NOTHING_CLAIMED = ("diverged", "failed", "not_checked")
_GONE = 0.1
_MOST_IN_OPTION = 2


@dataclass(frozen=True, slots=True)
class Grounds:
    """A report without its advice.

    Attributes:
        offered: the passes of its backend, in the order in which a plan applies them.
    """

    report: Report
    offered: Sequence[str]

    @property
    def before(self) -> Variant:
        return self.report.variants.before

    @property
    def after(self) -> Variant | None:
        """The population with passes, where it behaves as they claim; else nothing is claimed."""
        proved = self.report.equivalence.verdict in ("exact", "bounded")
        return self.report.variants.after if proved and self.plan else None

    @property
    def final(self) -> Variant:
        """The population as the user gets it."""
        return self.after or self.before

    @property
    def agents(self) -> int:
        return int(self.report.scenario["agents"])

    @property
    def steps(self) -> int:
        return int(self.report.scenario["steps"])

    @property
    def agent_bytes(self) -> float:
        """What an agent costs without passes; where that is below resolution, at most."""
        cost = self.before.per_agent
        return max(1.0, cost.marginal_bytes if cost.resolved else cost.ci95_bytes[1])

    @property
    def plan(self) -> tuple[str, ...]:
        found = self.report.variants.after
        return found.passes if found is not None else ()

    def kept(self, name: str) -> PassResult | None:
        """What a pass of the plan did."""
        rows = (each for each in self.report.passes if each.kept and each.name == name)
        return next(rows, None)

    def solver(self, names: Sequence[str]) -> str:
        """The first of these passes that is in the plan and was found to help; else empty."""
        results = [row for name in names if (row := self.kept(name))]
        return next((row.name for row in results if row.outcome in _PROVED), "")

    def usable(self, names: Sequence[str]) -> str:
        """The first of these passes that the backend has, and that was not found to do nothing
        here, or not enough; else empty."""
        tried = {
            row.name
            for row in self.report.passes
            if not row.kept or row.outcome not in _NOTHING_CLAIMED
        }
        return next((each for each in names if each in self.offered and each not in tried), "")

    def saved_bytes(self, name: str) -> float | None:
        """What a pass of the plan saves for all agents, as measured."""
        row = self.kept(name)
        each = row.saved_bytes_per_agent if row is not None else None
        return None if each is None else each * self.agents

    def with_pass(self, name: str, effect: str, options: str = "") -> str:
        """To add a pass to the plan for its effect; or why the one that is there has none."""
        row = self.kept(name)
        if row is not None:
            return f"{name} is in the plan, but nothing is claimed for it: {row.detail}."
        return f"{self.option([*self.plan, name])}{options}; {effect}."

    def option(self, names: Sequence[str]) -> str:
        """The option for a plan of these passes, in the order in which they are applied; of many,
        the scenario's field, which can be wrapped."""
        ordered = sorted(names, key=self.offered.index)
        if len(ordered) > _MOST_IN_OPTION:
            return f"passes: [{', '.join(ordered)}]"
        return f"--passes {','.join(ordered) or 'none'}"

    def private_each(self, component: str, variant: Variant | None = None) -> float:
        """Bytes of a component that one agent holds alone, resident where that is known."""
        return (variant or self.before).ledger.private_each(component)

    def is_gone(self, component: str) -> bool:
        """Whether agents with the passes hold almost nothing of a component alone."""
        after = self.report.variants.after
        if after is None or not self.plan:
            return False
        return self.private_each(component, after) <= _GONE * self.private_each(component)


def listed(names: Sequence[str]) -> str:
    """`B`, `B and A`, `B, A and C`."""
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last
