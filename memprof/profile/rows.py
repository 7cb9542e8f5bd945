"""What each pass of a plan did, on top of the passes before it: the rows of the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from memprof.profile.passes import (
    Cost,
    Gain,
    Plan,
    gain,
    least_time_ratio,
    outcome,
    time_ratio,
    words,
)
from memprof.profile.search import HELPS, Finding
from memprof.stats.equivalence import reproducible, same_digests
from memprof.values.profile import Claim, PassResult
from memprof.values.report import Verdict


def waterfall(
    plan: Plan,
    claims: Mapping[str, Claim],
    costs: Mapping[Plan, Cost],
    failures: Mapping[Plan, str],
    verdict: Verdict,
) -> tuple[PassResult, ...]:
    """One row per pass of `plan`, in order.

    An exact pass is held to its claim by the digests of the plan with it against those of the plan
    without it; a bounded pass by `verdict`, the comparison of the whole plan with the plain
    population. `costs` and `failures` are those of the cumulative plans.
    """
    rows: list[PassResult] = []
    for count, name in enumerate(plan):
        before, after = costs.get(plan[:count]), costs.get(plan[: count + 1])
        why = failures.get(plan[: count + 1]) or failures.get(plan[:count])
        if before is None or after is None:
            found = Finding("failed" if why else "not_checked", why or "it was not measured")
        else:
            blamed = any(row.outcome == "diverged" for row in rows)
            least = least_time_ratio(before, after, costs.values())
            found = unproved(before, after, claims[name], verdict, blamed=blamed) or found_out(
                before, after, gain(before, after), least
            )
        rows.append(pass_result(name, claims[name], found))
    return tuple(rows)


def chosen(rows: Sequence[PassResult], findings: Mapping[str, Finding]) -> tuple[PassResult, ...]:
    """The rows of what `auto` kept, then those of what it left out, with the reasons.

    A pass may have had a merit in the search that the waterfall does not resolve; both are said.
    """
    kept = {row.name for row in rows}
    left = [
        replace(pass_result(name, "exact", found), kept=False)
        for name, found in findings.items()
        if name not in kept
    ]
    return (*(_with_reason(row, findings[row.name]) for row in rows), *left)


def _with_reason(row: PassResult, found: Finding) -> PassResult:
    if row.outcome == "not_checked":
        return pass_result(row.name, row.claim, found)
    if row.outcome in HELPS:
        return row
    return replace(row, detail=f"{row.detail}; auto kept it because: {found.detail}")


def pass_result(name: str, claim: Claim, found: Finding) -> PassResult:
    """A finding as the report has it."""
    cost, saved = found.cost, found.gain or Gain(None, None, None)
    return PassResult(
        name=name,
        claim=claim,
        saved_bytes_per_agent=saved.per_agent_bytes,
        step_time_ratio=found.ratio,
        outcome=found.outcome,
        detail=found.detail,
        marginal_bytes=cost.per_agent.marginal_bytes if cost else None,
        ci95_bytes=cost.per_agent.ci95_bytes if cost else None,
        fixed_bytes=cost.fixed_bytes if cost else None,
        transient_bytes=cost.transient_bytes if cost else None,
        saved_fixed_bytes=saved.fixed_bytes,
        saved_transient_bytes=saved.transient_bytes,
    )


def unproved(
    before: Cost, after: Cost, claim: Claim, verdict: Verdict, *, blamed: bool = False
) -> Finding | None:
    """Why nothing may be claimed for a pass; None where it behaves as it claims. `blamed`: an
    earlier pass has already broken its claim."""
    if not reproducible(before.digests):
        return Finding("not_checked", "without it, agents behave differently in every run")
    if not same_digests(before.digests, after.digests):
        if claim == "exact":
            return Finding("diverged", "agents believe or do something else with it")
        if verdict == "diverged" and not blamed:
            return Finding("diverged", "beliefs changed by more than its bound")
        if verdict not in ("exact", "bounded"):
            return Finding("not_checked", "its bound was not checked")
    return None


def found_out(before: Cost, after: Cost, saved: Gain, least: float) -> Finding:
    """What a pass that behaves as it claims does; `least`: what is sure of the change of time."""
    ratio = time_ratio(before, after)
    return Finding(outcome(saved, least), words(saved, least), after, saved, ratio)
