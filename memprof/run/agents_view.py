"""What a run's view shows of agents and of their process: tables, sentences and a chart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from memprof.render import Chart, Moment, Series, Table, interval
from memprof.text import counted, format_seconds, format_size
from memprof.values.run import RunReport
from memprof.values.watch import Growth, Kind, Look, Saving
from memprof.values.watch_sites import Sites

_MOST_KINDS, _MOST_ROWS = 6, 8
_WORTH = 0.8
"""Of what an agent costs: what takes more under a pass is not worth a line of code."""
_HOW = {
    "slope": "growth of the process as they were built",
    "ledger": "what one holds alone",
}


def known(kind: Kind) -> Saving | None:
    """What is known of such agents under a pass, if they are the same there."""
    return kind.saving if kind.saving is not None and kind.saving.exact else None


def is_worth(kind: Kind) -> bool:
    """Whether a pass makes agents of this kind so much smaller that it is worth a line of code."""
    saving = known(kind)
    each = None if saving is None else saving.each_of(kind.agents)
    return each is not None and each < _WORTH * kind.per_agent.bytes


def cost_of(kind: Kind) -> str:
    """Of one agent, or of the smallest and the largest."""
    if kind.sizes is None:
        return format_size(kind.per_agent.bytes)
    return " to ".join(map(format_size, kind.sizes))


def kinds_table(kinds: Sequence[Kind]) -> Table:
    """Of all kinds at a glance."""
    rows = tuple(
        (
            kind.name,
            f"{kind.agents:,}",
            f"{kind.built:,}",
            cost_of(kind),
            format_size(min(kind.equal_bytes, kind.per_agent.bytes)),
            "-" if (saving := known(kind)) is None else format_size(saving.bytes_per_agent),
        )
        for kind in kinds
    )
    return Table("", ("kind", "alive", "built", "per agent", "of it equal", "optimised"), rows)


def costs_table(kinds: Sequence[Kind]) -> Table:
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


def ledgers(kinds: Sequence[Kind]) -> list[Table]:
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
        cells.append((counted(len(rest), "smaller one"), format_size(private), format_size(shared)))
    unexplained = kind.ledger.unexplained_bytes
    if kind.per_agent.how == "slope" and unexplained is not None:
        cells.append(("unexplained", format_size(unexplained / agents), ""))
    return Table(kind.name, ("component", "each, alone", "shared"), tuple(cells))


def looks_table(looks: Sequence[Look]) -> Table:
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


def growth_text(found: Growth | None, sites: Sites | None = None) -> Iterator[str]:
    """Whether the process goes on growing while as many agents step, and at which line first."""
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
        floor = f"; floor {format_size(found.floor_bytes)}"
    match found.verdict:
        case "leak":
            yield (
                f"Growth: the process grows by {each} per step of all agents ({steps}). "
                f"{_first_of(sites)}"
            )
        case "clean":
            yield f"Growth of the process: none per step ({steps}{floor})."
        case _:
            yield f"Growth: not decided, {each} per step so far ({steps}); let it run for longer."


def _first_of(sites: Sites | None) -> str:
    """The first line that keeps memory, or how to learn of it."""
    if sites is None:
        return "memprof run --sites names the lines."
    return f"First at {sites.lines[0].where}." if sites.lines else "No line could be named."


def savings_text(kinds: Sequence[Kind]) -> Iterator[str]:
    """Kind by kind what was measured beside living agents."""
    for kind in kinds:
        found = kind.saving
        if found is None:
            continue
        if found.refused:
            cannot = "stored" if found.pass_name == "template" else "shared"
            yield f"{kind.name}: cannot be {cannot}. {found.refused}."
            continue
        if found.pass_name == "share":
            yield (
                f"{kind.name}: {format_size(found.bytes_per_agent)} of each agent's own under the "
                f"pass share, and {format_size(found.once_bytes)} once for all; "
                f"{counted(found.agents, 'agent')} compared with the first, bit by bit."
            )
            continue
        same = "came back the same, bit by bit" if found.exact else "did NOT come back the same"
        yield (
            f"{kind.name}: {format_size(found.bytes_per_agent)} at rest under the pass template"
            f"{_per_use(found)}; "
            f"{counted(found.agents, 'agent')} {same}."
        )


def _per_use(saving: Saving) -> str:
    """What it takes to use an agent, where that is known: not under --sites, which takes longer."""
    found = saving.seconds_per_use
    return "" if found is None else f", {format_seconds(found)} per use"


def process_text(report: RunReport) -> Iterator[str]:
    watched = report.watched
    if watched.peak_bytes is not None:
        yield (
            f"The process ran for {format_seconds(watched.seconds)} and took "
            f"{format_size(watched.peak_bytes)} at most (RSS); it began with "
            f"{format_size(watched.start_bytes)} of private memory."
        )
    if watched.looks:
        yield f"Looking at agents took {format_seconds(watched.watch_seconds)} of its time."


def timeline(report: RunReport) -> Chart | None:
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
