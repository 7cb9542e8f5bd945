"""One agent, as each part of a report says it: where a figure is not the marginal cost, why not."""

from __future__ import annotations

from collections.abc import Iterator

from memprof.measurements import InstrumentRun, Ledger
from memprof.results import AgentFigure, PerAgent
from memprof.units import format_size

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
