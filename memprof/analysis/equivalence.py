"""Whether two populations behaved alike: digests first, values where digests differ."""

from __future__ import annotations

from collections.abc import Sequence

from memprof.measurements import TraceComparison
from memprof.results import Equivalence

Digests = tuple[str, ...]


def same_digests(before: Sequence[Digests], after: Sequence[Digests]) -> bool:
    """Whether every repeat of both populations behaved bit-identically."""
    return len({*before, *after}) == 1


def reproducible(repeats: Sequence[Digests]) -> bool:
    """Whether the plain population does the same in every run; else nothing can be compared."""
    return len(set(repeats)) == 1


def exact(agents: int, steps: int) -> Equivalence:
    """The verdict for equal digests: every belief, policy posterior and action, bit by bit."""
    return Equivalence("exact", agents, steps, 1.0, 0.0, "all digests are equal")


def not_checked(why: str) -> Equivalence:
    """No verdict, and why."""
    return Equivalence("not_checked", 0, 0, None, None, why)


def judge(comparison: TraceComparison) -> Equivalence:
    """The verdict for populations whose digests differ: how far apart, and from where on."""
    agreement = comparison.actions_equal / max(1, comparison.actions_compared)
    if comparison.first_difference is None:
        detail = "the digests differ, yet no value does in a second run: not reproducible"
    else:
        agent, step = comparison.first_difference
        detail = f"first difference: agent {agent}, step {step}"
    return Equivalence(
        "diverged",
        comparison.agents,
        comparison.steps,
        agreement,
        comparison.max_abs_belief_error,
        detail,
    )
