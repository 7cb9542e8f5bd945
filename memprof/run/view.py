"""The view of what `memprof run` saw: which agents lived, what one costs, where it is, and when."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from memprof.render import (
    Chart,
    Moment,
    Next,
    Section,
    Series,
    Table,
    View,
    brief_warnings,
    environment_section,
    interval,
    source_table,
    warnings_section,
)
from memprof.text import counted, format_seconds, format_size, one_line
from memprof.values.watch import CELL, Compiling, Kind, Look, RunReport, Saving

_MOST_KINDS, _MOST_ROWS = 6, 8
_WORTH = 0.8
"""Of what an agent costs: what takes more at rest is not worth a line of code."""
_HOW = {
    "slope": "growth of the process as they were built",
    "ledger": "what one holds alone",
}


def run_view(report: RunReport) -> View:
    """What a person reads of a run, in the order in which it matters."""
    chart = _timeline(report)
    kinds, ledger = _kinds(report.kinds), _ledgers(report.kinds)
    operations = _operations(report)
    growth, savings = tuple(_growth(report)), tuple(_savings(report.kinds))
    sections = [
        Section("Kinds of agents", _budget(report), _of_kinds(report)),
        Section("What they hold", (_LEDGER,) if ledger else (), tuple(ledger)),
        *([Section("Looks", (), (_looks(report.watched.looks),))] if report.kinds else []),
        *([Section("Growth", growth)] if growth else []),
        *([Section("What optimize would make of them", savings)] if savings else []),
        *([Section("Operations", (_OPERATIONS,), (operations,))] if operations.rows else []),
        *_compiling(report.watched.compiling),
        Section("Process", tuple(_process(report)), charts=(chart,) if chart else ()),
        *warnings_section(report.warnings),
        environment_section(report.environment),
    ]
    brief = [
        *([Section("", _budget(report), (kinds, *ledger[:1]))] if report.kinds else []),
        *([Section("Operations", growth, (operations,))] if operations.rows else []),
        *_compiling(report.watched.compiling),
        *brief_warnings(report.warnings),
    ]
    title = f"{one_line(' '.join(report.program))}: {_ended(report)}"
    return View(title, headline(report), tuple(sections), chart, _next(report), tuple(brief))


_LEDGER = (
    "Resident bytes where the system tells them, at the moment at which agents held most. Shared "
    "is what several agents have in common; it counts once, and is no part of what one costs."
)
_OPERATIONS = (
    "Calls of PyMDP's methods, each with those that it makes itself. Kept is how much larger the "
    "process is after a call than before it, the mean of one call in sixteen."
)


def headline(report: RunReport) -> str:
    """How many agents of which kinds lived, what one costs, and how much of that others hold
    alike."""
    watched = report.watched
    if not report.kinds and (watched.built or not watched.finished):
        return "Nothing is known of agents in this program: memprof could not look at any."
    if not report.kinds:
        where = "cell" if report.program == (CELL,) else "program"
        return (
            f"No agents of PyMDP in this {where}. Its process took "
            f"{format_size(report.watched.peak_bytes)} at most."
        )
    said = [_said(kind) for kind in report.kinds[:2]]
    more = report.kinds[2:]
    if more:
        others = counted(sum(kind.agents for kind in more), "agent")
        said.append(f"{counted(len(more), 'further kind')} with {others}")
    return f"{'; '.join(said)}."


def _said(kind: Kind) -> str:
    cost = _cost(kind)
    equal = kind.equal_bytes / kind.per_agent.bytes if kind.per_agent.bytes else 0.0
    alike = f", {min(1.0, equal):.0%} of it equal to the others'" if kind.agents > 1 else ""
    rests = ""
    if (saving := _known(kind)) is not None:
        rests = f"; at rest one would take {format_size(saving.bytes_per_agent)}"
    return f"{counted(kind.agents, 'agent')} of {kind.name} with {cost} each{alike}{rests}"


def _cost(kind: Kind) -> str:
    """Of one agent, or of the smallest and the largest."""
    if kind.sizes is None:
        return format_size(kind.per_agent.bytes)
    return " to ".join(map(format_size, kind.sizes))


def _known(kind: Kind) -> Saving | None:
    """What is known of such agents at rest, if they come back the same."""
    return kind.saving if kind.saving is not None and kind.saving.exact else None


def _ended(report: RunReport) -> str:
    if report.program == (CELL,):
        return "this cell" if report.ended == "exit" else "this cell, which failed"
    if report.ended == "exit":
        return f"ended with exit code {report.exit_code}"
    return "ended by --timeout" if report.ended == "timeout" else report.ended


def _budget(report: RunReport) -> tuple[str, ...]:
    return tuple(
        f"Budget: {'met' if each.kept else 'EXCEEDED'}; {each.kind} costs "
        f"{format_size(each.bytes)} of {format_size(each.limit_bytes)} per agent."
        for each in report.budget
    )


def _of_kinds(report: RunReport) -> tuple[Table, ...]:
    return (_kinds(report.kinds), _costs(report.kinds)) if report.kinds else ()


def _kinds(kinds: Sequence[Kind]) -> Table:
    """Of all kinds at a glance."""
    rows = tuple(
        (
            kind.name,
            f"{kind.agents:,}",
            f"{kind.built:,}",
            _cost(kind),
            format_size(kind.equal_bytes),
            "-" if (saving := _known(kind)) is None else format_size(saving.bytes_per_agent),
        )
        for kind in kinds
    )
    return Table("", ("kind", "alive", "built", "per agent", "of it equal", "at rest"), rows)


def _costs(kinds: Sequence[Kind]) -> Table:
    """How each cost is known."""
    rows = tuple(
        (
            kind.name,
            kind.class_name,
            kind.built_at.text if kind.built_at else "",
            interval(kind.per_agent.ci95_bytes, format_size),
            _HOW[kind.per_agent.how],
        )
        for kind in kinds
    )
    columns = ("kind", "class", "built by", "95 % interval", "cost by")
    return Table("how the cost of an agent is known", columns, rows, "prose")


def _ledgers(kinds: Sequence[Kind]) -> list[Table]:
    return [_ledger(kind) for kind in kinds[:_MOST_KINDS]]


def _ledger(kind: Kind) -> Table:
    agents = kind.ledger.agents
    rows = sorted(kind.ledger.rows, key=lambda row: -(row.private_bytes + row.shared_bytes))
    shown = [row for row in rows[:_MOST_ROWS] if row.private_bytes + row.shared_bytes]
    cells = [
        (row.component, format_size(row.private_bytes / agents), format_size(row.shared_bytes))
        for row in shown
    ]
    rest = rows[len(shown) :]
    if rest:
        private = sum(row.private_bytes for row in rest) / agents
        shared = sum(row.shared_bytes for row in rest)
        cells.append((f"{len(rest)} smaller ones", format_size(private), format_size(shared)))
    unexplained = kind.ledger.unexplained_bytes
    if kind.per_agent.how == "slope" and unexplained is not None:
        cells.append(("unexplained", format_size(unexplained / agents), ""))
    return Table(kind.name, ("component", "each, alone", "shared"), tuple(cells))


def _looks(looks: Sequence[Look]) -> Table:
    rows = tuple(
        (
            look.name,
            format_seconds(look.seconds),
            f"{look.agents:,}",
            format_size(look.held_bytes),
            format_size(look.private_bytes),
        )
        for look in looks
    )
    return Table("", ("at", "after", "agents", "they hold", "private memory"), rows)


def _operations(report: RunReport) -> Table:
    used = sorted(report.watched.operations, key=lambda each: -each.seconds)
    rows = tuple(
        (
            each.operation,
            f"{each.calls:,}",
            format_seconds(each.seconds),
            format_seconds(each.seconds / each.calls),
            format_size(each.kept_bytes),
        )
        for each in used
    )
    return Table("", ("operation", "calls", "time", "per call", "kept per call"), rows)


def _growth(report: RunReport) -> Iterator[str]:
    """Whether the process goes on growing while as many agents step."""
    found = report.watched.growth
    if found is None:
        return
    agents = counted(found.agents, "agent")
    steps = f"{agents}, steps {found.first_step:,} to {found.last_step:,}"
    if found.verdict is None or found.bytes_per_step is None:
        yield f"Growth: too few steps to tell ({steps})."
        return
    each = format_size(max(0.0, found.bytes_per_step))
    floor = ""
    if found.floor_bytes is not None:
        floor = f"; {format_size(found.floor_bytes)} would have been found"
    match found.verdict:
        case "leak":
            yield (
                f"Growth: the process grows by {each} per step of all agents ({steps}). "
                "memprof leak names the lines."
            )
        case "clean":
            yield f"Growth: none per step ({steps}{floor})."
        case _:
            yield f"Growth: not decided, {each} per step so far ({steps}); let it run for longer."


def _savings(kinds: Sequence[Kind]) -> Iterator[str]:
    """Kind by kind what was measured beside living agents."""
    for kind in kinds:
        found = kind.saving
        if found is None:
            continue
        if found.refused:
            yield f"{kind.name}: cannot be stored. {found.refused}."
            continue
        same = "came back the same, bit by bit" if found.exact else "did NOT come back the same"
        yield (
            f"{kind.name}: {format_size(found.bytes_per_agent)} at rest under the pass template, "
            f"{format_seconds(found.seconds_per_use)} per use; "
            f"{counted(found.agents, 'agent')} {same}."
        )


def _compiling(found: Compiling | None) -> Iterator[Section]:
    """What JAX traced and compiled, and which lines asked for it."""
    if found is None:
        return
    text = (
        f"JAX traced {counted(found.traces, 'function')} and compiled "
        f"{counted(found.compilations, 'program')} in {format_seconds(found.seconds)}. A line that "
        "traces in every step compiles anew, and JAX keeps what it compiled."
    )
    lines = ((each, f"{each.traces:,}") for each in found.lines)
    yield Section("JAX", (text,), (source_table("", "traces", lines),))


def _process(report: RunReport) -> Iterator[str]:
    watched = report.watched
    if watched.peak_bytes is not None:
        yield (
            f"The process ran for {format_seconds(watched.seconds)} and took "
            f"{format_size(watched.peak_bytes)} at most (RSS); it began with "
            f"{format_size(watched.start_bytes)} of private memory."
        )
    if watched.looks:
        yield f"Looking at agents took {format_seconds(watched.watch_seconds)} of its time."


def _timeline(report: RunReport) -> Chart | None:
    moments = report.watched.timeline
    if len({moment.seconds for moment in moments}) < 2:
        return None
    points = tuple((moment.seconds, float(moment.private_bytes)) for moment in moments)
    return Chart(
        title="Private memory of the process",
        alt="Private memory of the program's process against time, with the looks at its agents",
        x_label="seconds",
        unit="bytes",
        series=(Series("private memory", points, joined=True),),
        moments=tuple(
            Moment(look.seconds, f"{look.name}: {counted(look.agents, 'agent')}")
            for look in report.watched.looks
        ),
        x_unit="seconds",
    )


def _next(report: RunReport) -> Next | None:
    """The line to add, where agents take much less at rest."""
    for kind in report.kinds:
        saving = _known(kind)
        if saving is None or saving.bytes_per_agent is None:
            continue
        if saving.bytes_per_agent < _WORTH * kind.per_agent.bytes:
            return Next(
                "Keep them at rest until they are used. In the program, after they are built:",
                "population = memprof.optimize(agents)",
            )
    return None
