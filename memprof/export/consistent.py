"""What the fields of a report must have to do with each other, beyond each one's type.

A report is a file, which somebody may have cut, merged or written by hand. What its views, formats
and comparisons take for granted is checked once, where it is read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from msgspec import Struct

from memprof.catalogue.passes import OPTIONS
from memprof.text import cut, shown
from memprof.values.density import DensityReport
from memprof.values.distributed import Distributed
from memprof.values.gate import read_tolerances
from memprof.values.instruments import MOST_COUNT
from memprof.values.leak import Leak, LeakReport
from memprof.values.measurements import Sample
from memprof.values.profile import Report, Variant
from memprof.values.report import (
    BaseReport,
    PerAgent,
    ScenarioFields,
    ScenarioReport,
    V,
    VariantName,
    Variants,
)

Problem = tuple[str, str]
"""The path of a field, and what is wrong with it."""
_MOST_FRAMES = 500


def problems(report: BaseReport) -> Iterator[Problem]:
    """Everything that contradicts something else, the nearest to the beginning first."""
    yield from _intervals(report, "")
    if isinstance(report, ScenarioReport):
        yield from _scenario(report.scenario)
    match report:
        case Report():
            yield from _profile(report)
        case LeakReport():
            yield from _leak(report)
        case DensityReport():
            yield from _density(report)


def _intervals(value: Any, path: str) -> Iterator[Problem]:
    """Intervals that end before they begin."""
    if isinstance(value, tuple):
        for number, each in enumerate(value):
            if isinstance(each, Struct | tuple):
                yield from _intervals(each, f"{path}.{number}")
    elif isinstance(value, Struct):
        for name in value.__struct_fields__:
            found, where = getattr(value, name), f"{path}.{name}".removeprefix(".")
            if "ci95" in name and isinstance(found, tuple) and found[0] > found[1]:
                yield where, f"expected an interval, found {found[0]:g} .. {found[1]:g}"
            else:
                yield from _intervals(found, where)


def _between(path: str, found: float, least: float, most: float) -> Iterator[Problem]:
    if not least <= found <= most:
        yield path, f"expected {least:,} to {most:,}, found {found:,}"


def _scenario(scenario: ScenarioFields) -> Iterator[Problem]:
    """What passes were told, and tolerances."""
    for name, value in scenario.options.items():
        kind = OPTIONS[name].kind if name in OPTIONS and value is not None else ""
        if kind == "names" and not isinstance(value, tuple):
            yield f"scenario.{name}", f"expected a list of names, found {shown(value)}"
        if kind in ("count", "size") and not (isinstance(value, int) and 1 <= value <= MOST_COUNT):
            yield f"scenario.{name}", f"expected a whole number, 1 or more, found {shown(value)}"
    try:
        read_tolerances(scenario.tolerances)
    except ValueError as error:
        yield "scenario.tolerances", cut(str(error), 200)


# ---------------------------------------------------------------- profile


def _profile(report: Report) -> Iterator[Problem]:
    yield from _distributed(report.distributed)
    found = [each.name for each in report.kinds]
    for name, variant in _both(report.variants):
        yield from _variant(variant, f"variants.{name}")
        names = [each.name for each in variant.kinds]
        some = not report.complete and name == "after" and {*names} <= {*found}
        if names != found and not some:
            yield f"variants.{name}.kinds", f"expected {_names(found)}, found {_names(names)}"


def _distributed(found: Distributed | None) -> Iterator[Problem]:
    if found is None:
        return
    yield from _cost(found.per_agent, "distributed.per_agent")
    for name in ("shards", "agents"):
        whole, parts = getattr(found, name), sum(getattr(each, name) for each in found.nodes)
        if parts != whole:
            yield f"distributed.{name}", f"expected {parts:,}, as nodes have it, found {whole:,}"


def _both(variants: Variants[V]) -> Iterator[tuple[VariantName, V]]:
    """What is there, with passes or without."""
    yield "before", variants.before
    if variants.after is not None:
        yield "after", variants.after


def _names(kinds: Sequence[str]) -> str:
    return cut(", ".join(kinds), 200) or "none"


def _variant(variant: Variant, path: str) -> Iterator[Problem]:
    yield from _cost(variant.per_agent, f"{path}.per_agent")
    for number, sample in enumerate(variant.samples):
        yield from _sample(sample, f"{path}.samples.{number}")
    for number, stack in enumerate(variant.hotspots.stacks):
        where = f"{path}.hotspots.stacks.{number}.frames"
        yield from _between(where, len(stack.frames), 0, _MOST_FRAMES)
    for number, kind in enumerate(variant.kinds):
        yield from _variant(kind, f"{path}.kinds.{number}")
    if variant.timeline is not None:
        seconds = [each.seconds for each in variant.timeline.samples]
        yield from _rising(f"{path}.timeline.samples", "seconds", seconds)


def _cost(cost: PerAgent, path: str) -> Iterator[Problem]:
    low, high = cost.ci95_bytes
    if not low <= cost.marginal_bytes <= high:
        yield f"{path}.marginal_bytes", f"expected {low:g} to {high:g}, as ci95_bytes has it"
    if cost.resolved and low <= 0 <= high:
        yield f"{path}.resolved", "is true, but ci95_bytes includes 0"


def _sample(sample: Sample, path: str) -> Iterator[Problem]:
    sizes = [each.agents for each in sample.points]
    if len(set(sizes)) < 2:
        yield (
            f"{path}.points",
            f"expected two sizes of the population or more, found {len(set(sizes))}",
        )
    yield from _rising(f"{path}.points", "agents", sizes)
    if len(sample.step_cpu_seconds) < sample.batches:
        found = len(sample.step_cpu_seconds)
        yield f"{path}.step_cpu_seconds", f"expected {sample.batches} or more, found {found}"


def _rising(path: str, what: str, values: Iterable[float]) -> Iterator[Problem]:
    """In the order in which they were measured."""
    last = None
    for number, value in enumerate(values):
        if last is not None and value < last:
            yield f"{path}.{number}.{what}", f"expected {last:g} or more, found {value:g}"
            return
        last = value


# ---------------------------------------------------------------- leak, density


def _leak(report: LeakReport) -> Iterator[Problem]:
    yield from _mode("leak", report.leak)
    for number, each in enumerate(report.also):
        yield from _mode(f"also.{number}", each)


def _mode(path: str, leak: Leak) -> Iterator[Problem]:
    """What is known of one way of living."""
    left_out, repeats = leak.warm_up_cycles, leak.repeats
    if not leak.signals:
        yield f"{path}.signals", "expected one or more, found none"
        return
    if leak.verdict == "leak" and all(each.verdict != "leak" for each in leak.signals):
        yield f"{path}.signals", f"expected one that leaks, as {path}.verdict says, found none"
    if len(left_out) != repeats or not repeats:
        yield f"{path}.warm_up_cycles", f"expected one for each of {repeats} repeats, 1 or more"
    lengths = [len(each) for each in leak.signals[0].series]
    for number, signal in enumerate(leak.signals):
        if len(signal.series) != len(left_out):
            yield (
                f"{path}.signals.{number}.series",
                f"expected one for each of {len(left_out)} repeats, found {len(signal.series)}",
            )
        elif [len(each) for each in signal.series] != lengths:
            yield (
                f"{path}.signals.{number}.series",
                f"expected as many readings as {path}.signals.0.series has",
            )
    for number, (cut_off, length) in enumerate(zip(left_out, lengths, strict=False)):
        yield from _between(f"{path}.warm_up_cycles.{number}", cut_off, 0, max(0, length - 1))
        if not length:
            yield f"{path}.signals.0.series.{number}", "expected one reading or more, found none"


def _density(report: DensityReport) -> Iterator[Problem]:
    yield from _distributed(report.distributed)
    there = dict(_both(report.variants))
    sizes = {
        name: [each.agents for each in report.density.points if each.variant == name]
        for name in there
    }
    names = [each.variant for each in report.density.capacity]
    if names != list(there):
        yield "density.capacity", f"expected {' and '.join(there)}, found {' and '.join(names)}"
    for name, variant in there.items():
        yield from _cost(variant.per_agent, f"variants.{name}.per_agent")
        for what, found in (
            ("agents_per_gib", variant.agents_per_gib),
            ("baseline_bytes", variant.baseline_bytes),
        ):
            if not found > 0:
                yield f"variants.{name}.{what}", f"expected more than 0, found {found:g}"
        if not sizes[name]:
            yield "density.points", f"expected sizes of the population {name}, found none"
        yield from _rising("density.points", "agents", sizes[name])
    if len({min(each) for each in sizes.values() if each}) > 1:
        yield "density.points", "expected sizes that both populations had"
    for number, capacity in enumerate(report.density.capacity):
        room, path = capacity.room, f"density.capacity.{number}.room"
        if capacity.verification is not None and room.expected < 1:
            yield f"{path}.expected", f"expected 1 or more, found {room.expected}"
