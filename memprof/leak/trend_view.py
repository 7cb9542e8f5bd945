"""The trend of a leak check: what each reading did from cycle to cycle, and what it amounts to."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from memprof.leak.words import WHILE
from memprof.render import Band, Chart, Section, Series, Table, interval
from memprof.text import counted, format_size, listed
from memprof.values.leak import HEAP, Leak, Signal

_LEAST_SPAN_BYTES = 100.0
_READINGS = (
    "Readings are taken after each cycle and garbage collection: native is what malloc has "
    "allocated, python what Python's small-object allocator has allocated, objects the number of "
    "its blocks; process is the private memory of the process, mapped its mappings of files and "
    "shared memory, device JAX's live arrays. The floor is the smallest steady gain per cycle "
    "that every repeat would have found. Descriptors, threads and the like are counted, and one in "
    "each cycle is found."
)


def trend_section(leak: Leak, others: Sequence[Leak], *, explained: bool = True) -> Section:
    """What the readings say in one mode, beside `others`; what they are is `explained` once."""
    text = [_counted(leak)]
    if leak.history_steps is not None:
        text.append(
            "PyMDP appends to an agent's histories in every step and never drops an entry. This "
            "known growth is left out: here the pass history keeps only the last "
            f"{counted(leak.history_steps, 'step')}. --mode steps counts it."
        )
    if leak.verdict != "inconclusive" and leak.detail:  # else the headline says it
        text.append(f"{leak.detail[0].upper()}{leak.detail[1:]}.")
    if leak.compilations_per_cycle is not None:
        text.append(f"Programs that JAX compiles per cycle: {leak.compilations_per_cycle:.3g}.")
    if leak.verdict == "leak" and any(
        s.name == "process" and s.verdict == "leak" and s.per_cycle == leak.bytes_per_cycle
        for s in leak.signals
    ):
        text.append(
            "The process gains more than its allocators have allocated: directly mapped memory, "
            "such as for threads, or fragmentation."
        )
    if explained:
        text.append(_READINGS)
    columns = ("reading", "verdict", "per cycle", "95 % interval", "floor")
    shown = [each for each in leak.signals if not _is_steady(each)]
    steady = [words.many for each in leak.signals if _is_steady(each) and (words := each.counted)]
    if steady:
        text.append(f"Counted as well, and steady: {listed(steady)}.")
    table = Table("", columns, tuple(map(_signal_row, shown)))
    charts = tuple(_charts(leak))
    title = f"Trend, {WHILE[leak.mode]}: {leak.verdict}" if others else "Trend"
    return Section(title, tuple(text), (table,), charts, tuple(_every_signal(leak)))


def _is_steady(signal: Signal) -> bool:
    """Whether it is a count of which there is nothing to say."""
    return signal.counted is not None and signal.verdict == "clean"


def _counted(leak: Leak) -> str:
    """How many cycles count, and how many were left out, in each repeat."""
    lengths = [len(series) - 1 for series in leak.signals[0].series]
    cycles = [n - left for n, left in zip(lengths, leak.warm_up_cycles, strict=True)]
    repeats = counted(leak.repeats, "repeat") + (", each in a fresh worker" * (leak.repeats > 1))
    return (
        f"Counted cycles: {_listed(cycles)}, after a warm-up of {_listed(leak.warm_up_cycles)}, "
        f"in {repeats}. At least {leak.cycles} were requested; a rising reading is watched for "
        "twice as many."
    )


def _listed(numbers: Sequence[int]) -> str:
    """`10, 12 and 11`, or `10` where all are."""
    return listed([str(each) for each in (numbers if len(set(numbers)) > 1 else numbers[:1])])


def _charts(leak: Leak) -> Iterator[Chart]:
    """The first repeat of the heap, or of what grows where the heap does not."""
    drawn = [each for each in leak.signals if each.name in HEAP]
    if leak.verdict == "leak" and all(each.verdict != "leak" for each in drawn):
        drawn = [each for each in leak.signals if each.verdict == "leak"][:1] or drawn
    if not drawn:
        return
    readings = [sum(values) for values in zip(*(each.series[0] for each in drawn), strict=True)]
    left_out = leak.warm_up_cycles[0]
    counted = len(readings) - 1 - left_out
    if counted < 1:
        return
    start = readings[left_out]
    points = tuple((float(cycle), float(each - start)) for cycle, each in enumerate(readings))
    names = " + ".join(each.name for each in drawn)
    of_bytes = all(each.in_bytes for each in drawn)
    gained = points[-1][1]
    said = format_size(gained, signed=True) if of_bytes else f"{gained:+,.0f}"
    yield Chart(
        title=f"{names} after each cycle, repeat 1",
        alt=f"{names} gains {said} in {counted} counted cycles",
        x_label="cycle",
        unit="change" if of_bytes else "count",
        series=(
            Series("counted", points[left_out:]),
            Series("left out", points[:left_out], fits=False, role="quiet"),
        ),
        bands=_gain(drawn, leak, left_out, counted),
        least_span=max(_LEAST_SPAN_BYTES, counted * (leak.floor_bytes or 0.0)) if of_bytes else 1.0,
    )


def _gain(drawn: Sequence[Signal], leak: Leak, left_out: int, counted: int) -> tuple[Band, ...]:
    """The interval of the gain per cycle, over the counted cycles."""
    whole_heap = all(each.name in HEAP for each in drawn)
    low, high = leak.ci95_bytes if whole_heap else drawn[0].ci95
    ends = ((left_out + cycle, cycle * low, cycle * high) for cycle in range(counted + 1))
    return (Band("95 % interval of the gain", tuple(ends)),)


def _every_signal(leak: Leak) -> Iterator[Chart]:
    """Each reading in every repeat, since the first counted one."""
    for signal in leak.signals:
        if _is_steady(signal):
            continue
        series = []
        for number, (readings, cut) in enumerate(
            zip(signal.series, leak.warm_up_cycles, strict=True), 1
        ):
            start = readings[min(cut, len(readings) - 1)]
            points = tuple((float(n), float(each - start)) for n, each in enumerate(readings))
            series.append(Series(f"repeat {number}", points[cut:], joined=True))
            series.append(Series("", points[:cut], fits=False, role="quiet"))
        known = tuple(each for each in series if each.points)
        if sum(len(each.points) for each in known if each.fits) > 1:
            yield Chart(
                title=f"{signal.name}: {signal.verdict}",
                alt=f"{_gained(signal)} per cycle",
                x_label="cycle",
                unit="change" if signal.in_bytes else "count",
                series=known,
                least_span=_LEAST_SPAN_BYTES if signal.in_bytes else 10.0,
            )


def _gained(signal: Signal) -> str:
    if not signal.in_bytes:
        return f"{signal.per_cycle:+,.1f}"
    return format_size(signal.per_cycle, signed=True)


def _signal_row(signal: Signal) -> tuple[str, ...]:
    show: Callable[[float], str] = format_size if signal.in_bytes else "{:,.1f}".format
    return (
        signal.name,
        signal.verdict,
        _gained(signal),
        interval(signal.ci95, show),
        "-" if signal.floor is None else show(signal.floor),
    )
