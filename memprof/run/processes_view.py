"""The view of processes that a program started: the agents in each of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from memprof.render import Section, Table
from memprof.run.agents_view import cost_of
from memprof.text import counted, format_seconds, format_size, one_line
from memprof.values.run import RunReport
from memprof.values.watch import ChildProcess

_TEXT = (
    "Agents that were built in processes which the program started by fork or by Python's "
    "multiprocessing, each at the moment at which they held most. They are in no other table."
)
_MOST_ON_A_SCREEN = 6


def processes_section(report: RunReport) -> Iterator[Section]:
    """All of them; none where there were none."""
    if report.processes:
        inherited = tuple(_inherited(report.processes))
        yield Section(_TITLE, (_TEXT, *inherited), (_table(report.processes),))


def brief_processes(report: RunReport) -> Iterator[Section]:
    """The first ones."""
    found = report.processes
    if found:
        more = found[_MOST_ON_A_SCREEN:]
        said = (f"{counted(len(more), 'further process', 'further processes')}: --full",)
        table = _few(found[:_MOST_ON_A_SCREEN])
        yield Section(_TITLE, said if more else (), (table,))


def in_processes(found: Sequence[ChildProcess]) -> str:
    """How many agents of which kinds there were, in one sentence."""
    agents: dict[str, int] = {}
    for process in found:
        for kind in process.kinds:
            agents[kind.name] = agents.get(kind.name, 0) + kind.agents
    kinds = [f"{counted(count, 'agent')} of {name}" for name, count in agents.items()]
    more = f" and {counted(len(kinds) - 2, 'further kind')}" if kinds[2:] else ""
    where = counted(len(found), "process that it started", "processes that it started")
    return f"In {where}: {', '.join(kinds[:2]) or 'agents that nobody could look at'}{more}."


_LEFT_OUT = ("started", "peak RSS", "by")
_TITLE = "Processes that the program started"


def _table(found: Sequence[ChildProcess]) -> Table:
    rows: list[tuple[str, ...]] = []
    for process in found:
        name, at = one_line(process.name), format_seconds(process.started_seconds)
        peak = "-" if process.peak_bytes is None else format_size(process.peak_bytes)
        rows += [
            (
                *(name, at, peak, kind.name, f"{kind.agents:,}", f"{kind.built:,}"),
                *(cost_of(kind), kind.per_agent.how),
            )
            for kind in process.kinds
        ] or [(name, at, peak, *["-"] * 5)]
    columns = ("process", "started", "peak RSS", "kind", "alive", "built", "per agent", "by")
    return Table("", columns, tuple(rows))


def _few(found: Sequence[ChildProcess]) -> Table:
    """What there is room for on a screen."""
    whole = _table(found)
    places = [place for place, name in enumerate(whole.columns) if name not in _LEFT_OUT]
    rows = tuple(tuple(row[place] for place in places) for row in whole.rows)
    return Table("", tuple(whole.columns[place] for place in places), rows)


def _inherited(found: Sequence[ChildProcess]) -> Iterator[str]:
    for process in found:
        if process.inherited:
            yield (
                f"{one_line(process.name)}: {counted(process.inherited, 'agent')} of the process "
                "that started it worked in it, too. They count there; what they wrote here is in "
                "no figure."
            )
