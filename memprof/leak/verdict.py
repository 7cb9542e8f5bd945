"""The verdict on a population, from every signal of every repeat. Pure."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from memprof.leak.words import grows_in_memory
from memprof.posix import PAGE_BYTES
from memprof.stats import growth
from memprof.stats.growth import GRAIN_BYTES, CycleSeries, Judgement
from memprof.stats.lines import mean_of_known
from memprof.values.instruments import UNSEEN
from memprof.values.leak import (
    COUNTS,
    HEAP,
    Attribution,
    CycleReading,
    CycleRun,
    Exhausted,
    Leak,
    Mode,
    Signal,
    SignalName,
)
from memprof.values.report import Interval, LeakVerdict

# Half of a page: a page that is given back now and then must not hide a page that leaks each cycle.
_LEAST_MAPPED_BYTES = PAGE_BYTES / 2
_NO_HEAP = ("process", "mapped", "device")
_MAPPED_ANEW = (0.8, 1.25)
_SELDOM = 0.5
"""Noise alone makes some cycles of a steady leak gain more than others."""


def series_of(
    readings: Sequence[CycleReading], grain_bytes: int | None = None
) -> dict[SignalName, CycleSeries]:
    """The readings by signal, without those that the platform or the backend does not have, at
    least in some cycles. The process grows by `grain_bytes` at the least, or by a page.

    Python's bytes alone tell of blocks that became larger, such as the record of an agent that
    changed: objects that are never let go of are counted, too. A block ends at 512 bytes, so that
    what gains less than the grain in a cycle comes to an end. The process tells of memory that is
    mapped directly, which comes in pages. What gains less is memory that was handed out long ago
    and is touched for the first time, or that an allocator has not given back yet, a page in many
    cycles; unless it is mapped as it is touched. Pages of files are no memory of the process, which
    would go on gaining them; their mappings tell.
    """
    native = [each.native_bytes for each in readings]
    least = 0.0 if _is_mapped_anew(readings) else _LEAST_MAPPED_BYTES
    found: dict[SignalName, tuple[list[int | None], int, float]] = {
        "native": (native, GRAIN_BYTES, 0.0),
        "python": ([each.python_bytes for each in readings], GRAIN_BYTES, GRAIN_BYTES),
        "objects": ([each.python_blocks for each in readings], 1, 0.0),
        "process": ([each.process_bytes for each in readings], grain_bytes or PAGE_BYTES, least),
        "mapped": ([each.mapped_bytes for each in readings], PAGE_BYTES, _LEAST_MAPPED_BYTES),
        "device": ([each.device_bytes for each in readings], GRAIN_BYTES, 0.0),
    }
    counts: dict[SignalName, list[int | None]] = {
        name: [each.counts.get(name) for each in readings] for name in COUNTS
    }
    found |= {name: (values, 1, 0.0) for name, values in counts.items()}
    return {
        name: CycleSeries([value for value in values if value is not None], grain, least)
        for name, (values, grain, least) in found.items()
        if None not in values
    }


def _is_mapped_anew(readings: Sequence[CycleReading]) -> bool:
    """Whether in the later half the process gained what was mapped in it; an arena of an allocator
    is far more than what is touched of it."""
    later = readings[len(readings) // 2 :]
    private = [each.process_bytes for each in later if each.process_bytes is not None]
    data = [each.data_bytes for each in later if each.data_bytes is not None]
    if not later or not len(private) == len(data) == len(later):
        return False
    touched, mapped = private[-1] - private[0], data[-1] - data[0]
    return touched > 0 and _MAPPED_ANEW[0] * touched <= mapped <= _MAPPED_ANEW[1] * touched


def verdict_on(
    runs: Sequence[CycleRun],
    mode: Mode,
    cycles: int,
    agents: int,
    steps: int,
    passes: tuple[str, ...],
    history_steps: int | None = None,
) -> Leak:
    """What the clean workers say of the population; its sites are found elsewhere.

    A signal leaks, or is clean, if all repeats say so. The population leaks if a signal does, and
    is clean if all are. `history_steps` are what agents kept of their past in these runs.
    """
    repeats = [_Repeat.of(run, cycles) for run in runs]
    names = [name for name in repeats[0].series if all(name in each.series for each in repeats)]
    found = {name: [repeat.judge(name) for repeat in repeats] for name in names}
    signals = tuple(_signal(name, found[name], repeats) for name in names)
    unseen = _unseen(runs, names)
    seen = _together([signal.verdict for signal in signals])
    verdict = "inconclusive" if seen == "clean" and unseen else seen
    slope, interval = _growth(signals, repeats)
    needed = [j.cycles_needed for each in found.values() for j in each if j.cycles_needed]
    # What is in no account of an allocator may come out of memory that the process has.
    floors = [] if unseen else [signal.floor for signal in signals if signal.name in HEAP]
    return Leak(
        verdict=verdict,
        mode=mode,
        cycles=cycles,
        agents=agents,
        steps=steps,
        passes=passes,
        repeats=len(runs),
        bytes_per_cycle=slope,
        ci95_bytes=interval,
        bytes_per_agent=slope / agents,
        floor_bytes=growth.highest(floors),
        warm_up_cycles=tuple(repeat.start for repeat in repeats),
        cycles_needed=max(2 * cycles, *needed, 0) if seen == "inconclusive" else None,
        compilations_per_cycle=mean_of_known(repeat.compilations for repeat in repeats),
        detail=_blind(unseen) if seen != verdict else _detail(verdict, signals, found, repeats),
        signals=signals,
        sites=(),
        unattributed_bytes=None,
        native_bytes=None,
        cycle_seconds=statistics.median(s for run in runs for s in run.seconds),
        history_steps=history_steps,
    )


def attributed(leak: Leak, found: Attribution, sites_without: tuple[str, ...] = ()) -> Leak:
    """The leak with its sites, and what they do not account for. A population `sites_without` some
    passes gains something else than the leak."""
    known = sum(site.bytes_per_cycle for site in found.sites)
    gained = found.heap_bytes_per_cycle if sites_without else leak.bytes_per_cycle
    return replace(
        leak,
        sites=found.sites,
        unattributed_bytes=gained - known if grows_in_memory(leak) else None,
        native_bytes=found.native_bytes_per_cycle,
        sites_without=sites_without,
    )


def seldom(leak: Leak) -> list[float]:
    """In what share of the cycles a reading of the heap gains, where that is in some of them only;
    one for each such series."""
    shares = [
        growth.gains_per_cycle(series[cut:])
        for signal in leak.signals
        if signal.verdict == "leak" and signal.name in HEAP
        for series, cut in zip(signal.series, leak.warm_up_cycles, strict=True)
    ]
    return [share for share in shares if share <= _SELDOM]


@dataclass(frozen=True, slots=True)
class _Repeat:
    """One clean worker.

    Attributes:
        series: readings by signal.
        cuts: readings to leave out of each; None for a series that has not settled, which decides
            nothing and is shown by its end.
        start: readings to leave out of the heap as a whole.
        unconfirmed: readings that are too few to believe in a leak, where the cycles ended before
            they decided.
        compilations: in each cycle from there on; None where nothing compiles.
        exhausted: what there was no more of; None where there was.
    """

    series: dict[SignalName, CycleSeries]
    cuts: dict[SignalName, int | None]
    start: int
    unconfirmed: int
    compilations: float | None
    exhausted: Exhausted | None

    @classmethod
    def of(cls, run: CycleRun, cycles: int) -> _Repeat:
        series = series_of(run.readings, run.grain_bytes)
        cuts = {name: growth.settled(each.readings, cycles) for name, each in series.items()}
        if run.exhausted is not None:
            cuts[run.exhausted.what] = min(1, len(run.readings) - 2)
        end = max(0, len(run.readings) - 1 - cycles)
        known = {name: cut for name, cut in cuts.items() if cut is not None}
        of_heap = [cut for name, cut in known.items() if name in HEAP]
        start = max(of_heap or known.values(), default=end)
        counted = run.compilations[start:]
        unconfirmed = 0 if growth.decided(series.values(), cycles) else 2 * cycles
        compilations = mean_of_known(counted)
        return cls(series, cuts, start, unconfirmed, compilations, run.exhausted)

    def judge(self, name: SignalName) -> Judgement:
        series, cut = self.series[name], self.cuts[name]
        found = growth.judge(series, self.start if cut is None else cut)
        if self.exhausted is not None and name == self.exhausted.what:
            return growth.used_up(found, series.window(cut or 0))
        if found.verdict == "leak" and len(series.readings) - (cut or 0) <= self.unconfirmed:
            return dataclasses.replace(
                found, verdict="inconclusive", cycles_needed=self.unconfirmed
            )
        return found

    def heap(self) -> CycleSeries:
        """All that is handed out, by malloc and by Python's small-object allocator."""
        present = [self.series[name].readings for name in HEAP if name in self.series]
        return CycleSeries([sum(values) for values in zip(*present, strict=True)])


