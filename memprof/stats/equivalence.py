"""Whether two populations behaved alike: digests first, values where digests differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from memprof.values.measurements import TraceComparison
from memprof.values.report import Equivalence

Digests = tuple[str, ...]
Course = tuple[str, ...]
"""Two hashes per step: of what all agents perceived, and of what they then believed and did."""


def same_digests(before: Sequence[Digests], after: Sequence[Digests]) -> bool:
    """Whether every repeat of both populations behaved bit-identically."""
    return len({*before, *after}) == 1


def reproducible(repeats: Sequence[Digests]) -> bool:
    """Whether the plain population does the same in every run; else nothing can be compared."""
    return len(set(repeats)) == 1


class Parting(NamedTuple):
    """Where two runs of the plain population part that should be the same.

    Attributes:
        step: the first one in which they differ; None where that is not known.
        by_world: agents perceived something else there, although all had done the same; None where
            what they perceived is not known.
        in_rewards: they differ in nothing but what agents were given.
    """

    step: int | None = None
    by_world: bool | None = None
    in_rewards: bool = False

    @property
    def words(self) -> str:
        """In a sentence."""
        if self.in_rewards:
            return (
                "the world is not deterministic: in two runs with the same seed agents perceive "
                "and do the same, and are rewarded otherwise"
            )
        if self.step is None or self.by_world is None:
            return "the plain population itself behaves differently in two runs with the same seed"
        if not self.by_world:
            return (
                "the agents are not deterministic: in two runs with the same seed they perceive "
                f"the same, and believe or do something else at step {self.step}"
            )
        before = "although all did the same before" if self.step else "before any has acted"
        world = "the world" if self.step else "the world, or the model that it follows,"
        return (
            f"{world} is not deterministic: in two runs with the same seed agents perceive "
            f"something else at step {self.step}, {before}"
        )


def parting(courses: Sequence[Course]) -> Parting | None:
    """Where several runs of the plain population part; None where they do not."""
    for place, hashes in enumerate(zip(*courses, strict=False)):
        if len({*hashes}) > 1:
            step = place // 2
            perceived = courses[0][2 * step]
            return Parting(step, place % 2 == 0 if perceived else None)
    return None


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


_WORST = ("diverged", "not_checked", "bounded", "exact")


def of_all(kinds: Mapping[str, Equivalence]) -> Equivalence:
    """The verdict on all kinds of agents by name: that on the one that keeps to its claim least."""
    verdict = next(each for each in _WORST if each in [k.verdict for k in kinds.values()])
    those = {name: each for name, each in kinds.items() if each.verdict == verdict}
    agreed = [each.action_agreement for each in kinds.values()]
    compared = sum(each.agents for each in kinds.values())
    agreement = sum(each.agents * (each.action_agreement or 0.0) for each in kinds.values()) / max(
        1, compared
    )
    return Equivalence(
        verdict,
        compared,
        max(each.steps for each in kinds.values()),
        None if None in agreed else agreement,
        _largest([each.max_abs_belief_error for each in kinds.values()]),
        _largest([each.max_divergence_nats for each in kinds.values()]),
        "; ".join(f"{name}: {each.detail}" for name, each in those.items()),
    )


def _largest(values: Sequence[float | None]) -> float | None:
    """None where one of them is not known."""
    known = [each for each in values if each is not None]
    return max(known) if len(known) == len(values) else None


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
