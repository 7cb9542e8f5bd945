"""Instrument `device`: the live arrays of JAX, what it has compiled, and where it retraces.

JAX is not imported here before somebody asks for it: clean workers of other backends do not.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable
from functools import cache
from time import perf_counter
from typing import Any, Self

import numpy as np

from memprof.errors import NoAccount, ScenarioError
from memprof.instruments import DirectCalls, failure, live, process
from memprof.instruments.held import reachable
from memprof.instruments.memory import buffers_of
from memprof.instruments.source_lines import Place, running_place, short_path, text_of
from memprof.populations import EVERYBODY, Population
from memprof.text import raised
from memprof.values.instruments import Account, Details, DeviceDetails, DeviceRow, Retrace
from memprof.values.population import PopulationSpec

_TRIED_BYTES = 2**16
_FEWEST_STRIDES, _MOST_STRIDES = 2, 3
_MOST_LINES = 10


def bytes_by_address(arrays: Iterable[Any]) -> dict[int, int]:
    """The size of each buffer under the arrays, by its address."""
    return {b.address: b.nbytes for array in arrays for b in buffers_of(array)}


def live_device_bytes() -> int | None:
    """Bytes of all live JAX arrays, each buffer once; None where JAX is not loaded, or does not
    tell of an array that is made."""
    return None if "jax" not in sys.modules or device_failure() else _live_bytes()


def device_memory_bytes() -> int | None:
    """What XLA may take of the device's own memory; None where that is the host's, or JAX is not
    loaded."""
    if "jax" not in sys.modules:
        return None
    stats = sys.modules["jax"].local_devices()[0].memory_stats() or {}
    limit = stats.get("bytes_limit")
    return int(limit) if limit else None


@cache
def device_failure() -> str:
    """Why JAX's live arrays are not to be trusted, tried with one; empty if they are. JAX has to be
    loaded."""
    try:
        return failure(_live_bytes, _DeviceArray(), _TRIED_BYTES)
    except Exception as error:  # whoever imports JAX need not have a device for it
        return raised(error)


def _live_bytes() -> int:
    return sum(bytes_by_address(sys.modules["jax"].live_arrays()).values())


class _DeviceArray:
    """An array on JAX's device."""

    def take(self) -> None:
        self._array = sys.modules["jax"].device_put(np.zeros(_TRIED_BYTES, np.uint8))
        self._array.block_until_ready()

    def free(self) -> None:
        self._array.delete()
        del self._array


class DeviceMemory(DirectCalls):
    """Counts live arrays by the buffers under them, and listens to what JAX traces and compiles."""

    def __init__(self) -> None:
        # Held until the exit, so that no later buffer comes to have the address of one of these.
        self._before: list[Any] = []
        self._retraces = Retraces()

    def __enter__(self) -> Self:
        import jax

        self._before = jax.live_arrays()
        self._retraces.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self._retraces.__exit__(*exception)
        self._before = []

    def read(self, population: Population) -> int:
        return sum(self._live().values())

    def details(self, population: Population, spec: PopulationSpec) -> Details:
        import jax

        agents = len(population)
        stats = jax.local_devices()[0].memory_stats() or {}
        rows = self._by_component(population)
        population.drop_caches()
        population.grow(agents)  # anew, with nothing compiled
        self._live_through(population, range(population.stride))
        first_traces, first_compilations = self._retraces.traced.total(), self._retraces.compiled
        self._live_through(population, range(population.stride, spec.steps))
        freed = process.freed_by(population.drop_caches)
        steps, traced, compiled = self._live_on(population, spec.steps, spec.effort.watch_seconds)
        account, no_account = _account(population)
        return Details(
            device=DeviceDetails(
                agents=agents,
                rows=rows,
                before_bytes=sum(bytes_by_address(self._before).values()),
                caches_bytes=freed,
                memory_stats={name: n for name, n in stats.items() if isinstance(n, int)},
                first_steps=population.stride,
                first_traces=first_traces,
                first_compilations=first_compilations,
                steps=steps,
                traces_per_step=traced.total() / steps if steps else None,
                compilations_per_step=compiled / steps if steps else None,
                retraces=tuple(
                    Retrace(
                        path=short_path(place[0], spec.folder),
                        line=place[1],
                        text=text_of(place),
                        traces_per_step=count / steps,
                    )
                    for place, count in traced.most_common(_MOST_LINES)
                ),
                account=account,
                no_account=no_account,
            )
        )

    def _live(self) -> dict[int, int]:
        """Bytes by address of the live buffers that there were not at the entry."""
        import jax

        before = bytes_by_address(self._before)
        now = bytes_by_address(jax.live_arrays())
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

    def _live_on(
        self, population: Population, lived: int, seconds: float
    ) -> tuple[int, Counter[Place], int]:
        """Let the agents live on from the step `lived`, for so many seconds: how many steps
        were watched, the lines that traced in them, and how often JAX compiled. Agents that end
        earlier are not watched."""
        stride = population.stride
        try:
            self._live_through(population, range(lived, lived + stride))  # it fills the caches
            traced: Counter[Place] = Counter()
            compiled, start = 0, perf_counter()
            for count in range(1, _MOST_STRIDES + 1):
                first = lived + count * stride
                self._live_through(population, range(first, first + stride))
                traced += self._retraces.traced
                compiled += self._retraces.compiled
                elapsed = perf_counter() - start
                if count >= _FEWEST_STRIDES and elapsed + elapsed / count > seconds:
                    break
        except (MemoryError, ScenarioError):
            return 0, Counter(), 0  # the scenario did not ask for so many steps
        return count * stride, traced, compiled

    def _live_through(self, population: Population, steps: range) -> None:
        """Let all agents live the steps; what was traced and compiled before is forgotten."""
        self._retraces.forget()
        live(population, range(len(population)), steps)


