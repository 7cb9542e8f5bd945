"""What each instrument said an agent costs, side by side."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from memprof.catalogue.instruments import INSTRUMENTS
from memprof.launch.spawn import Finished
from memprof.stats.lines import Line, mean_interval, process_points, robust_fit
from memprof.values.measurements import InstrumentRun, Mark, Measurement
from memprof.values.profile import InstrumentReading, Timeline, TimelineSample

_MOST_SAMPLES = 400
_FEWEST_SAMPLES = 3


def side_by_side(
    clean: Sequence[Measurement],
    runs: Mapping[str, InstrumentRun],
    failures: Mapping[str, str],
    sampled: Finished[Measurement] | None,
) -> tuple[InstrumentReading, ...]:
    """One row per instrument that was asked for, the process reading first."""
    rows = [_clean_row("process", [process_points(run) for run in clean])]
    heap = [[(p.agents, p.heap_bytes) for p in run.points if p.heap_bytes] for run in clean]
    if all(len(points) > 1 for points in heap):
        rows.append(_clean_row("heap", heap))
    if sampled is not None:
        rows.append(_sampled_row(sampled, clean))
    clean_step = statistics.median(s for run in clean for s in run.step_seconds)
    rows += [_intrusive_row(name, run, clean_step) for name, run in runs.items()]
    rows += [_row(name, failure=why) for name, why in failures.items()]
    return tuple(rows)


def timeline(sampled: Finished[Measurement] | None) -> Timeline | None:
    """The sampled worker's resident set from its first phase on, thinned to some hundred points."""
    if sampled is None or not sampled.samples:
        return None
    start = sampled.marks[0].seconds
    stride = -(-len(sampled.samples) // _MOST_SAMPLES)
    return Timeline(
        tuple(TimelineSample(seconds - start, size) for seconds, size in sampled.samples[::stride]),
        tuple(Mark(m.seconds - start, m.label, m.agents) for m in sampled.marks),
    )


def _row(
    name: str,
    line: Line | None = None,
    total_bytes: float | None = None,
    slowdown: float | None = None,
    reading_seconds: float | None = None,
    **rest: Any,
) -> InstrumentReading:
    about = INSTRUMENTS[name]
    return InstrumentReading(
        name=name,
        per_agent_bytes=line.slope if line else None,
        ci95_bytes=(line.slope - line.half_width, line.slope + line.half_width) if line else None,
        total_bytes=total_bytes,
        slowdown=slowdown,
        reading_seconds=reading_seconds,
        sees=about.sees,
        blind_to=about.blind_to,
        **rest,
    )


def _clean_row(name: str, repeats: Sequence[Sequence[tuple[int, float]]]) -> InstrumentReading:
    lines = [robust_fit(points) for points in repeats]
    within = statistics.fmean(line.half_width for line in lines)
    slope, (low, _) = mean_interval([line.slope for line in lines], within)
    total = statistics.fmean(points[-1][1] - points[0][1] for points in repeats)
    return _row(name, Line(slope, 0.0, slope - low), total, slowdown=1.0)


def _intrusive_row(name: str, run: InstrumentRun, clean_step: float) -> InstrumentReading:
    uneven = run.uneven_bytes or (0.0,) * len(run.readings)
    evened = [
        (agents, size - more) for (agents, size), more in zip(run.readings, uneven, strict=True)
    ]
    total = float(run.readings[-1][1] - run.readings[0][1])
    slowdown = statistics.median(run.step_seconds) / clean_step
    line = robust_fit(evened)
    return _row(name, line, total, slowdown, run.reading_seconds, types=run.details.types)


def _sampled_row(sampled: Finished[Measurement], clean: Sequence[Measurement]) -> InstrumentReading:
    """The slope through the samples that fell into the moments when a population was at rest."""
    points = list(_samples_at_rest(sampled))
    others = [run for run in clean if run is not sampled.value]
    slowdown = None
    if others:
        slowdown = statistics.median(sampled.value.step_seconds) / statistics.median(
            s for run in others for s in run.step_seconds
        )
    if len(points) < _FEWEST_SAMPLES:
        why = "the population grew faster than it takes samples"
        if not sampled.samples:
            why = "it could not read the memory of another process here"
        return _row("memory_profiler", slowdown=slowdown, failure=why)
    total = points[-1][1] - points[0][1]
    return _row("memory_profiler", robust_fit(points), total, slowdown)


def _samples_at_rest(sampled: Finished[Measurement]) -> Iterator[tuple[int, float]]:
    """(agents, bytes): the last sample between settling and the next phase, where there is one."""
    for before, mark, after in zip(
        sampled.marks, sampled.marks[1:], sampled.marks[2:], strict=False
    ):
        if mark.label == "read":
            sizes = [b for t, b in sampled.samples if before.seconds <= t <= after.seconds]
            if sizes:
                yield mark.agents, sizes[-1]
