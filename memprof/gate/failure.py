"""Why a check failed, as short as a test's output should be: the verdict, and what grew."""

from __future__ import annotations

from memprof.errors import BehaviourDiverged, CheckFailed
from memprof.render.page import Table, positive
from memprof.render.terminal import render_table
from memprof.text import format_size
from memprof.values.measurements import Ledger
from memprof.values.profile import BudgetCheck, PerAgent, Report

_WIDTH = 78


def render(report: Report, failure: CheckFailed) -> str:
    """The verdict in one line, what was measured, and the ledger of the agents, largest first."""
    scenario, variant = report.scenario, report.variants.final
    if isinstance(failure, BehaviourDiverged) or report.budget is None:
        return f"{scenario.name}: {failure}"
    passes = f"passes {', '.join(variant.passes)}" if variant.passes else "no passes"
    low, high = map(format_size, positive(variant.per_agent.ci95_bytes))
    agents, steps = _count(scenario.agents, "agent"), _count(scenario.steps, "step")
    workers = _count(variant.repeats, "fresh worker")
    return (
        f"{scenario.name}: {_verdict(report.budget, variant.per_agent)}\n"
        f"Marginal cost: {format_size(variant.per_agent.marginal_bytes)} ({low} to {high}); "
        f"limit: {format_size(report.budget.limit_bytes)}.\n"
        f"{agents}, {steps}, {passes}, {workers}.\n\n"
        f"{render_table(_table(variant.ledger), width=_WIDTH)}"
    )


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def _verdict(budget: BudgetCheck, cost: PerAgent) -> str:
    found, limit = format_size(budget.marginal_bytes), format_size(budget.limit_bytes)
    if not cost.resolved:
        return f"an agent may cost {found} (below resolution), more than {limit}"
    if found == limit:
        found, limit = f"{budget.marginal_bytes:,.0f} B", f"{budget.limit_bytes:,} B"
    return f"an agent costs {found}, more than {limit}"


def _table(ledger: Ledger) -> Table:
    """Components by what one agent more takes of them, then by what all of them share."""
    rows = sorted(
        (
            (row.private_bytes / ledger.agents, row.shared_bytes, row.component)
            for row in ledger.rows
        ),
        reverse=True,
    )
    cells = [
        (component, format_size(private), format_size(shared))
        for private, shared, component in rows
        if private or shared
    ]
    if ledger.unexplained_bytes is not None:
        unexplained = ledger.unexplained_bytes / ledger.agents
        cells.append(("unexplained", format_size(unexplained), ""))
    title = f"What grew, {ledger.agents} agents"
    return Table(title, ("component", "private each", "shared by all"), tuple(cells))