def _signal(name: SignalName, found: Sequence[Judgement], repeats: Sequence[_Repeat]) -> Signal:
    settled = all(repeat.cuts[name] is not None for repeat in repeats)
    said = growth.agreed(found, settled=settled)
    series = tuple(tuple(map(round, repeat.series[name].readings)) for repeat in repeats)
    return Signal(name, said.verdict, said.per_cycle, said.ci95, said.floor, series)


def _together(verdicts: Sequence[LeakVerdict]) -> LeakVerdict:
    return next((v for v in ("leak", "inconclusive") if v in verdicts), "clean")


def _unseen(runs: Sequence[CycleRun], names: Collection[SignalName]) -> tuple[str, ...]:
    """Memory that no reading shows, but for whole pages of the process: a smaller leak would go
    unnoticed."""
    said = [kind for run in runs for kind in run.calibration.unseen]
    missing = [] if "native" in names else [UNSEEN["native"]]
    return tuple(dict.fromkeys([*missing, *said]))


def _blind(unseen: Sequence[str]) -> str:
    return (
        f"no byte-exact reading of {' or '.join(unseen)} is available here; the other readings "
        "are clean"
    )


def _growth(signals: Sequence[Signal], repeats: Sequence[_Repeat]) -> tuple[float, Interval]:
    """Bytes per cycle: of the heap, or of the process or the device where one of them surely leaks
    more, as with memory that is mapped directly, or on a device of its own. The process is told in
    pages, the heap to the byte. What grows first fills memory that was free, so that the process
    gains little and then, cycle by cycle, more than the heap does, but no more in all."""
    heaps = [repeat.heap() for repeat in repeats]
    growths = []
    if all(heap.readings for heap in heaps):
        judged = [growth.judge(h, r.start) for h, r in zip(heaps, repeats, strict=True)]
        heap = growth.agreed(judged, settled=True)
        growths.append((heap.per_cycle, heap.ci95))
        if heap.ci95[0] <= 0:  # the noise of one signal may hide what another is sure of
            sure = [s for s in signals if s.name in HEAP and s.verdict == "leak"]
            growths = [(s.per_cycle, s.ci95) for s in sure if s.ci95[0] > 0] or growths
    growths += [
        (signal.per_cycle, signal.ci95)
        for signal in signals
        if signal.name in _NO_HEAP
        and (
            not growths
            or (
                signal.verdict == "leak"
                and signal.ci95[0] > growths[0][1][1]
                and _in_all([r.series[signal.name] for r in repeats], repeats)
                > _in_all(heaps, repeats)
            )
        )
    ]
    return max(growths, key=lambda growth: growth[0], default=(0.0, (0.0, 0.0)))


