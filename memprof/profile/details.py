"""Sections of a profile: its instruments, its passes, and what JAX holds and traces anew."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import median

from memprof.catalogue.passes import AUTO
from memprof.profile.passes import NOTHING_CLAIMED
from memprof.profile.pictures import instrument_bars, passes_waterfall
from memprof.render import Role, Section, Table, figure_rows, source_table, working_set_line
from memprof.text import counted, format_seconds, format_size
from memprof.values.figures import ACCOUNT, DEVICE
from memprof.values.instruments import DeviceDetails
from memprof.values.profile import InstrumentReading, PassResult, Report, Variant

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


def passes_section(report: Report) -> Iterator[Section]:
    """The waterfall from before to after, then the passes that are not in the plan; none where
    there are no passes."""
    if not report.passes:
        return
    kept = [each for each in report.passes if each.kept]
    left = [each for each in report.passes if not each.kept]
    before = format_size(report.variants.before.per_agent.marginal_bytes)
    columns = ("", "claim", "per agent", "saved", "time", "outcome")
    rows = (("before", "", before, "", "", ""), *(_row(each) for each in kept))
    tables, text = [], []
    if kept:
        tables.append(Table("", columns, rows))
        text.append(
            "Each row is the plan up to this pass: what an agent costs, and what the pass adds "
            "to the plan before it (bytes saved, time per step as a factor)."
        )
        if report.scenario.passes == (AUTO,):
            text.append(
                "auto tried these plans in one worker, one after the other: what an agent costs is "
                "what it holds there by the ledger. Before and after are measured by the process."
            )
    text += [f"{each.name}: {each.detail}." for each in kept]
    after = report.variants.after
    if after is not None and after.working_set is not None:
        text.append(working_set_line(after.working_set))
    if left:
        names = ("pass", "outcome", "why")
        reasons = tuple((each.name, _outcome(each), each.detail) for each in left)
        tables.append(Table("left out by auto", names, reasons, "prose"))
        text.append(
            "auto tries the passes that claim to be exact, up to the order of sums, and keeps "
            "those that help, behave as claimed and stay within max_slowdown "
            f"({report.scenario.max_slowdown:g}) of the time per step before."
        )
    drawn = passes_waterfall(report)
    yield Section("Passes", tuple(text), tuple(tables), pictures=(drawn,) if drawn else ())


def _row(found: PassResult) -> tuple[str, ...]:
    return (
        found.name,
        found.claim,
        f"{'' if found.at_most_bytes == found.marginal_bytes else '< '}"
        f"{format_size(found.at_most_bytes)}",
        _saved(found),
        "-" if found.step_time_ratio is None else f"{found.step_time_ratio:.2f} x",
        _outcome(found),
    )


def _saved(found: PassResult) -> str:
    if found.outcome in NOTHING_CLAIMED:
        return "-"
    if found.saved_bytes_per_agent is None:
        return "below resolution"
    unsure = (found.at_most_bytes or 0.0) - (found.marginal_bytes or 0.0)
    saved = format_size(max(0.0, found.saved_bytes_per_agent - unsure))
    return f"> {saved}" if unsure else format_size(found.saved_bytes_per_agent)


def _outcome(found: PassResult) -> str:
    return found.outcome.replace("_", " ")


_DEVICE_TEXT = (
    "Live JAX arrays, each buffer counted once: private bytes belong to one agent (shown per "
    "agent), shared bytes to several (shown in total). Compiled programs and caches are what "
    "jax.clear_caches() frees after the scenario's steps. JAX traces and compiles what it has not "
    "seen before; if agents still cause this in later steps, its caches grow with every step.",
    "XLA's account of a call is known before it runs (memory_analysis): arrays that go in and come "
    "out, those that are there only meanwhile, and code, which a CPU's compiler does not tell. "
    "What is measured beside it also has what it takes to compile the program, or to load it where "
    "an earlier worker compiled it.",
)


def device_section(report: Report) -> Iterator[Section]:
    """What the instrument `device` found in each variant; none where it was not asked for."""
    found = [(name, v.device) for name, v in report.variants.named() if v.device is not None]
    if not found:
        return
    tables = [_arrays(name, details) for name, details in found]
    tables.append(_figures(found))
    tables += _accounts(report)
    tables += [_lines(name, details) for name, details in found if details.retraces]
    yield Section("Device", _DEVICE_TEXT, tuple(tables))


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
    return Table(f"{name}, live arrays of {counted(details.agents, 'agent')}", columns, tuple(rows))


def _figures(found: Sequence[tuple[str, DeviceDetails]]) -> Table:
    steps = found[0][1].first_steps  # the same in all variants, as their loop is
    first = "in the first step" if steps == 1 else f"in the first {steps} steps"
    rows = list(figure_rows(DEVICE, [details for _, details in found], first=first))
    for stat in dict.fromkeys(stat for _, details in found for stat in details.memory_stats):
        values = [details.memory_stats.get(stat) for _, details in found]
        rows.append((f"device: {stat}", *(_stat(stat, value) for value in values)))
    return Table("", ("", *(name for name, _ in found)), tuple(rows))


def _accounts(report: Report) -> Iterator[Table]:
    """What XLA says of a call of the program that agents live by, and what was measured; none
    where no variant has such a program."""
    found = [(name, v) for name, v in report.variants.named() if v.device and v.device.account]
    if not found:
        return
    accounts = [v.device.account for _, v in found if v.device and v.device.account]
    rows = [
        *figure_rows(ACCOUNT, accounts),
        ("measured: peak above the population at rest", *(_above_rest(v) for _, v in found)),
    ]
    title = "one call of the compiled program, by XLA's account"
    yield Table(title, ("", *(name for name, _ in found)), tuple(rows))


def _above_rest(variant: Variant) -> str:
    """Of the clean workers, which compile the program or load it, too."""
    above = [
        each.peak_rss_bytes - each.at_n.reading.rss_bytes
        for each in variant.samples
        if each.peak_rss_bytes is not None
    ]
    return format_size(max(0.0, median(above))) if above else "-"


def _lines(name: str, details: DeviceDetails) -> Table:
    lines = ((each, f"{each.traces_per_step:.3g}") for each in details.retraces)
    return source_table(f"{name}, lines that retrace", "traces per step", lines)


def _stat(name: str, value: int | None) -> str:
    """An entry of `memory_stats()`; JAX names its counts `num_…`, all others are bytes."""
    if value is None or not name.startswith("num_"):
        return format_size(value)
    return f"{value:,}"
