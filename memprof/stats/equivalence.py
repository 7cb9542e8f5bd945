"""Whether two populations behaved alike: digests first, values where digests differ."""

from __future__ import annotations

from collections.abc import Sequence

from memprof.values.measurements import TraceComparison
from memprof.values.report import Equivalence

Digests = tuple[str, ...]


def same_digests(before: Sequence[Digests], after: Sequence[Digests]) -> bool:
    """Whether every repeat of both populations behaved bit-identically."""
    return len({*before, *after}) == 1


def reproducible(repeats: Sequence[Digests]) -> bool:
    """Whether the plain population does the same in every run; else nothing can be compared."""
    return len(set(repeats)) == 1


def exact(agents: int, steps: int, why: str = "all digests are equal") -> Equivalence:
    """The verdict for equal digests: every belief, policy posterior and action, bit by bit."""
    return Equivalence("exact", agents, steps, 1.0, 0.0, 0.0, why)


def not_checked(why: str) -> Equivalence:
    """No verdict, and why."""
    return Equivalence("not_checked", 0, 0, None, None, None, why)


def not_finished(*, same: bool) -> Equivalence:
    """No verdict, since values were not compared to the end; `same`, digests are equal."""
    what = "agents step in another order" if same else "the digests differ"
    return not_checked(f"{what}, and the comparison was not finished")


def not_reproducible() -> Equivalence:
    """No verdict, since the plain population is not what it was."""
    return not_checked(
        "the plain population itself behaves differently in two runs with the same seed"
    )


def judge(
    comparison: TraceComparison, bound: float | None = None, same_actions: bool = False
) -> Equivalence:
    """The verdict for populations whose digests differ: how far apart, and from where on.

    `bound` is the largest change of a belief that the passes may cause; None when all of them
    claim to be exact, so that any difference is one too many. `same_actions`: no action may change.
    """
    agreement = comparison.actions_equal / max(1, comparison.actions_compared)
    error = comparison.max_abs_belief_error
    if comparison.first_difference is None:
        detail = "the digests differ, but no value does in a second run: not reproducible"
    else:
        agent, step = comparison.first_difference
        detail = f"first difference: agent {agent}, step {step}"
    kept = bound is not None and error is not None and error <= bound
    kept = kept and (agreement == 1 or not same_actions)
    if bound is not None:
        change = "they cannot be compared" if error is None else f"they changed by {error:.3g}"
        detail = (
            f"beliefs may change by up to {bound:.3g}, {change}; {agreement:.1%} of the actions "
            f"agree; {detail}"
        )
    return Equivalence(
        "bounded" if kept else "diverged",
        comparison.agents,
        comparison.steps,
        agreement,
        error,
        comparison.max_divergence_nats,
        detail,
    )
