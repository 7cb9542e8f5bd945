"""What the advice on a report is drawn from: the report, and what follows from it.

One agent, as each part of a report says it: where a figure is not the marginal cost, why not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from memprof.text import format_size
from memprof.values.measurements import InstrumentRun, Ledger
from memprof.values.profile import AgentFigure, PassResult, PerAgent, Report, Variant

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
        return self.report.scenario.agents

    @property
    def steps(self) -> int:
        return self.report.scenario.steps

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


_ALIKE = 0.05
"""Figures that are this near to each other say the same."""
_NOMINAL = 0.15
"""The traced heap knows no allocator's rounding, and a life of two steps no later ones."""


def one_agent(
    cost: PerAgent, slope: float, agents: int, ledger: Ledger, traced: InstrumentRun | None
) -> tuple[AgentFigure, ...]:
    """The figures for one of the scenario's `agents`; `slope` is that of the line through memory
    against their number."""
    figures = [AgentFigure("marginal", cost.marginal_bytes, _of_line(cost, slope))]
    figures += _held(cost, ledger)
    figures.append(_components(cost, agents, ledger))
    if traced is not None and traced.stacks:
        figures.append(_calls(cost, traced))
    return tuple(figures)


def _of_line(cost: PerAgent, slope: float) -> str:
    """Why the marginal cost is not the slope."""
    if cost.marginal_bytes == slope:
        return ""
    return (
        f"the slope, {format_size(slope)}, is uncertain, and less than what agents hold: they "
        "moved into memory that had been freed, and more of them would not find any"
    )


def _held(cost: PerAgent, ledger: Ledger) -> Iterator[AgentFigure]:
    mean, typical = ledger.mean_agent_bytes, ledger.typical_agent_bytes
    if mean is None or typical is None or ledger.agent_bytes_range is None:
        return
    yield AgentFigure("held", mean, "" if _agree(cost, mean) else _difference(cost, mean))
    least, most = map(format_size, ledger.agent_bytes_range)
    why = "" if _agree(cost, typical) else _difference(cost, typical)
    if abs(typical - mean) > _ALIKE * mean:
        why = (
            f"agents are of several sizes, {least} to {most}: this is the one in the middle, and "
            "the marginal cost that of their mean"
        )
    yield AgentFigure("typical", typical, why)


def _components(cost: PerAgent, agents: int, ledger: Ledger) -> AgentFigure:
    size, mean = ledger.private_each(), ledger.mean_agent_bytes
    if _agree(cost, size):
        why = ""
    elif mean is None:
        why = "what arrays and objects ask for, resident or not"
    elif ledger.agents > agents and abs(size - mean) > _ALIKE * mean:
        why = (
            f"the ledger has {ledger.agents:,} agents, of which the scenario's {agents:,} are the "
            "first; the others are of other sizes"
        )
    elif size < mean * (1 - _ALIKE):
        why = "what the world of all has from an agent is shared here"
    else:
        why = _difference(cost, size)
    return AgentFigure("components", size, why)


def _calls(cost: PerAgent, traced: InstrumentRun) -> AgentFigure:
    size = sum(each.bytes_per_agent for each in traced.stacks)
    further, mean = traced.further_bytes, traced.mean_bytes
    if _agree(cost, size):
        why = ""
    elif further is not None and mean is not None and abs(further - mean) > _ALIKE * mean:
        number = f"{traced.further_agents:,} agents" if traced.further_agents > 1 else "an agent"
        why = (
            f"of {number} after the first, which the ledger's walk finds to hold "
            f"{format_size(further)}; the mean of all is {format_size(mean)}"
        )
    elif further is not None and abs(size - further) <= _NOMINAL * further:
        why = "what was asked for: pages that nothing has touched yet take no memory"
    else:
        why = (
            "traced from Python, over two steps at most: without what libraries take by themselves"
        )
    return AgentFigure("calls", size, why)


def _agree(cost: PerAgent, size: float) -> bool:
    """Within the line's own half interval: its upper end may be what agents hold."""
    marginal = cost.marginal_bytes
    return abs(size - marginal) <= max(_ALIKE * marginal, marginal - cost.ci95_bytes[0])


def _difference(cost: PerAgent, size: float) -> str:
    if size > cost.marginal_bytes:
        return (
            "the process grew by less: agents moved into memory that had been freed, and more of "
            "them would not find any"
        )
    return "the rest is in no object: room that allocators keep, fragments, native memory"
