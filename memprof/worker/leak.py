"""The job `leak`: memory after each cycle of a population's life, in a clean worker."""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from dataclasses import fields, replace
from time import perf_counter
from typing import Any

from memprof.analysis import leaks
from memprof.analysis.leak_verdict import series_of, verdict_on
from memprof.errors import MemprofError, ScenarioError
from memprof.instruments import process
from memprof.instruments.buffers import device_failure, live_device_bytes
from memprof.leak import CycleReading, CycleRun, LeakRun, Mode
from memprof.measurements import UNSEEN, Calibration
from memprof.spec import PopulationSpec
from memprof.worker.cycles import Cycles
from memprof.worker.protocol import Channel
from memprof.worker.rows import Rows

_FEWEST_CYCLES = 3
"""With fewer, there is not even an interval."""


def leak(
    lives: Mapping[Mode, Cycles],
    spec: PopulationSpec,
    cycles: int,
    seconds: float | None,
    channel: Channel,
) -> LeakRun:
    """Let the population live in one mode after the other, until one leaks; each has its share of
    the `seconds`. What is known after each is handed over, whatever becomes of the next."""
    start, compilations = perf_counter(), _compilations(spec.backend)
    found = LeakRun({})
    for number, (mode, life) in enumerate(lives.items(), 1):
        left = None if seconds is None else start + seconds * number / len(lives) - perf_counter()
        try:
            run = _run(life, spec, cycles, left, compilations, channel)
        except MemoryError:
            raise
        except Exception as error:  # a world may end, or a pass may not fit
            if not found.runs:
                raise
            known = isinstance(error, MemprofError)
            return replace(found, refused=f"{'' if known else type(error).__name__ + ': '}{error}")
        found = LeakRun({**found.runs, mode: run})
        channel.part(found)
        if verdict_on([run], mode, cycles, spec.agents, spec.steps, ()).verdict == "leak":
            break
    return found


def _run(
    life: Cycles,
    spec: PopulationSpec,
    cycles: int,
    seconds: float | None,
    compilations: Any,
    channel: Channel,
) -> CycleRun:
    """Run cycles until they decide (`leaks.decided`), at most `leaks.most_cycles`, or for as long
    as `seconds` allow."""
    start = perf_counter()
    most = leaks.most_cycles(cycles)
    readings = _Readings(most + 1)
    durations, compiled = array("d", [0.0]) * most, array("q", [0]) * most
    still = leaks.CycleSeries([0] * (cycles + 1))
    leaks.decided([still], cycles)  # what this needs is there before the first reading
    readings.take()
    for cycle in range(most):
        channel.progress(f"cycle {cycle + 1}", spec.agents)
        before, count = perf_counter(), compilations.count
        try:
            life.run()
        except (MemoryError, ScenarioError):
            if cycle < cycles:
                raise
            break  # agents that cannot live on for so long; what was measured stands
        durations[cycle] = perf_counter() - before
        compiled[cycle] = compilations.count - count
        readings.take()
        if cycle + 1 >= cycles and leaks.decided(series_of(readings.all()).values(), cycles):
            break
        late = seconds is not None and perf_counter() - start + 2 * max(durations) > seconds
        if late and cycle + 1 >= _FEWEST_CYCLES:
            break
    taken = readings.all()
    facts = life.facts
    life.close()
    return CycleRun(
        readings=tuple(taken),
        seconds=tuple(durations[: len(taken) - 1]),
        compilations=tuple(compiled[: len(taken) - 1]) if spec.backend == "jax" else (),
        facts=facts,
        calibration=_calibration(spec.backend),
    )


def _calibration(backend: str) -> Calibration:
    """What the readings are worth, that of JAX's arrays included."""
    found, why = process.calibration(), device_failure() if backend == "jax" else ""
    if not why:
        return found
    return replace(
        found, left_out={**found.left_out, "device": why}, unseen=(*found.unseen, UNSEEN["device"])
    )


class _Readings:
    """Readings, one after the other."""

    def __init__(self, most: int) -> None:
        self._rows = Rows(most, len(fields(CycleReading)))

    def take(self) -> None:
        """Settle, read, and keep the reading."""
        process.settle()
        self._rows.append(
            (
                process.native_heap_bytes(),
                process.small_object_bytes(),
                process.allocated_blocks(),
                process.private_bytes(),
                live_device_bytes(),
                *process.address_space(),
            )
        )

    def all(self) -> list[CycleReading]:
        return [CycleReading(*row) for row in self._rows]


class _Nothing:
    """What a backend compiles that compiles nothing."""

    count = 0


def _compilations(backend: str) -> Any:
    if backend != "jax":
        return _Nothing()
    from memprof.instruments.retraces import Compilations

    return Compilations()
