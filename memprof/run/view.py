"""The view of what `memprof run` saw: which agents lived, what one costs, where it is, and when."""

from __future__ import annotations

from memprof.render import (
    Next,
    Section,
    Table,
    View,
    advice_section,
    brief_advice,
    brief_warnings,
    environment_section,
    warnings_section,
)
from memprof.run.agents_view import (
    cost_of,
    costs_table,
    growth_text,
    is_worth,
    kinds_table,
    known,
    ledgers,
    looks_table,
    process_text,
    savings_text,
    timeline,
)
from memprof.run.processes_view import brief_processes, in_processes, processes_section
from memprof.run.work_view import jax_sections, operations_table, sites_section
from memprof.text import counted, format_size, one_line
from memprof.values.run import RunReport
from memprof.values.watch import CELL, Kind


def run_view(report: RunReport) -> View:
    """What a person reads of a run, in the order in which it matters."""
    chart, todo = timeline(report), _next(report)
    kinds, ledger = kinds_table(report.kinds), ledgers(report.kinds)
    operations = operations_table(report)
    growth = tuple(growth_text(report.watched.growth, report.watched.sites))
    savings = tuple(savings_text(report.kinds))
    sections = [
        *(
            [Section("Kinds of agents", _budget(report), _of_kinds(report))]
            if report.kinds or report.budget
            else []
        ),
        *([Section("What they hold", (_LEDGER,), tuple(ledger))] if ledger else []),
        *([Section("Looks", (), (looks_table(report.watched.looks),))] if report.kinds else []),
        *([Section("Growth", growth)] if growth else []),
        *sites_section(report.watched.sites),
        *([Section("What a pass would make of them", savings)] if savings else []),
        *advice_section(report.advice),
        *([Section("Operations", (_OPERATIONS,), (operations,))] if operations.rows else []),
        *jax_sections(report),
        *processes_section(report),
        Section("Process", tuple(process_text(report)), charts=(chart,) if chart else ()),
        *warnings_section(report.warnings),
        environment_section(report.environment),
    ]
    brief = [
        *([Section("", _brief_budget(report), (kinds, *ledger[:1]))] if report.kinds else []),
        *brief_processes(report),
        *sites_section(report.watched.sites, brief=True),
        *brief_advice([each for each in report.advice if each.kind != "alike" or todo is None]),
        *([Section("Operations", growth, (operations,))] if operations.rows else []),
        *jax_sections(report, brief=True),
        *brief_warnings(report.warnings),
    ]
    title = f"{one_line(' '.join(report.program))}: {_ended(report)}"
    return View(title, headline(report), tuple(sections), chart, todo, tuple(brief))


_MOST_BUDGETS = 4
_LEDGER = (
    "Resident bytes where the system tells them, at the moment at which agents held most. Shared "
    "is what several agents have in common; it counts once, and is no part of what one costs."
)
_OPERATIONS = (
    "Calls of PyMDP's methods, each with those that it makes itself. Kept is how much larger the "
    "process is after a call than before it, the mean of one call in sixteen. At once is the most "
    "that one of so many calls had allocated at a time, of Python's and NumPy's memory."
)


def headline(report: RunReport) -> str:
    """How many agents of which kinds lived, what one costs, and how much of that others hold
    alike."""
    said = [_headline(report)] if report.kinds or not report.processes else []
    return " ".join([*said, *([in_processes(report.processes)] if report.processes else [])])


def _headline(report: RunReport) -> str:
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
    cost = cost_of(kind)
    equal = kind.equal_bytes / kind.per_agent.bytes if kind.per_agent.bytes else 0.0
    alike = f", {min(1.0, equal):.0%} of it equal to the others'" if kind.agents > 1 else ""
    if kind.grows_beyond:
        cost += f" of growth each, of which an agent itself holds {format_size(kind.alone_bytes)}"
    else:
        cost += " each"
    agents = counted(kind.agents, "agent")
    return f"{agents} of {kind.name} with {cost}{alike}{_under_a_pass(kind)}"


def _under_a_pass(kind: Kind) -> str:
    saving = known(kind)
    if saving is None:
        return ""
    size = format_size(saving.bytes_per_agent)
    if saving.pass_name == "template":
        return f"; at rest one would take {size}"
    return f"; shared, one would take {size}, and {format_size(saving.once_bytes)} once for all"


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


def _brief_budget(report: RunReport) -> tuple[str, ...]:
    lines = sorted(_budget(report), key=lambda line: "EXCEEDED" not in line)
    more = lines[_MOST_BUDGETS:]
    return (*lines[:_MOST_BUDGETS], *([f"{len(more)} further ones: --full."] if more else []))


def _of_kinds(report: RunReport) -> tuple[Table, ...]:
    return (kinds_table(report.kinds), costs_table(report.kinds)) if report.kinds else ()


def _next(report: RunReport) -> Next | None:
    """The line to add, where agents take much less under a pass."""
    for kind in filter(is_worth, report.kinds):
        if kind.backend == "numpy":
            return Next(
                "Keep them at rest until they are used. In the program, after they are built:",
                "population = memprof.optimize(agents)",
            )
        return Next(
            "Hold once what they have in common. Put what builds them into a scenario's factory "
            "(memprof help jax), with backend: jax, and measure that:",
            "memprof profile SCENARIO --passes share",
        )
    return None
