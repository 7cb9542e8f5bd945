"""What a reader of a run must know before using a figure."""

from __future__ import annotations

from collections.abc import Iterator

from memprof.profile.cautions import of_children
from memprof.text import counted
from memprof.values.report import Caution
from memprof.values.watch import Ended, Watched

_CUT_SHORT = {
    "killed": "the program was killed: what is known is what was seen until then",
    "timeout": "the program was ended by --timeout",
    "interrupted": "the program was interrupted",
}


def find(watched: Watched, ended: Ended) -> Iterator[Caution]:
    """In the order in which they matter."""
    if ended in _CUT_SHORT:
        yield Caution("cut_short", _CUT_SHORT[ended], "let it run to its end")
    if watched.children.started.count:
        yield of_children(watched.children, "the program")
    if not watched.looks:
        yield Caution(
            "no_agents",
            "no agent of PyMDP was seen in the program's process; those in other processes that it "
            "starts are not",
            "run the script that builds agents, or use memprof.watch in the process that does",
        )
        return
    for kind in watched.peak_kinds:
        if kind.per_agent.how == "ledger" and kind.agents > 1:
            yield Caution(
                "cost_by_ledger",
                f"{kind.name}: {counted(kind.agents, 'agent')} were not built one after another, "
                "or are too few or too small for a line through the process's memory: the cost is "
                "what one holds alone",
                "memprof profile measures it in fresh processes",
            )
