"""PyMDP's operations, counted and timed in the program that calls them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial, wraps
from time import perf_counter
from types import FunctionType
from typing import Any

from memprof.values.watch import OperationUse
from memprof.watching.peaks import FIRST, TIMES, Peaks
from memprof.watching.registry import BackendName, Registry, put_back
from memprof.watching.tracebacks import leave_out

ACT = "sample_action"
"""The last of a step."""
NAMES = (
    "infer_states", "infer_policies", ACT,
    "update_A", "update_B", "update_D", "infer_parameters", "update_empirical_prior",
)  # fmt: skip
"""Methods of PyMDP's agents that are a part of a step."""
# One call of so many is read before and after, the second first: the first one also fills caches.
_SAMPLED, _FIRST_SAMPLE = 64, 2

# Told of the seconds that a call took as it was read, it gives those that it would have taken.
_End = Callable[[float], float]


class Use:
    """What one operation did until now. Threads may lose one another's calls: it is a count, and no
    lock is worth it."""

    __slots__ = (
        "calls", "kept_bytes", "next_peak", "next_reading", "next_sample", "peak_bytes", "peaks",
        "sampled", "seconds",
    )  # fmt: skip

    def __init__(self, *, allocates: bool) -> None:
        self.calls = self.sampled = self.kept_bytes = self.peaks = 0
        self.seconds = 0.0
        self.peak_bytes: int | None = None
        self.next_peak = FIRST if allocates else sys.maxsize
        self.next_sample = self.next_reading = _FIRST_SAMPLE

    @property
    def usual_seconds(self) -> float:
        """Of a call before this one, the mean."""
        return self.seconds / max(1, self.calls - 1)

    def begin(self, read: Callable[[], int], peaks: Peaks) -> _End | None:
        """Read the call that comes: what it allocates at once, or keeps. None if it is better not
        to."""
        peak, sample = self.calls >= self.next_peak, self.calls >= self.next_sample
        if peak:
            self.next_peak = TIMES * self.calls
        if sample:
            self.next_sample = self.calls + _SAMPLED
        self.next_reading = min(self.next_peak, self.next_sample)
        if peak and peaks.begin(self.usual_seconds):
            return partial(self._end_peak, peaks)
        if sample and not peaks.reading:  # tracing takes memory of its own
            return partial(self._end_sample, read, read())
        return None

    def _end_peak(self, peaks: Peaks, seconds: float) -> float:
        usual = self.usual_seconds
        found = peaks.end(seconds, usual)
        if found is not None:
            self.peaks += 1
            self.peak_bytes = max(found, self.peak_bytes or 0)
        return min(seconds, usual)

    def _end_sample(self, read: Callable[[], int], before: int, seconds: float) -> float:
        self.kept_bytes += read() - before
        self.sampled += 1
        return seconds


class Operations:
    """Counts calls of PyMDP's methods. `on_call` is told of a call when it is over: its name, its
    agent, and what it came to, or None; but of none that tells nothing new."""

    def __init__(
        self,
        read: Callable[[], int],
        on_call: Callable[[str, Any, Any], None],
        peaks: Peaks,
        registry: Registry,
    ) -> None:
        self._read, self._on_call, self._peaks, self._registry = read, on_call, peaks, registry
        self._put_back: list[Callable[[], None]] = []
        self.uses: dict[str, Use] = {}

    def watch(self, kind: type, backend: BackendName) -> None:
        """Count those of this class; a class derived from it that overrides one calls it as ever,
        or does not."""
        for name in NAMES:
            found = kind.__dict__.get(name)
            if found is not None:
                setattr(kind, name, self._counted(name, found, backend))
                self._put_back.append(partial(put_back, kind, name, vars(kind)[name], found))

    def steps(self) -> int:
        """That agents have lived, or batches of them."""
        return self.uses[ACT].calls if ACT in self.uses else 0

    def stop(self) -> None:
        """Leave PyMDP's classes as they were."""
        while self._put_back:
            self._put_back.pop()()

    def used(self) -> tuple[OperationUse, ...]:
        """Those that were called, until now."""
        return tuple(
            OperationUse(
                operation=name,
                calls=use.calls,
                seconds=use.seconds,
                kept_bytes=use.kept_bytes / max(1, use.sampled),
                sampled=use.sampled,
                peak_bytes=use.peak_bytes,
                peaks=use.peaks,
            )
            for name, use in self.uses.items()
            if use.calls
        )

    def _counted(self, name: str, method: Any, backend: BackendName) -> Any:
        """The same method, which counts; equinox wraps those of its modules, so that they are
        functions with arrays to JAX: it wraps this one likewise."""
        function = method if isinstance(method, FunctionType) else getattr(method, "method", None)
        if not callable(function):
            return method
        # Python and tracemalloc see what NumPy allocates, and its agents change in place.
        in_place = backend == "numpy"
        use = self.uses.setdefault(name, Use(allocates=in_place))
        read, on_call, peaks, registry = self._read, self._on_call, self._peaks, self._registry
        tells = name == ACT or not in_place

        @wraps(function)
        def counted(*values: Any, **keywords: Any) -> Any:
            use.calls += 1
            end = use.begin(read, peaks) if use.calls >= use.next_reading else None
            found = None
            start = perf_counter()
            try:
                found = function(*values, **keywords)
            except BaseException as error:
                leave_out(error)
                raise
            finally:
                seconds = perf_counter() - start
                use.seconds += seconds if end is None else end(seconds)
                registry.turn += 1
                agent = values[0] if values else None
                if tells or not registry.is_settled(agent):
                    on_call(name, agent, found)
            return found

        return counted if function is method else type(method)(counted)
