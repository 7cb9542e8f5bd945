"""What each pass of a plan did, on top of the passes before it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from memprof.analysis import equivalence
from memprof.analysis.plans import Cost, Gain, Plan, gain, least_ratio, outcome, time_ratio, words
from memprof.analysis.search import HELPS, Finding, Search
from memprof.results import Claim, PassResult, Verdict


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
            finding = Finding("failed" if why else "not_checked", why or "it was not measured")
        else:
            blamed = any(row.outcome == "diverged" for row in rows)
            finding = _finding(before, after, claims[name], verdict, blamed)
        rows.append(pass_result(name, claims[name], finding))
    return tuple(rows)


def chosen(rows: Sequence[PassResult], search: Search) -> tuple[PassResult, ...]:
    """The rows of what `auto` kept, then those of what it left out, with the reasons.

    A pass may have had a merit in the search that the waterfall, with its other workers, does not
    resolve; both are said.
    """
    kept = [_with_reason(row, search.findings[row.name]) for row in rows]
    left = [
        replace(pass_result(name, "exact", found), kept=False)
        for name, found in search.findings.items()
        if name not in search.kept
    ]
    return (*kept, *left)


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


def _finding(before: Cost, after: Cost, claim: Claim, verdict: Verdict, blamed: bool) -> Finding:
    """`blamed`: an earlier pass has already broken its claim."""
    if not equivalence.reproducible(before.digests):
        return Finding("not_checked", "without it, agents behave differently in every run")
    if not equivalence.same_digests(before.digests, after.digests):
        if claim == "exact":
            return Finding("diverged", "agents believe or do something else with it")
        if verdict == "diverged" and not blamed:
            return Finding("diverged", "beliefs changed by more than its bound")
        if verdict not in ("exact", "bounded"):
            return Finding("not_checked", "its bound was not checked")
    saved, least = gain(before, after), least_ratio(before, after)
    return Finding(
        outcome(saved, least), words(saved, least), after, saved, time_ratio(before, after)
    )
