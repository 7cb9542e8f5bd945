"""Which source lines make JAX trace and compile anew, and what that costs."""

from __future__ import annotations

import sys
from collections import Counter
from typing import Self

import jax

from memprof.instruments import process
from memprof.instruments.source_lines import Place, running_place

_TRACED = "/jax/core/compile/jaxpr_trace_duration"
_COMPILED = "/jax/core/compile/backend_compile_duration"


class Compilations:
    """Programs that JAX has compiled since this was made; to count them costs nothing."""

    def __init__(self) -> None:
        self.count = 0
        jax.monitoring.register_event_duration_secs_listener(self._heard)

    def _heard(self, event: str, duration_secs: float, **kwargs: str | int) -> None:
        self.count += event == _COMPILED


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
        jax.monitoring.register_event_duration_secs_listener(self._heard)
        return self

    def __exit__(self, *exception: object) -> None:
        # Older releases of JAX cannot forget a single listener.
        unregister = getattr(jax.monitoring, "unregister_event_duration_listener", None)
        if unregister is not None:
            unregister(self._heard)

    def _heard(self, event: str, duration_secs: float, **kwargs: str | int) -> None:
        self._note(event, running_place(sys._getframe(1)))

    def _note(self, event: str, place: Place) -> None:
        if event == _TRACED:
            self.traced[place] += 1
        elif event == _COMPILED:
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
