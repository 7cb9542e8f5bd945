"""What each instrument said an agent costs, side by side."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from memprof.stats.lines import mean_interval, robust_fit
from memprof.values.measurements import GrowthPoint, InstrumentRun, Mark, Measurement, Reading
from memprof.values.profile import InstrumentReading, Timeline, TimelineSample

_MOST_SAMPLES = 400
_FEWEST_SAMPLES = 3


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
    """USS of the worker at `point`, pages of files held at their baseline; had the agents come in
    an even mixture."""
    return since_baseline(run.baseline, point.reading) - point.uneven_bytes


def since_baseline(baseline: Reading, reading: Reading) -> float:
    """USS at a reading, pages of files as at the baseline: they come and go with other processes
    that map the same libraries."""
    return process_bytes(baseline) + reading.private_bytes - baseline.private_bytes


def side_by_side(
    clean: Sequence[Measurement],
    runs: Mapping[str, InstrumentRun],
    failures: Mapping[str, str],
    sampled: Sampled | None,
    catalogue: Mapping[str, Described],
) -> tuple[InstrumentReading, ...]:
    """One row per instrument that was asked for, the process reading first."""
    rows = [_clean_row("process", [process_points(run) for run in clean], catalogue)]
    heap = [[(p.agents, p.heap_bytes) for p in run.points if p.heap_bytes] for run in clean]
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
    uneven = run.uneven_bytes or (0.0,) * len(run.readings)
    line = robust_fit(
        [(agents, size - more) for (agents, size), more in zip(run.readings, uneven, strict=True)]
    )
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
    """The slope through the samples that fell into the moments when a population was at rest."""
    points = list(_samples_at_rest(sampled))
    others = [run for run in clean if run is not sampled.value]
    slowdown = None
    if others:
        slowdown = statistics.median(sampled.value.step_seconds) / statistics.median(
            s for run in others for s in run.step_seconds
        )
    enough = len(points) >= _FEWEST_SAMPLES
    line = robust_fit(points) if enough else None
    return InstrumentReading(
        name="memory_profiler",
        per_agent_bytes=line.slope if line else None,
        ci95_bytes=(line.slope - line.half_width, line.slope + line.half_width) if line else None,
        total_bytes=points[-1][1] - points[0][1] if line else None,
        slowdown=slowdown,
        reading_seconds=None,
        sees=about.sees,
        blind_to=about.blind_to,
        failure="" if enough else _too_few(sampled),
    )


def _too_few(sampled: Sampled) -> str:
    if sampled.samples:
        return "the population grew faster than it takes samples"
    return "it could not read the memory of another process here"


def _samples_at_rest(sampled: Sampled) -> Iterator[tuple[int, float]]:
    """(agents, bytes): the last sample between settling and the next phase, where there is one."""
    for before, mark, after in zip(
        sampled.marks, sampled.marks[1:], sampled.marks[2:], strict=False
    ):
        if mark.label == "read":
            sizes = [b for t, b in sampled.samples if before.seconds <= t <= after.seconds]
            if sizes:
                yield mark.agents, sizes[-1]
