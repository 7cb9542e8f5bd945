"""How much of a plan is needed: its first passes that save almost all of what all of it does."""

from __future__ import annotations

from dataclasses import dataclass

from memprof.results import Report

ALMOST_ALL = 0.99


@dataclass(frozen=True, slots=True)
class Prefix:
    """The first passes of a plan.

    Attributes:
        share: of the whole plan's saving per agent, measured with these passes and no others.
        left: the plan's other passes.
    """

    passes: tuple[str, ...]
    share: float
    left: tuple[str, ...]


def shortest(report: Report, limit_bytes: int | None = None) -> Prefix | None:
    """The fewest passes, from the first on, that save `ALMOST_ALL` per agent, and with which an
    agent costs `limit_bytes` at most; else the whole plan.

    None where no saving per agent is certain: behaviour has to be as claimed, and the intervals
    before and after apart.
    """
    after = report.variants.after
    if after is None or report.equivalence.verdict not in ("exact", "bounded"):
        return None
    was, now = report.variants.before.per_agent, after.per_agent
    if now.ci95_bytes[1] >= was.ci95_bytes[0]:
        return None
    kept = [each for each in report.passes if each.kept]
    names = tuple(each.name for each in kept) or after.passes  # which may not be told apart
    for count, each in enumerate(kept[:-1], start=1):
        if each.marginal_bytes is None or each.ci95_bytes is None:
            continue
        share = (was.marginal_bytes - each.marginal_bytes) / (
            was.marginal_bytes - now.marginal_bytes
        )
        held = each.marginal_bytes if each.ci95_bytes[0] > 0 else each.ci95_bytes[1]
        if share >= ALMOST_ALL and (limit_bytes is None or held <= limit_bytes):
            return Prefix(names[:count], share, names[count:])
    return Prefix(names, 1.0, ())
