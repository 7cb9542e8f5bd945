"""The predecessor's benchmarks on real agents, beside what it published."""

from __future__ import annotations

from collections.abc import Iterator

from memprof.render.page import Section, Table
from memprof.text import format_seconds, format_size
from memprof.values.density import DensityReport, ThreadsRow
from memprof.values.profile import VariantName

SOURCE = "FreeAgentics, July 2025"


def threads_section(report: DensityReport) -> Section:
    """Throughput of several threads against one."""
    rows = tuple(map(_threads_row, report.density.threads))
    first = report.density.threads[0]
    text = [
        f"{first.agents} agents x {first.steps} steps, dealt out to {first.threads} threads, "
        "against one thread, in blocks by turns; a step of one agent is one operation. The ratio "
        "is the median over neighbouring blocks, with its 95 % interval. Every thread has its own "
        "generator of random numbers, so agents do what they do in one thread. Growth is of the "
        "process over all steps, in a worker with one malloc arena (MALLOC_ARENA_MAX=1).",
    ]
    for each in report.density.threads:
        if each.running < each.threads:
            text.append(
                f"{each.variant}: {each.running} of the {each.threads} threads ran at one time; "
                "more, which have to share Python's interpreter, did not pay."
            )
    columns = ("", "one thread", f"{first.threads} threads", "ratio", "interval", "growth")
    return Section("Threads", tuple(text), (Table("", columns, rows),))


def _threads_row(row: ThreadsRow) -> tuple[str, ...]:
    low, high = row.ratio_ci95
    return (
        row.variant,
        f"{row.one_thread_per_second:,.0f}/s",
        f"{row.threads_per_second:,.0f}/s",
        f"{row.ratio:.2f} x",
        f"{low:.2f} .. {high:.2f}",
        format_size(row.growth_bytes, signed=True),
    )


def suite_section(report: DensityReport) -> Section:
    """Each benchmark with what was published and what is measured here, and how."""
    columns = ("benchmark", "published", "before", "after")
    rows = tuple(_rows(report))
    text = (
        f"Published: {SOURCE}. Its agents were mocks; its bytes were summed up by counters that "
        "left out the matrices; its throughput was that of the mocks.",
        "Before and after: PyMDP's own agents in fresh processes. Bytes are what the process grew "
        "by in USS, with every agent alive, divided by the agents; of one agent alone no pass can "
        "save anything, since the first agent becomes the template. Operations are whole steps, "
        "seconds wall-clock.",
    )
    return Section("The predecessor's benchmarks", text, (Table("", columns, rows, "prose"),))


_NAMES: tuple[VariantName, ...] = ("before", "after")


def _rows(report: DensityReport) -> Iterator[tuple[str, ...]]:
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
        yield ("memory growth over them", "+0.3 MB", *grown)
    spent = [format_seconds(each.optimise_seconds if each else None) for each in variants]
    yield ("to optimise an agent", "9.2 ms", *spent)


def _per_agent(report: DensityReport, agents: int) -> list[str]:
    rows = {row.variant: row for row in report.density.points if row.agents == agents}
    return [format_size(rows[name].per_agent_bytes) if name in rows else "-" for name in _NAMES]
