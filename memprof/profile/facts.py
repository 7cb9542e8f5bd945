"""What advice is drawn from: a report, and what follows from it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from memprof.catalogue.backends import OF_PROGRAMS
from memprof.catalogue.passes import PASSES
from memprof.profile.passes import NOTHING_CLAIMED, recommended
from memprof.text import format_size
from memprof.values.instruments import ContentRow
from memprof.values.profile import Advice, AdviceKind, PassResult, Report, Variant

_PROVED = ("saves", "faster", "superfluous")
_GONE = 0.1
# What is less than a twentieth of an agent, all in all, is not worth a change.
_WORTH = 0.05
_MOST_IN_OPTION = 2


@dataclass(frozen=True, slots=True)
class Facts:
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
        return self.report.scenario.agents

    @property
    def steps(self) -> int:
        return self.report.scenario.steps

    @property
    def agent_bytes(self) -> float:
        """What an agent costs without passes; where that is below resolution, at most."""
        return max(1.0, self.before.per_agent.at_most_bytes)

    @property
    def worth_bytes(self) -> float:
        """What is worth a change, for all agents."""
        return _WORTH * self.agent_bytes * self.agents

    def held_bytes(self, row: ContentRow) -> float:
        """What an agent holds alone of a component without passes; what it asks for where that is
        not known."""
        return self.before.ledger.private_each(row.component) or row.agent_bytes

    @property
    def plan(self) -> tuple[str, ...]:
        found = self.report.variants.after
        return found.passes if found is not None else ()

    @property
    def recommended(self) -> tuple[str, ...]:
        """The passes to apply, as what to do next has them."""
        found = recommended(self.report)
        return self.plan if found is None else found.passes

    def kept(self, name: str) -> PassResult | None:
        """What a pass of the plan did."""
        return next((row for row in self.report.passes if row.kept and row.name == name), None)

    def solver(self, names: Sequence[str]) -> str:
        """The first of these passes that is in the plan and was found to help; else empty."""
        rows = map(self.kept, names)
        return next((row.name for row in rows if row and row.outcome in _PROVED), "")

    def usable(self, names: Sequence[str]) -> str:
        """The first of these passes that the backend has, and that was not found to do nothing
        here, or not enough; else empty."""
        tried = {
            row.name
            for row in self.report.passes
            if not row.kept or row.outcome not in NOTHING_CLAIMED
        }
        return next((each for each in names if each in self.offered and each not in tried), "")

    def choice(self, names: Sequence[str], *, gone: bool = True) -> tuple[str, bool]:
        """The pass that has solved a problem that is `gone`, and True; or one that can, and False;
        empty where there is none."""
        solved = self.solver(names) if gone else ""
        return solved or self.usable(names), bool(solved)

    def advice(
        self,
        kind: AdviceKind,
        choice: tuple[str, bool],
        stake_bytes: float,
        finding: str,
        evidence: str,
        effect: str,
        *,
        done: str | None = None,
        saves_bytes: float | None = None,
    ) -> Iterator[Advice]:
        """The advice to use a pass for its `effect`, or that it has `done` it; none where there is
        no such pass."""
        name, solved = choice
        if name:
            remedy = (done or self.done(name)) if solved else self.use(name, effect)
            saves = saves_bytes if solved else None
            yield Advice(
                kind, finding, evidence, remedy, name if solved else "", stake_bytes, saves
            )

    def saved_bytes(self, name: str) -> float | None:
        """What a pass of the plan saves for all agents, as measured."""
        row = self.kept(name)
        each = row.saved_bytes_per_agent if row is not None else None
        return None if each is None else each * self.agents

    def done(self, name: str) -> str:
        """That a pass of the plan has done it, with what it saves."""
        row = self.kept(name)
        if row is None or row.saved_bytes_per_agent is None:
            return f"Fixed by {name}."
        each = format_size(row.saved_bytes_per_agent)
        return f"Fixed by {name}, which saves {each} per agent in total."

    def use(self, name: str, effect: str, options: str = "") -> str:
        """To add a pass to those to apply, for its effect; or why one of the plan has none."""
        row = self.kept(name)
        if row is not None:
            return f"{name} is in the plan, but nothing is claimed for it: {row.detail}."
        used = f"{self.option([*self.recommended, name])}{options} to {effect}"
        if PASSES[name].early and self.report.scenario.backend == OF_PROGRAMS:
            return f"In a scenario, use {used}; it acts before PyMDP is imported."
        return f"Use {used}."

    def option(self, names: Sequence[str]) -> str:
        """The option for a plan of these passes, in the order in which they are applied; of many,
        the scenario's field, which can be wrapped."""
        ordered = sorted(names, key=self.offered.index)
        if len(ordered) > _MOST_IN_OPTION:
            return f"passes: [{', '.join(ordered)}]"
        return f"--passes {','.join(ordered) or 'none'}"

    def is_gone(self, component: str) -> bool:
        """Whether agents with the passes hold almost nothing of a component alone."""
        after = self.report.variants.after
        if after is None or not self.plan:
            return False
        most = _GONE * self.before.ledger.private_each(component)
        return after.ledger.private_each(component) <= most
