"""The section on JAX: its live arrays, its compiled programs, and the lines that retrace."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from memprof.measurements import DeviceDetails
from memprof.reports.page import Section, Table
from memprof.units import format_size

_TEXT = (
    "Live JAX arrays, each buffer once: private belong to one agent each (here per agent), shared "
    "to several (here in total). Compiled programs and caches are the memory of the process that "
    "jax.clear_caches() frees after the scenario's steps. JAX traces and compiles what it has not "
    "seen before; an agent that still does so in later steps makes it remember more at every step.",
)


def device_section(found: Sequence[tuple[str, DeviceDetails]]) -> Section:
    """What the instrument `device` found in each variant, by its name."""
    tables = [_arrays(name, details) for name, details in found]
    tables.append(_figures(found))
    tables += [_lines(name, details) for name, details in found if details.retraces]
    return Section("Device", _TEXT, tuple(tables))


def _arrays(name: str, details: DeviceDetails) -> Table:
    rows = [
        (
            row.component,
            format_size(row.private_bytes + row.shared_bytes),
            format_size(row.private_bytes / details.agents),
            format_size(row.shared_bytes),
            f"{row.buffers:,}",
        )
        for row in details.rows
    ]
    if details.before_bytes:
        rows.append(("from before the first agent", format_size(details.before_bytes), "", "", ""))
    columns = ("component", "live", "private each", "shared", "buffers")
    return Table(f"{name}, live arrays of {details.agents} agents", columns, tuple(rows))


def _figures(found: Sequence[tuple[str, DeviceDetails]]) -> Table:
    steps = found[0][1].first_steps  # the same in all variants, as their loop is
    first = "in the first step" if steps == 1 else f"in the first {steps} steps"
    figures: list[tuple[str, Callable[[DeviceDetails], str]]] = [
        ("compiled programs and caches", lambda d: format_size(d.caches_bytes)),
        (f"traces {first}", lambda d: f"{d.first_traces:,}"),
        ("traces per later step", lambda d: _rate(d.traces_per_step)),
        (f"compilations {first}", lambda d: f"{d.first_compilations:,}"),
        ("compilations per later step", lambda d: _rate(d.compilations_per_step)),
    ]
    rows = [(label, *(show(details) for _, details in found)) for label, show in figures]
    for stat in dict.fromkeys(stat for _, details in found for stat in details.memory_stats):
        values = [details.memory_stats.get(stat) for _, details in found]
        rows.append((f"device: {stat}", *(_stat(stat, value) for value in values)))
    return Table("", ("", *(name for name, _ in found)), tuple(rows))


def _lines(name: str, details: DeviceDetails) -> Table:
    rows = tuple(
        (f"{each.path}:{each.line}", _rate(each.traces_per_step), each.text)
        for each in details.retraces
    )
    title = f"{name}, lines that retrace"
    return Table(title, ("line", "traces per step", "source"), rows, "source")


def _rate(count: float | None) -> str:
    return "-" if count is None else f"{count:.3g}"


def _stat(name: str, value: int | None) -> str:
    """An entry of `memory_stats()`; JAX names its counts `num_…`, all others are bytes."""
    if value is None or not name.startswith("num_"):
        return format_size(value)
    return f"{value:,}"
