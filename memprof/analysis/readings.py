"""What each instrument said an agent costs, side by side."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Protocol

from memprof.analysis.marginal import mean_interval, robust_fit
from memprof.measurements import GrowthPoint, InstrumentRun, Mark, Measurement, Reading
from memprof.results import InstrumentReading, Timeline, TimelineSample

_MOST_SAMPLES = 400


class Described(Protocol):
    """An instrument as the catalogue describes it."""

    @property
    def sees(self) -> str: ...
    @property
    def blind_to(self) -> str: ...


class Sampled(Protocol):
    """A clean worker with its resident set as (epoch seconds, bytes)."""

    @property
    def value(self) -> Measurement: ...
    @property
    def marks(self) -> tuple[Mark, ...]: ...
    @property
    def samples(self) -> tuple[tuple[float, float], ...]: ...


def process_bytes(reading: Reading) -> int:
    """USS, or RSS on a platform that has no USS."""
    return reading.rss_bytes if reading.uss_bytes is None else reading.uss_bytes


def process_points(run: Measurement) -> list[tuple[int, float]]:
    """(agents, USS) of one clean worker, pages of files held at their baseline."""
    return [(point.agents, process_at(run, point)) for point in run.points]


def process_at(run: Measurement, point: GrowthPoint) -> float:
    """USS of the worker at `point`, pages of files held at their baseline."""
    growth = point.reading.private_bytes - run.baseline.private_bytes
    return process_bytes(run.baseline) + growth


def side_by_side(
    clean: Sequence[Measurement],
    runs: Mapping[str, InstrumentRun],
    failures: Mapping[str, str],
    sampled: Sampled | None,
    catalogue: Mapping[str, Described],
) -> tuple[InstrumentReading, ...]:
    """One row per instrument that was asked for, the process reading first."""
    rows = [_clean_row("process", [process_points(run) for run in clean], catalogue)]
    heap = [
        [(p.agents, float(p.reading.heap_bytes)) for p in run.points if p.reading.heap_bytes]
        for run in clean
    ]
    if all(len(points) > 1 for points in heap):
        rows.append(_clean_row("heap", heap, catalogue))
    if sampled is not None:
        rows.append(_sampled_row(sampled, clean, catalogue["memory_profiler"]))
    clean_step = statistics.median(s for run in clean for s in run.step_seconds)
    for name, run in runs.items():
        rows.append(_intrusive_row(name, run, clean_step, catalogue[name]))
    for name, why in failures.items():
        about = catalogue[name]
        rows.append(
            InstrumentReading(
                name, None, None, None, None, None, about.sees, about.blind_to, failure=why
            )
        )
    return tuple(rows)


def timeline(sampled: Sampled | None) -> Timeline | None:
    """The sampled worker's resident set from its first phase on, thinned to some hundred points."""
    if sampled is None or not sampled.samples:
        return None
    start = sampled.marks[0].seconds
    stride = -(-len(sampled.samples) // _MOST_SAMPLES)
    return Timeline(
        tuple(TimelineSample(seconds - start, size) for seconds, size in sampled.samples[::stride]),
        tuple(Mark(m.seconds - start, m.label, m.agents) for m in sampled.marks),
    )


def _clean_row(
    name: str, repeats: Sequence[Sequence[tuple[int, float]]], catalogue: Mapping[str, Described]
) -> InstrumentReading:
    lines = [robust_fit(points) for points in repeats]
    within = statistics.fmean(line.half_width for line in lines)
    slope, interval = mean_interval([line.slope for line in lines], within)
    about = catalogue[name]
    total = statistics.fmean(points[-1][1] - points[0][1] for points in repeats)
    return InstrumentReading(name, slope, interval, total, 1.0, None, about.sees, about.blind_to)


def _intrusive_row(
    name: str, run: InstrumentRun, clean_step: float, about: Described
) -> InstrumentReading:
    line = robust_fit(run.readings)
    return InstrumentReading(
        name=name,
        per_agent_bytes=line.slope,
        ci95_bytes=(line.slope - line.half_width, line.slope + line.half_width),
        total_bytes=float(run.readings[-1][1] - run.readings[0][1]),
        slowdown=statistics.median(run.step_seconds) / clean_step,
        reading_seconds=run.reading_seconds,
        sees=about.sees,
        blind_to=about.blind_to,
        types=run.types,
    )


def _sampled_row(
    sampled: Sampled, clean: Sequence[Measurement], about: Described
) -> InstrumentReading:
    """The slope through the last sample before each settled reading of the population."""
    points = []
    for mark in sampled.marks:
        earlier = [size for seconds, size in sampled.samples if seconds <= mark.seconds]
        if mark.label == "read" and earlier:
            points.append((mark.agents, earlier[-1]))
    others = [run for run in clean if run is not sampled.value]
    slowdown = None
    if others:
        slowdown = statistics.median(sampled.value.step_seconds) / statistics.median(
            s for run in others for s in run.step_seconds
        )
    if len({agents for agents, _ in points}) < 2:
        return InstrumentReading(
            "memory_profiler",
            None,
            None,
            None,
            slowdown,
            None,
            about.sees,
            about.blind_to,
            failure="the worker ended before two populations were sampled",
        )
    line = robust_fit(points)
    return InstrumentReading(
        name="memory_profiler",
        per_agent_bytes=line.slope,
        ci95_bytes=(line.slope - line.half_width, line.slope + line.half_width)
        if len(points) > 2
        else None,
        total_bytes=points[-1][1] - points[0][1],
        slowdown=slowdown,
        reading_seconds=None,
        sees=about.sees,
        blind_to=about.blind_to,
    )
