"""What `memprof top` shows: the process, and its agents where it is watched."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from memprof.render import Section, Table, View
from memprof.run.agents_view import growth_text
from memprof.text import counted, cut, format_seconds, format_size
from memprof.values.live import Live, LiveKind
from memprof.values.top import ProcessNow, Seen
from memprof.values.watch import OperationUse

_MOST_KINDS, _MOST_OPERATIONS = 8, 5
_MOST_COMMAND = 200


def top_view(seen: Seen) -> View:
    """One screen."""
    process, live = seen.process, seen.live
    said = seen.note if live is None else _agents(live)
    sections = [Section("", (said, *_withheld(process)))]
    if live is not None:
        sections += _of_agents(live)
    command = process.command if live is None else live.program
    title = f"{process.pid}: {cut(command, _MOST_COMMAND)}"
    return View(title, _process(process), tuple(sections))


def listing(seen: Sequence[Seen]) -> View:
    """The watched processes of this user."""
    rows = tuple(
        (
            str(each.process.pid),
            format_size(each.process.uss_bytes),
            "-" if each.live is None else f"{each.live.agents:,}",
            cut(each.process.command if each.live is None else each.live.program, 40),
        )
        for each in seen
    )
    table = Table("", ("pid", "private (USS)", "agents", "program"), rows)
    words = counted(len(rows), "process of yours is", "processes of yours are")
    return View("memprof top", f"{words} watched; memprof top PID follows one.",
                (Section("", (), (table,)),))  # fmt: skip


def _agents(live: Live) -> str:
    """How many there are, and what they hold."""
    if not live.kinds:
        return f"Watched for {format_seconds(live.seconds)}; no agents of PyMDP so far."
    held = sum(kind.agents * (kind.private_bytes or 0.0) for kind in live.kinds)
    said = f"{counted(live.agents, 'agent')} of {counted(len(live.kinds), 'kind')}"
    if live.looked_seconds is None:
        return f"{said}; nobody has looked yet at what they hold."
    ago = format_seconds(max(0.0, live.seconds - live.looked_seconds))
    return (
        f"{said} hold {format_size(held + live.shared_bytes)}, of which they share "
        f"{format_size(live.shared_bytes)}, by a look {ago} ago."
    )


def _process(found: ProcessNow) -> str:
    """All that the system tells, in a sentence or two."""
    said = [
        f"{format_size(found.uss_bytes)} private (USS)" if found.uss_bytes is not None else "",
        f"{format_size(found.resident_bytes)} resident",
        f"{format_size(found.peak_bytes)} at most" if found.peak_bytes is not None else "",
        f"{found.processors:.2f} processors",
        counted(found.threads, "thread"),
        counted(found.open_files, "file") if found.open_files is not None else "",
    ]
    line = f"{', '.join(filter(None, said))}."
    if found.children:
        children = counted(found.children, "process", "processes")
        line += f" It started {children}, {format_size(found.children_bytes)} resident."
    return line


def _withheld(found: ProcessNow) -> Iterator[str]:
    if found.uss_bytes is None or found.open_files is None:
        yield f"The system tells what is missing only to its user, {found.user}."


def _of_agents(live: Live) -> Iterator[Section]:
    if live.kinds:
        yield Section("", (), (_kinds(live.kinds),))
    growth = tuple(growth_text(live.growth))
    compiling: tuple[str, ...] = ()
    if (jax := live.compiling) is not None:
        compiling = (
            f"JAX traced {counted(jax.traces, 'function')} and compiled "
            f"{counted(jax.compilations, 'program')} in {format_seconds(jax.seconds)}.",
        )
    tables = (_operations(live.operations),) if live.operations else ()
    if tables or growth or compiling:
        yield Section("", (*growth, *compiling), tables)


def _kinds(kinds: Sequence[LiveKind]) -> Table:
    """Those of whom most is held first."""
    by_size = sorted(kinds, key=lambda kind: -(kind.private_bytes or 0.0) * kind.agents)
    rows = [
        (
            kind.name,
            f"{kind.agents:,}",
            f"{kind.built:,}",
            format_size(kind.private_bytes),
            format_size(kind.largest_bytes),
        )
        for kind in by_size[:_MOST_KINDS]
    ]
    if more := by_size[_MOST_KINDS:]:
        alive, built = (
            f"{sum(each):,}" for each in zip(*((k.agents, k.built) for k in more), strict=True)
        )
        rows.append((counted(len(more), "further kind"), alive, built, "", ""))
    return Table("", ("kind", "alive", "built", "each, alone", "the largest"), tuple(rows))


def _operations(uses: Sequence[OperationUse]) -> Table:
    by_time = sorted(uses, key=lambda use: -use.seconds)[:_MOST_OPERATIONS]
    rows = tuple(
        (
            use.operation,
            f"{use.calls:,}",
            format_seconds(use.seconds),
            format_seconds(use.seconds / use.calls),
        )
        for use in by_time
    )
    return Table("", ("operation", "calls", "time", "per call"), rows)
