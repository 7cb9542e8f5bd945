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
from memprof.stats.lines import mean_interval, mean_of_known, robust_fit
from memprof.values.counts import COUNTS
from memprof.values.instruments import UNSEEN
from memprof.values.leak import (
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
_LEAST_TOUCHED_BYTES = PAGE_BYTES / 2
_NO_HEAP: tuple[SignalName, ...] = ("process", "mapped", "device")
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
    least = 0.0 if _is_mapped_anew(readings) else _LEAST_TOUCHED_BYTES
    found: dict[SignalName, tuple[list[int | None], int, float]] = {
        "native": (native, GRAIN_BYTES, 0.0),
        "python": ([each.python_bytes for each in readings], GRAIN_BYTES, GRAIN_BYTES),
        "objects": ([each.python_blocks for each in readings], 1, 0.0),
        "process": ([each.process_bytes for each in readings], grain_bytes or PAGE_BYTES, least),
        "mapped": ([each.mapped_bytes for each in readings], PAGE_BYTES, 0.0),
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
    signals = tuple(_signal(name, repeats) for name in names)
    unseen = _unseen(runs, names)
    seen = _together([signal.verdict for signal in signals])
    verdict = "inconclusive" if seen == "clean" and unseen else seen
    slope, interval = _growth(signals, repeats)
    needed = [repeat.judged[name].cycles_needed or 0 for repeat in repeats for name in names]
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
        cycles_needed=max(2 * cycles, *needed) if seen == "inconclusive" else None,
        compilations_per_cycle=mean_of_known(repeat.compilations for repeat in repeats),
        detail=_blind(unseen) if seen != verdict else _detail(verdict, signals, repeats),
        signals=signals,
        sites=(),
        unattributed_bytes=None,
        native_bytes=None,
        cycle_seconds=statistics.median(s for run in runs for s in run.seconds),
        history_steps=history_steps,
    )


def outside_records(run: CycleRun) -> CycleRun:
    """The same without what records of agents at rest take, wherever they are allocated."""
    return replace(
        run,
        readings=tuple(
            replace(
                each,
                native_bytes=(each.native_bytes or 0)
                + (each.python_bytes or 0)
                - each.records_bytes,
                python_bytes=None,
                python_blocks=None,
                process_bytes=None,
            )
            for each in run.readings
        ),
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
        judged: what each says.
        start: readings to leave out of the population as a whole: the warm-up of its heap.
        compilations: in each cycle from there on; None where nothing compiles.
        exhausted: what there was no more of; None where there was.
    """

    series: dict[SignalName, CycleSeries]
    judged: dict[SignalName, Judgement]
    start: int
    compilations: float | None
    exhausted: Exhausted | None

    @classmethod
    def of(cls, run: CycleRun, cycles: int) -> _Repeat:
        series = series_of(run.readings, run.grain_bytes)
        # One that leaks decides: the others are judged by what there is.
        leaks = growth.one_leaks(series.values(), cycles)
        rising = cycles if leaks else growth.rising_cycles(cycles)
        judged = {name: growth.judge(each, cycles, rising) for name, each in series.items()}
        if run.exhausted is not None:  # there will be no more cycles, however few these were
            what = run.exhausted.what
            judged[what] = dataclasses.replace(judged[what], verdict="leak", cycles_needed=None)
        cuts = {name: each.cut for name, each in judged.items() if each.cut is not None}
        of_heap = [cut for name, cut in cuts.items() if name in HEAP]
        end = max(0, len(run.readings) - 1 - cycles)
        start = max(of_heap or cuts.values(), default=end)
        compilations = mean_of_known(run.compilations[start:])
        return cls(series, judged, start, compilations, run.exhausted)

    def counted(self, names: Sequence[SignalName]) -> list[float]:
        """The sums of these readings, without the warm-up."""
        series = [self.series[name].readings[self.start :] for name in names]
        return [sum(values) for values in zip(*series, strict=True)]

    def gained(self, names: Sequence[SignalName]) -> float:
        first, *_, last = self.counted(names)
        return last - first


def _signal(name: SignalName, repeats: Sequence[_Repeat]) -> Signal:
    said = growth.agreed([repeat.judged[name] for repeat in repeats])
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
    """Bytes per cycle: of the account that has gained most. The heap is one, but for readings that
    are clean, whose noise would hide what another is sure of; memory that is mapped directly, and
    that of a device, are others if they leak."""

    def named(names: Collection[SignalName], *verdicts: LeakVerdict) -> list[SignalName]:
        return [s.name for s in signals if s.name in names and s.verdict in verdicts]

    heap = named(HEAP, "leak", "inconclusive")
    accounts = [*([heap] if heap else []), *([name] for name in named(_NO_HEAP, "leak"))]
    if not accounts:  # nothing leaks
        heap = named(HEAP, "clean")
        accounts = [heap] if heap else [[s.name] for s in signals if s.name in _NO_HEAP]
    if not accounts:
        return 0.0, (0.0, 0.0)
    most = max(accounts, key=lambda names: sum(repeat.gained(names) for repeat in repeats))
    lines = [robust_fit(list(enumerate(repeat.counted(most)))) for repeat in repeats]
    within = statistics.fmean(line.half_width for line in lines)
    return mean_interval([line.slope for line in lines], within)


def _detail(
    verdict: LeakVerdict,
    signals: Sequence[Signal],
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
    found = {name: [repeat.judged[name] for repeat in repeats] for name in names}
    late = [name for name, judged in found.items() if any(j.cut is None for j in judged)]
    if late:
        return f"{', '.join(late)} had not settled when the cycles ended"
    said = [
        f"{name}: "
        + ", ".join(
            f"{v} in {sum(j.verdict == v for j in judged)}"
            for v in ("leak", "inconclusive", "clean")
            if any(j.verdict == v for j in judged)
        )
        for name, judged in found.items()
    ]
    return f"the repeats do not agree on a leak ({'; '.join(said)} of {len(repeats)} repeats)"
