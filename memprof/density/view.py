"""The view of a density report that all formats for people share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from memprof.catalogue.backends import BACKENDS
from memprof.density.pictures import (
    capacity_bars,
    count,
    limit_bars,
    memory_charts,
    rate,
    shown_sizes,
    speed_chart,
)
from memprof.profile.next_step import applied
from memprof.profile.shards_view import brief_shards, shards_section
from memprof.render import (
    Next,
    Section,
    Table,
    View,
    brief_warnings,
    budget_line,
    environment_section,
    figure_rows,
    warnings_section,
    working_set_line,
)
from memprof.text import counted, format_limit, format_seconds, format_size, listed
from memprof.values.density import (
    Capacity,
    DensityReport,
    DensityVariant,
    Room,
    SizeRow,
    ThreadsRow,
    Verification,
)
from memprof.values.figures import DENSITY
from memprof.values.report import VariantName

T = TypeVar("T")
Columns = Mapping[str, Callable[[T], str]]
"""The columns of a table, with what each shows of a row."""

_PLAIN_RATIO = 10
_BRIEF_LINES = 4
_SOURCE = "FreeAgentics, July 2025"  # the predecessor's own figures
_NAMES: tuple[VariantName, ...] = ("before", "after")
_BOUNDS = {
    "--memory-limit": "--memory-limit",
    "RLIMIT_DATA": "the shell's limit on data (ulimit -d)",
    "RLIMIT_AS": "the shell's limit on address space (ulimit -v)",
    "cgroup": "what is left in the control group",
    "machine": "the machine's free memory",
}


def density_view(report: DensityReport) -> View:
    """What a person reads of a density report, in the order in which it matters."""
    sections = [
        _capacity(report),
        *warnings_section(report.warnings),
        *([_suite_section(report)] if report.density.suite else []),
        *shards_section(report.distributed),
        _sweep(report),
        *([_threads_section(report)] if report.density.threads else []),
        environment_section(report.environment),
    ]
    scenario = report.scenario
    largest = max(variant.lived for _, variant in report.variants.named())
    steps = counted(scenario.steps, "step")
    title = f"{scenario.name}: up to {counted(largest, 'agent')}, {steps} each"
    capacity = replace(sections[0], title="", text=sections[0].text[:_BRIEF_LINES])
    shards = brief_shards(report.distributed)
    brief = (capacity, *shards, *brief_warnings(report.warnings))
    picture = capacity_bars(report)
    return View(title, headline(report), tuple(sections), picture, _next(report), brief)


def _next(report: DensityReport) -> Next:
    """How to have as many: with the passes, or by looking for some."""
    after = report.variants.after
    if after is None or not after.passes:
        return Next(
            "See how many more fit with passes:", f"memprof density {report.named} --passes auto"
        )
    if report.equivalence.verdict not in ("exact", "bounded"):
        return Next("See which pass changes behaviour:", f"memprof profile {report.named}")
    names = listed(after.passes)
    room = {each.variant: each.room.agents for each in report.density.capacity}
    if len(room) == 2 and room["after"] <= room["before"]:
        return Next(
            f"No more agents fit with {names}; see what they hold:",
            f"memprof profile {report.named}",
        )
    gives = f"{names} {'makes' if len(after.passes) == 1 else 'make'} this possible"
    return applied(report.scenario, after.passes, gives)


def headline(report: DensityReport) -> str:
    """How many agents fit before and after, and how many times as many those are."""
    before, *after = (each.room for each in report.density.capacity)
    where = f"{format_limit(before.limit_bytes)} ({_BOUNDS[before.bound]}"
    said = f"{counted(before.agents, 'agent')} fit{'s' * (before.agents == 1)} in {where}"
    if not after or report.variants.after is None:
        return f"{said}; 95 % lower bound)."
    names = ", ".join(report.variants.after.passes)
    match report.equivalence.verdict:
        case "exact" | "bounded":
            fit = after[0].agents
            times = f" ({_times(fit / before.agents)} times as many)" if before.agents else ""
            return f"{said}); with {names} {count(fit)}{times}. Both are 95 % lower bounds."
        case "diverged":
            why = f"with {names} agents behave differently"
        case _:
            why = f"behaviour with {names} was not checked"
    return f"{said}; 95 % lower bound); {why}, so no capacity is claimed."


def _times(ratio: float) -> str:
    return count(ratio) if ratio >= _PLAIN_RATIO else f"{ratio:.2g}"


def _capacity(report: DensityReport) -> Section:
    variants, capacities = dict(report.variants.named()), report.density.capacity
    names = [
        f"{each} ({_passes(variants[each])})" if each == "after" else each for each in variants
    ]
    fitted = list(zip(variants.values(), (each.room for each in capacities), strict=False))
    rows = tuple(figure_rows(DENSITY, fitted))
    text = [f"Equivalence: {report.equivalence.verdict}: {report.equivalence.detail}."]
    if report.budget is not None:
        text.append(budget_line(report.budget))
    if any(each.room.transient_bytes is None for each in capacities):
        text.append("The transient peak is unknown here, and the capacity leaves it out.")
    text += [_verified(each) for each in capacities if each.verification is not None]
    text += [line for each in capacities for line in _other_bounds(each)]
    text += [_left(name, each) for name, each in variants.items() if each.left_bytes is not None]
    text += [working_set_line(v.working_set) for v in variants.values() if v.working_set]
    text.append(
        "Marginal and fixed are the slope and the intercept of USS against the number of agents. "
        "The capacity extrapolates that line from the largest measured population to the lowest "
        "bound, at the upper end of its interval, with the transient peak of building and "
        "stepping on top. Agents per GiB follow from the marginal cost alone, without interval, "
        "process and peak, so a GiB of the limit holds fewer. Files on disk do not count. "
        "--memory-limit is the RLIMIT_DATA of a worker, which also counts memory that "
        "is mapped and never touched: by agents, and by the process without them, which so takes "
        "more of the limit than its fixed cost."
    )
    columns = ("", *names)
    drawn = tuple(limit_bars(report))
    return Section("Capacity", tuple(text), (Table("", columns, rows),), pictures=drawn)


def _passes(variant: DensityVariant) -> str:
    names = variant.passes
    return names[0] if len(names) == 1 else counted(len(names), "pass", "passes")


def _left(name: VariantName, variant: DensityVariant) -> str:
    """What agents that leave give back."""
    empty, left = variant.baseline_bytes, variant.left_bytes or 0.0
    replaced = ""
    if variant.replaced:
        replaced = f"{counted(variant.replaced, 'agent')} left and as many came instead. "
    return (
        f"Turnover, {name}: {replaced}After the last one left, the process holds "
        f"{format_size(left)}, {left / empty - 1:+.1%} against {format_size(empty)} before the "
        "first one came."
    )


def _verified(capacity: Capacity) -> str:
    found, room = capacity.verification, capacity.room
    assert found is not None
    name, limit = capacity.variant, format_limit(room.limit_bytes)
    start = f"Verified, {name}: {counted(min(found.found, room.agents), 'agent')} lived in {limit}"
    match found.ended:
        case "memory":
            off = found.found / room.expected - 1
            held = "as predicted" if found.found >= room.agents else "fewer than predicted"
            return (
                f"{start}, {held}; the limit was reached at {count(found.found)}, {off:+.1%} from "
                f"the {count(room.expected)} that the line predicts."
            )
        case "reached":
            return f"{start}; a tenth more, {count(found.asked)}, fit too{_within(room, found)}."
        case _:
            return f"{start} within the time limit, of {count(room.agents)} predicted."


def _within(room: Room, found: Verification) -> str:
    most = "no upper end" if room.most is None else f"up to {count(room.most)}"
    inside = room.most is None or found.asked <= room.most
    return f", {'within' if inside else 'beyond'} the interval ({most})"


def _other_bounds(capacity: Capacity) -> Iterator[str]:
    for room in capacity.others:
        yield (
            f"Other bounds, {capacity.variant}: {count(room.agents)} in "
            f"{format_limit(room.limit_bytes)}, {_BOUNDS[room.bound]}."
        )


def _sweep(report: DensityReport) -> Section:
    tables: list[Table] = []
    sizes = {name: shown_sizes(report.density.points, name) for name, _ in report.variants.named()}
    for name, variant in report.variants.named():
        passes = f", with {', '.join(variant.passes)}" if variant.passes else ""
        tables.append(_table(f"memory, {name}{passes}", _MEMORY, sizes[name]))
    for name, rows in sizes.items():
        tables.append(_table(f"speed, {name}", _SPEED, [r for r in rows if r.steps_per_second]))
    backend = BACKENDS.get(report.scenario.backend)  # which may be another memprof's
    together = "as one computation" if backend and backend.together else "in turn, each once"
    text = (
        "Marginal is the growth per new agent since the row above, per agent the growth since the "
        "empty population, divided by all agents. Readings are taken at rest, after every agent "
        f"has run its steps. Then all agents step {together}; efficiency is their rate relative "
        "to that of the smallest population. Build is the time to build one agent, including the "
        "work of the passes.",
    )
    charts = tuple(memory_charts(report))
    return Section("Sweep", text, tuple(tables), charts, tuple(speed_chart(report)))


_MEMORY: Columns[SizeRow] = {
    "agents": lambda row: count(row.agents),
    "total (USS)": lambda row: format_size(row.total_bytes),
    "marginal": lambda row: format_size(row.marginal_bytes),
    "per agent": lambda row: format_size(row.per_agent_bytes),
    "peak (RSS)": lambda row: format_size(row.peak_bytes),
}
_SPEED: Columns[SizeRow] = {
    "agents": lambda row: count(row.agents),
    "steps/s": lambda row: rate(row.steps_per_second),
    "per agent": lambda row: rate(row.steps_per_second_per_agent),
    "efficiency": lambda row: "-" if row.efficiency is None else f"{row.efficiency:.0%}",
    "build": lambda row: format_seconds(row.build_seconds),
    "optimise": lambda row: format_seconds(row.optimise_seconds),
}


def _table(title: str, columns: Columns[T], rows: Sequence[T]) -> Table:
    cells = (tuple(show(row) for show in columns.values()) for row in rows)
    return Table(title, tuple(columns), tuple(cells))


def _threads_section(report: DensityReport) -> Section:
    """Throughput of several threads against one."""
    first = report.density.threads[0]
    text = [
        f"{counted(first.agents, 'agent')} x {counted(first.steps, 'step')}, divided among "
        f"{counted(first.threads, 'thread')} and "
        "compared with one thread, in alternating blocks; one operation is one step of one agent. "
        "The ratio is the median over neighbouring blocks, with its 95 % interval. Every thread "
        "has its own random number generator, so behaviour is the same as in one thread. Growth "
        "is that of the process over all steps, in a worker with one malloc arena "
        "(MALLOC_ARENA_MAX=1).",
    ]
    for each in report.density.threads:
        if each.running < each.threads:
            text.append(
                f"{each.variant}: {each.running} of the {each.threads} threads ran at the same "
                "time; more did not pay off, because they share Python's interpreter."
            )
    columns: Columns[ThreadsRow] = {
        "": lambda row: row.variant,
        "one thread": lambda row: f"{row.one_thread_per_second:,.0f}/s",
        f"{first.threads} threads": lambda row: f"{row.threads_per_second:,.0f}/s",
        "ratio": lambda row: f"{row.ratio:.2f} x",
        "interval": lambda row: "{:.2f} .. {:.2f}".format(*row.ratio_ci95),
        "growth": lambda row: format_size(row.growth_bytes, signed=True),
    }
    return Section("Threads", tuple(text), (_table("", columns, report.density.threads),))


def _suite_section(report: DensityReport) -> Section:
    """Each benchmark with what was published and what is measured here, and how."""
    columns = ("benchmark", "published", "before", "after")
    rows = tuple(_suite_rows(report))
    text = (
        f"Published: {_SOURCE}. Its agents were mocks, its bytes came from counters that left out "
        "the matrices, and its throughput was that of the mocks.",
        "Before and after: PyMDP's own agents in fresh processes. Bytes are the growth of the "
        "process in USS, with every agent alive, divided by the number of agents. No pass can "
        "save anything for a single agent, because the first agent becomes the template. "
        "Operations are whole steps, seconds are wall-clock time.",
    )
    return Section("The predecessor's benchmarks", text, (Table("", columns, rows, "prose"),))


def _suite_rows(report: DensityReport) -> Iterator[tuple[str, ...]]:
    yield ("one agent", "95.4 MB to 0.02 MB", *_per_agent(report, 1))
    yield ("50 agents, each", "0.016 MB", *_per_agent(report, 50))
    yield ("75 agents, each", "0.017 MB", *_per_agent(report, 75))
    variants = (report.variants.before, report.variants.after)
    costs = [format_size(each.per_agent.marginal_bytes) if each else "-" for each in variants]
    yield ("each further agent", "-", *costs)
    threads = {row.variant: row for row in report.density.threads}
    if threads:
        first, both = report.density.threads[0], [threads.get(name) for name in _NAMES]
        what = f"{first.agents} agents x {first.steps} operations, {first.threads} threads"
        rates = [f"{row.threads_per_second:,.0f}/s" if row else "-" for row in both]
        yield (what, "4,967/s", *rates)
        grown = [format_size(row.growth_bytes, signed=True) if row else "-" for row in both]
        yield ("memory growth meanwhile", "+0.3 MB", *grown)
    spent = [format_seconds(each.optimise_seconds if each else None) for each in variants]
    yield ("to optimise an agent", "9.2 ms", *spent)


def _per_agent(report: DensityReport, agents: int) -> list[str]:
    rows = {row.variant: row for row in report.density.points if row.agents == agents}
    return [format_size(rows[name].per_agent_bytes) if name in rows else "-" for name in _NAMES]
