"""What a reader of a run must know before using a figure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from memprof.profile.cautions import of_children
from memprof.text import counted, format_size, one_line
from memprof.values.report import Caution
from memprof.values.watch import CellFailed, ChildProcess, Ended, Watched

_CUT_SHORT = {
    "killed": "the program was killed: what is known is what was seen until then",
    "timeout": "the program was ended by --timeout",
    "interrupted": "the program was interrupted",
}

_NO_END = (
    "the program ended without exit functions, as by os._exit or os.exec: what is known is what "
    "was seen until then"
)


def find(
    watched: Watched,
    ended: Ended,
    failed: CellFailed | None = None,
    processes: Sequence[ChildProcess] = (),
) -> Iterator[Caution]:
    """In the order in which they matter."""
    if failed is not None:
        yield Caution(
            "cell_failed",
            f"cell {failed.cell} failed with {one_line(failed.error)}; none after it ran",
            "the figures are those until then",
        )
    if ended in _CUT_SHORT:
        yield Caution("cut_short", _CUT_SHORT[ended], "let it run to its end")
    elif not watched.finished:
        yield Caution("cut_short", _NO_END, "end it by returning, or by sys.exit")
    yield from _of_watching(watched)
    if not watched.looks and (watched.built or not watched.finished):
        agents = counted(watched.built, "agent") if watched.built else "agents, if there were any,"
        yield Caution(
            "not_looked_at",
            f"{agents} went before memprof could look: nothing is known of what one costs",
            "call memprof.mark in the program while agents live",
        )
        return
    unseen = [*watched.unseen, *(name for process in processes for name in process.unseen)]
    if not watched.looks and not processes:
        yield Caution(
            "no_agents",
            "no agent of PyMDP was seen in the program's process, nor in those that it started by "
            "fork or multiprocessing; other programs that it starts are not looked into",
            "run the script that builds agents, or use memprof.watch in the process that does",
        )
        return
    if unseen:
        yield Caution(
            "kinds_not_looked_at",
            f"{', '.join(unseen)}: what they built went before memprof could look: nothing "
            "is known of what one costs",
            "call memprof.mark in the program while they live",
        )
    for kind in watched.peak_kinds:
        if kind.sizes is not None:
            least, most = (format_size(size) for size in kind.sizes)
            yield Caution(
                "sizes_differ",
                f"{kind.name}: one agent holds {least}, another {most}; the cost is the mean of "
                "what they hold alone, and a budget is for the largest",
                "build agents of different sizes in lines of their own",
            )
        elif kind.grows_beyond:
            yield Caution(
                "grows_beyond_agents",
                f"{kind.name}: the process grew by {format_size(kind.per_agent.bytes)} per agent "
                f"as they were built, of which one holds {format_size(kind.alone_bytes)}: "
                "something else was built along with them, or they hold what the ledger cannot see",
                "see what else the loop that builds them keeps",
            )
        elif kind.per_agent.how == "ledger" and kind.agents > 1:
            yield Caution(
                "cost_by_ledger",
                f"{kind.name}: {counted(kind.agents, 'agent')} were not built one after another, "
                "or are too few or too small for a line through the process's memory: the cost is "
                "what one holds alone",
                "memprof profile measures it in fresh processes",
            )


def _of_watching(watched: Watched) -> Iterator[Caution]:
    """What was not seen, or was seen otherwise than it would be."""
    if watched.children.started.count:
        yield of_children(watched.children, "the program")
    if watched.sites is not None:
        yield Caution(
            "traced",
            "tracemalloc was at work in the program, which slows it down and took "
            f"{format_size(watched.sites.tracing_bytes)} at last, which is taken off: times are "
            "longer, and what an agent costs and whether the process grows is less certain",
            "run it without --sites for those",
        )
    if watched.failed:
        yield Caution(
            "look_failed",
            f"a look at agents failed with {watched.failed}: what it would have shown is missing",
            "see what the agents hold that cannot be read",
        )