def _account(population: Population) -> tuple[Account | None, str]:
    """What XLA says of the program that the agents live by, or why there is none."""
    try:
        return population.account(len(population)), ""
    except NoAccount as error:
        return None, str(error)


TRACED = "/jax/core/compile/jaxpr_trace_duration"
COMPILED = "/jax/core/compile/backend_compile_duration"


class Compilations:
    """Programs that JAX, if loaded, has compiled since this was made; counting costs nothing."""

    def __init__(self) -> None:
        self.count = 0
        if "jax" in sys.modules:
            sys.modules["jax"].monitoring.register_event_duration_secs_listener(self._heard)

    def _heard(self, event: str, duration_secs: float, **kwargs: str | int) -> None:
        self.count += event == COMPILED


class Retraces:
    """Listens to what JAX traces and compiles, between entry and exit.

    JAX reports a trace when it is not part of another one, with the Python code that asked for it
    still running: the stack tells which line retraces.

    Attributes:
        traced: how often each line made JAX trace.
        compiled: how often JAX compiled.
    """

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Begin to count anew."""
        self.traced: Counter[Place] = Counter()
        self.compiled = 0

    def __enter__(self) -> Self:
        import jax

        jax.monitoring.register_event_duration_secs_listener(self._heard)
        return self

    def __exit__(self, *exception: object) -> None:
        import jax

        # Older releases of JAX cannot forget a single listener.
        unregister = getattr(jax.monitoring, "unregister_event_duration_listener", None)
        if unregister is not None:
            unregister(self._heard)

    def _heard(self, event: str, duration_secs: float, **kwargs: str | int) -> None:
        self._note(event, running_place(sys._getframe(1)))

    def _note(self, event: str, place: Place) -> None:
        if event == TRACED:
            self.traced[place] += 1
        elif event == COMPILED:
            self.compiled += 1


class RetracedHeap(Retraces):
    """Also splits the growth of the live heap between the lines that trace.

    What the heap gains from one report of JAX to the next belongs to the line of the later one:
    tracing, lowering and compiling each report when they are done.

    Attributes:
        gained: bytes by line. What is garbage, and collected later, may make it negative.
    """

    def forget(self) -> None:
        super().forget()
        self.gained: Counter[Place] = Counter()
        self._heap = process.held_bytes()

    def _note(self, event: str, place: Place) -> None:
        super()._note(event, place)
        heap = process.held_bytes()
        self.gained[place] += heap - self._heap
        self._heap = heap
