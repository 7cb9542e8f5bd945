"""Instrument `device`: the live arrays of JAX, what it has compiled, and where it retraces."""

from __future__ import annotations

import linecache
import sys
from collections import Counter
from time import perf_counter
from types import FrameType
from typing import Any, Self

import jax

from memprof.errors import ScenarioError
from memprof.instruments import process
from memprof.instruments.base import Details, DirectCalls
from memprof.instruments.buffers import buffers_of
from memprof.instruments.compilations import COMPILED
from memprof.instruments.source_lines import is_library, short_path
from memprof.instruments.walker import reachable
from memprof.measurements import DeviceDetails, DeviceRow, Retrace
from memprof.populations.base import EVERYBODY, Population
from memprof.spec import PopulationSpec

_TRACED = "/jax/core/compile/jaxpr_trace_duration"
_FEWEST_STRIDES, _MOST_STRIDES = 2, 3
_BRIEFLY_SECONDS = 5.0
_MOST_LINES = 10

Place = tuple[str, int]


class DeviceMemory(DirectCalls):
    """Counts live arrays by the buffers under them, and listens to what JAX traces and compiles.

    JAX reports a trace when it is not part of another one, with the Python code that asked for it
    still running: the stack tells which line retraces.
    """

    def __init__(self) -> None:
        # Held until the exit, so that no later buffer comes to have the address of one of these.
        self._before: list[Any] = []
        self._traced: Counter[Place] = Counter()
        self._compiled = 0

    def __enter__(self) -> Self:
        self._before = jax.live_arrays()
        jax.monitoring.register_event_duration_secs_listener(self._heard)
        return self

    def __exit__(self, *exception: object) -> None:
        # Older releases of JAX cannot forget a single listener.
        forget = getattr(jax.monitoring, "unregister_event_duration_listener", None)
        if forget is not None:
            forget(self._heard)
        self._before = []

    def read(self, population: Population) -> int:
        return sum(self._live().values())

    def details(self, population: Population, spec: PopulationSpec) -> Details:
        agents = len(population)
        stats = jax.local_devices()[0].memory_stats() or {}
        rows = self._by_component(population)
        freed = process.freed_by(population.drop_caches)
        steps, traced, compiled = self._live_on(population, spec.steps)
        population.drop_caches()
        population.grow(agents)
        self._live_through(population, range(population.stride))
        return Details(
            device=DeviceDetails(
                agents=agents,
                rows=rows,
                before_bytes=sum(_buffers(self._before).values()),
                caches_bytes=freed,
                memory_stats={name: n for name, n in stats.items() if isinstance(n, int)},
                first_steps=population.stride,
                first_traces=self._traced.total(),
                first_compilations=self._compiled,
                steps=steps,
                traces_per_step=traced.total() / steps if steps else None,
                compilations_per_step=compiled / steps if steps else None,
                retraces=tuple(
                    Retrace(
                        path=short_path(path, spec.folder),
                        line=line,
                        text=linecache.getline(path, line).strip(),
                        traces_per_step=count / steps,
                    )
                    for (path, line), count in traced.most_common(_MOST_LINES)
                ),
            )
        )

    def _live(self) -> dict[int, int]:
        """Bytes by address of the live buffers that there were not at the entry."""
        before = _buffers(self._before)
        now = _buffers(jax.live_arrays())
        return {address: size for address, size in now.items() if address not in before}

    def _by_component(self, population: Population) -> tuple[DeviceRow, ...]:
        """Every live buffer once, under the component that reaches it first; shared if the
        population as a whole holds it or several agents do."""
        live = self._live()
        holders: dict[int, tuple[str, int]] = {}
        shared = set()
        for owner, component, root in population.holdings():
            for address in (b.address for thing in reachable([root]) for b in buffers_of(thing)):
                _, holder = holders.setdefault(address, (component, owner))
                # That the population as a whole can reach it too does not make it shared.
                if holder == EVERYBODY or owner not in (holder, EVERYBODY):
                    shared.add(address)
        for address in live.keys() - holders.keys():
            holders[address] = ("not the population's", EVERYBODY)
            shared.add(address)
        rows = []
        for component in dict.fromkeys(component for component, _ in holders.values()):
            mine = [address for address in live if holders[address][0] == component]
            common = sum(live[address] for address in mine if address in shared)
            private = sum(live[address] for address in mine) - common
            rows.append(DeviceRow(component, private, common, len(mine)))
        return tuple(row for row in rows if row.buffers)

    def _live_on(self, population: Population, lived: int) -> tuple[int, Counter[Place], int]:
        """Let the agents live on from the step `lived`: how many steps were watched, the lines that
        traced in them, and how often JAX compiled. Agents that end earlier are not watched."""
        stride = population.stride
        try:
            self._live_through(population, range(lived, lived + stride))  # it fills the caches
            traced: Counter[Place] = Counter()
            compiled, start = 0, perf_counter()
            for count in range(1, _MOST_STRIDES + 1):
                first = lived + count * stride
                self._live_through(population, range(first, first + stride))
                traced += self._traced
                compiled += self._compiled
                elapsed = perf_counter() - start
                if count >= _FEWEST_STRIDES and elapsed + elapsed / count > _BRIEFLY_SECONDS:
                    break
        except (MemoryError, ScenarioError):
            return 0, Counter(), 0  # the scenario did not ask for so many steps
        return count * stride, traced, compiled

    def _live_through(self, population: Population, steps: range) -> None:
        """Let all agents live the steps; what was traced and compiled before is forgotten."""
        self._traced, self._compiled = Counter(), 0
        for _ in population.live(range(len(population)), steps):
            pass

    def _heard(self, event: str, duration_secs: float, **kwargs: str | int) -> None:
        if event == _TRACED:
            self._traced[_place(sys._getframe(1))] += 1
        elif event == COMPILED:
            self._compiled += 1


def _buffers(arrays: list[Any]) -> dict[int, int]:
    """Bytes by address of the buffers under the arrays."""
    return {b.address: b.nbytes for array in arrays for b in buffers_of(array)}


def _place(innermost: FrameType) -> Place:
    """The innermost line on the stack that is the user's, PyMDP's or a model's."""
    frame: FrameType | None = innermost
    while frame is not None and is_library(frame.f_code.co_filename):
        frame = frame.f_back
    found = frame or innermost
    return found.f_code.co_filename, found.f_lineno
