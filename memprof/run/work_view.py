"""What a run's view shows of what the program did: PyMDP's operations, and JAX's work."""

from __future__ import annotations

from collections.abc import Iterator

from memprof.render import Section, Table, source_table
from memprof.text import counted, format_seconds, format_size
from memprof.values.watch import Compiling, RunReport


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


def compiling_section(found: Compiling | None) -> Iterator[Section]:
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