def _in_all(series: Sequence[CycleSeries], repeats: Sequence[_Repeat]) -> float:
    """What was gained over the counted cycles of all repeats."""
    pairs = zip(series, repeats, strict=True)
    return sum(each.readings[-1] - each.readings[repeat.start] for each, repeat in pairs)


def _detail(
    verdict: LeakVerdict,
    signals: Sequence[Signal],
    found: dict[SignalName, list[Judgement]],
    repeats: Sequence[_Repeat],
) -> str:
    """Why the verdict is what it is."""
    if verdict == "clean":
        return "no reading keeps growing" + (", in any repeat" if len(repeats) > 1 else "")
    names = [signal.name for signal in signals if signal.verdict == verdict]
    if verdict == "leak":
        every = " in every repeat" if len(repeats) > 1 else ""
        until = next((f", until {e.said}" for r in repeats if (e := r.exhausted)), "")
        return f"growing{every}, cycle after cycle: {', '.join(names)}{until}"
    late = [name for name in names if any(repeat.cuts[name] is None for repeat in repeats)]
    if late:
        return f"{', '.join(late)} had not settled when the cycles ended"
    said = [
        f"{name}: "
        + ", ".join(
            f"{v} in {sum(j.verdict == v for j in found[name])}"
            for v in ("leak", "inconclusive", "clean")
            if any(j.verdict == v for j in found[name])
        )
        for name in names
    ]
    return f"the repeats do not agree on a leak ({'; '.join(said)} of {len(repeats)} repeats)"
