"""What a run's view shows of what the program did: PyMDP's operations, and JAX's work."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from memprof.render import Section, Table, source_table
from memprof.text import counted, format_seconds, format_size, listed
from memprof.values.run import RunReport
from memprof.values.watch import Look
from memprof.values.watch_jax import Rollout
from memprof.values.watch_sites import Sites

# On the screen, so many lines that trace; and so many parts of what a rollout returned.
_MOST_BRIEF, _MOST = 3, 3


def operations_table(report: RunReport) -> Table:
    used = sorted(report.watched.operations, key=lambda each: -each.seconds)
    rows = tuple(
        (
            each.operation,
            f"{each.calls:,}",
            format_seconds(each.seconds),
            format_seconds(each.seconds / each.calls),
            format_size(each.kept_bytes),
            format_size(each.peak_bytes) + (f" ({each.peaks})" if each.peaks else ""),
        )
        for each in used
    )
    columns = ("operation", "calls", "time", "per call", "kept per call", "at once")
    return Table("", columns, rows)


def jax_sections(report: RunReport, *, brief: bool = False) -> Iterator[Section]:
    """What JAX traced and compiled, what rollouts returned, and which arrays live."""
    watched = report.watched
    tables = [*_returned(watched.rollouts), *_arrays(watched.looks)]
    if (found := watched.compiling) is None:
        if tables:
            yield Section("JAX", (), tuple(tables))
        return
    text = (
        f"JAX traced {counted(found.traces, 'function')} and compiled "
        f"{counted(found.compilations, 'program')} in {format_seconds(found.seconds)}. A line that "
        "traces in every step compiles anew, and JAX keeps what it compiled."
    )
    lines = [(each, f"{each.traces:,} in {each.steps:,}") for each in found.lines]
    traced = source_table("", "traces in steps", lines[:_MOST_BRIEF] if brief else lines)
    yield Section("JAX", (text,), (traced, *tables))


def _returned(rollouts: Sequence[Rollout]) -> Iterator[Table]:
    if rollouts:
        rows = tuple(
            (
                each.at.place if each.at else "",
                f"{each.calls:,}",
                format_size(each.bytes_per_call),
                listed([f"{part.name} {format_size(part.bytes)}" for part in each.parts[:_MOST]]),
            )
            for each in rollouts
        )
        columns = ("line", "calls", "returned by each", "most of it")
        yield Table("what rollout returned", columns, rows, "prose")


def _arrays(looks: Sequence[Look]) -> Iterator[Table]:
    """At the look at which there were most."""
    most = max(looks, key=lambda look: sum(each.bytes for each in look.arrays), default=None)
    if most is not None and most.arrays:
        rows = tuple(
            (each.name, f"{each.count:,}", format_size(each.bytes)) for each in most.arrays
        )
        title = f"JAX's live arrays ({most.name})"
        yield Table(title, ("held by", "arrays", "bytes"), rows)


def sites_section(found: Sites | None, *, brief: bool = False) -> Iterator[Section]:
    """Which lines keep memory from step to step, where that was asked for."""
    if found is None:
        return
    if found.failed:
        yield Section("Sites", (f"No line can be named: {found.failed}.",))
        return
    steps = f"from step {found.first_step:,} to {found.last_step:,}"
    if not found.lines:
        yield Section("Sites", (f"No line keeps more and more {steps}.",))
        return
    text = (
        f"What stays in each step of all agents, {steps}, by the line that allocates it: "
        f"{format_size(found.traced_bytes_per_step)} in all, as tracemalloc sees it. Native memory "
        "and JAX's arrays are not seen."
    )
    if found.untraced_steps:
        text += f" {found.untraced_steps:,} steps were not traced, which would have taken too long."
    lines = found.lines[:_MOST_BRIEF] if brief else found.lines
    rows = tuple(
        (
            each.place,
            format_size(each.bytes_per_step),
            each.added_to or "-",
            each.caller.place if each.caller else "-",
            each.text,
        )
        for each in lines
    )
    columns = ("line", "per step", "added to", "called at", "source")
    yield Section("Sites", (text,), (Table("", columns, rows, "prose"),))
