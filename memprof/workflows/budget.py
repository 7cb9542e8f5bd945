"""The scenario's budget, held against what was measured."""

from __future__ import annotations

from memprof.errors import BudgetExceeded
from memprof.results import BudgetCheck, PerAgent
from memprof.scenario import Scenario
from memprof.units import format_size


def budget_check(scenario: Scenario, cost: PerAgent) -> BudgetCheck | None:
    """The marginal cost against the budget, its upper end where it is below resolution; None if
    there is no budget."""
    if scenario.budget is None:
        return None
    limit = scenario.budget.per_agent
    held = cost.marginal_bytes if cost.resolved else cost.ci95_bytes[1]
    return BudgetCheck(limit, held, held <= limit)


def over_budget(budget: BudgetCheck | None) -> BudgetExceeded | None:
    """What a command ends with where a budget is broken."""
    if budget is None or budget.kept:
        return None
    return BudgetExceeded(
        f"budget.per_agent: expected at most {format_size(budget.limit_bytes)}, found "
        f"{format_size(budget.marginal_bytes)} per agent after the passes; add passes, or "
        "raise the budget"
    )
