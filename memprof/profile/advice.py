"""What a report says in words: where memory goes that need not, on which evidence, what to do.

What is measured is cited as measured: savings are those of the passes' waterfall, and where only
the content of arrays speaks, no more is said than what it holds.
"""

from __future__ import annotations

from collections.abc import Sequence

from memprof.profile.advice_agents import alike, growth, policies, views, zeros
from memprof.profile.advice_process import (
    few_agents,
    imports,
    retracing,
    shorter_plan,
    slow_passes,
    transient,
)
from memprof.profile.grounds import Grounds
from memprof.values.profile import Advice, Report

_FINDINGS = (
    retracing, alike, imports, zeros, views, policies, growth, transient,
    shorter_plan, slow_passes, few_agents,
)  # fmt: skip


def advise(report: Report, offered: Sequence[str]) -> tuple[Advice, ...]:
    """All that is worth saying: what is open, then what the plan has taken care of, each ranked by
    the bytes that it is about for the scenario's agents.

    `offered` are the passes of the scenario's backend, in the order in which a plan applies them.
    """
    given = Grounds(report, offered)
    found = [advice for finding in _FINDINGS for advice in finding(given)]
    return tuple(sorted(found, key=lambda each: (bool(each.solved_by), -each.stake_bytes)))
