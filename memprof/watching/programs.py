"""What JAX traces and compiles in a program, by the user's line that asks for it."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from types import FrameType, ModuleType
from typing import Any

from memprof.values.watch_jax import Compiling, TracedLine
from memprof.watching.registry import Place

_MOST_LINES = 10


class Programs:
    """Listens to JAX from when it is imported on; `line_of` tells a frame's line of the user's,
    `step` how many steps agents have lived."""

    def __init__(
        self, line_of: Callable[[FrameType], Place | None], step: Callable[[], int]
    ) -> None:
        self._line_of, self._step = line_of, step
        self._traced: Counter[Place | None] = Counter()
        self._steps: Counter[Place | None] = Counter()
        self._latest: dict[Place | None, int] = {}
        self._compiled, self._seconds = 0, 0.0
        self._jax: Any = None

    def watch(self, jax: ModuleType) -> None:
        """Begin to listen; a module that is loaded anew has the same ears."""
        if self._jax is not None:
            return
        from memprof.instruments.device import COMPILED, TRACED

        self._events = TRACED, COMPILED
        self._jax = jax
        self._jax.monitoring.register_event_duration_secs_listener(self._heard)

    def stop(self) -> None:
        """No longer; older releases of JAX cannot forget a single listener."""
        jax, self._jax = self._jax, None
        forget = getattr(jax and jax.monitoring, "unregister_event_duration_listener", None)
        if forget is not None:
            forget(self._heard)

    def _heard(self, event: str, duration_secs: float, **_: Any) -> None:
        traced, compiled = self._events
        if self._jax is None:
            return
        if event == traced:
            place, step = self._line_of(sys._getframe(1)), self._step()
            self._traced[place] += 1
            self._steps[place] += self._latest.get(place) != step
            self._latest[place] = step
        elif event == compiled:
            self._compiled += 1
            self._seconds += duration_secs

    def compiling(self, folder: str) -> Compiling | None:
        """What was seen; None where nothing was traced."""
        from memprof.instruments.source_lines import short_path, text_of

        if not self._traced and not self._compiled:
            return None
        lines = tuple(
            TracedLine(
                path=short_path(place[0], folder),
                line=place[1],
                text=text_of(place),
                traces=count,
                steps=self._steps[place],
            )
            for place, count in self._traced.most_common(_MOST_LINES)
            if place is not None
        )
        return Compiling(self._traced.total(), self._compiled, self._seconds, lines)
