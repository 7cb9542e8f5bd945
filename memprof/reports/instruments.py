"""The section on instruments: what each says an agent costs, sees and is blind to."""

from __future__ import annotations

from collections.abc import Sequence

from memprof.reports.page import Role, Section, Table
from memprof.reports.profile_pictures import instrument_bars
from memprof.results import InstrumentReading, Variant
from memprof.units import format_seconds, format_size

_MOST_TYPES = 6
_TEXT = ("The same population, the same seeds, each instrument in its own worker.",)


def instruments_section(variants: Sequence[tuple[Role, Variant]]) -> Section:
    """The instruments side by side, for each variant by its name."""
    rows, about = [], []
    for first in variants[0][1].instruments:
        found = [
            next((each for each in variant.instruments if each.name == first.name), None)
            for _, variant in variants
        ]
        slowdown = "-" if first.slowdown is None else f"{first.slowdown:.2f} x"
        sizes = map(_per_agent, found)
        rows.append((first.name, *sizes, slowdown, format_seconds(first.reading_seconds)))
        about.append((first.name, first.sees, first.blind_to))
    columns = ("instrument", *(label for label, _ in variants), "step time", "a reading")
    tables = [
        Table("bytes per agent", columns, tuple(rows)),
        Table("", ("instrument", "sees", "is blind to"), tuple(about), "prose"),
    ]
    for label, variant in variants:
        tables += [_types(label, reading) for reading in variant.instruments if reading.types]
    drawn = instrument_bars(variants)
    return Section("Instruments", _TEXT, tuple(tables), pictures=(drawn,) if drawn else ())


def _per_agent(reading: InstrumentReading | None) -> str:
    if reading is None:
        return "-"
    return "failed" if reading.failure else format_size(reading.per_agent_bytes)


def _types(label: str, reading: InstrumentReading) -> Table:
    rows = tuple(
        (each.type_name, f"{each.objects:,}", format_size(each.size_bytes))
        for each in reading.types[:_MOST_TYPES]
    )
    return Table(f"{label}, objects by type ({reading.name})", ("type", "objects", "size"), rows)
