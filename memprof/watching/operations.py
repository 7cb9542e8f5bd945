"""PyMDP's operations, counted and timed in the program that calls them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, wraps
from time import perf_counter
from types import FunctionType
from typing import Any

from memprof.values.watch import OperationUse
from memprof.watching.peaks import FIRST, TIMES, Peaks
from memprof.watching.registry import put_back
from memprof.watching.tracebacks import leave_out

ACT = "sample_action"
"""The last of a step."""
NAMES = (
    "infer_states", "infer_policies", ACT,
    "update_A", "update_B", "update_D", "infer_parameters", "update_empirical_prior",
)  # fmt: skip
"""Methods of PyMDP's agents that are a part of a step."""
# One call of so many is read before and after; a reading takes about 15 microseconds.
_SAMPLED = 16


class Use:
    """What one operation did until now. Threads may lose one another's calls: it is a count, and no
    lock is worth it."""

    __slots__ = ("calls", "kept_bytes", "next_peak", "peak_bytes", "peaks", "sampled", "seconds")

    def __init__(self) -> None:
        self.calls = self.sampled = self.kept_bytes = self.peaks = 0
        self.seconds = 0.0
        self.peak_bytes: int | None = None
        self.next_peak = FIRST

    @property
    def usual_seconds(self) -> float:
        """Of a call before this one, the mean."""
        return self.seconds / max(1, self.calls - 1)

    def begin_peak(self, peaks: Peaks) -> bool:
        """Read what this call allocates at once, if it is better to."""
        self.next_peak = TIMES * self.calls
        return peaks.begin(self.usual_seconds)

    def end_peak(self, peaks: Peaks, seconds: float) -> float:
        """The call is over, after so many seconds; those that it would have taken unread."""
        usual = self.usual_seconds
        found = peaks.end(seconds, usual)
        if found is not None:
            self.peaks += 1
            self.peak_bytes = max(found, self.peak_bytes or 0)
        return min(seconds, usual)


class Operations:
    """Counts calls of PyMDP's methods; `on_call` is told of each when it is over: its name,
    its agent, and what it came to, or None."""

    def __init__(
        self, read: Callable[[], int], on_call: Callable[[str, Any, Any], None], peaks: Peaks
    ) -> None:
        self._read, self._on_call, self._peaks = read, on_call, peaks
        self._put_back: list[Callable[[], None]] = []
        self.uses: dict[str, Use] = {}

    def watch(self, kind: type, *, allocates: bool) -> None:
        """Count those of this class; a class derived from it that overrides one calls it as ever,
        or does not. `allocates`: what it computes with is memory of Python's."""
        for name in NAMES:
            found = kind.__dict__.get(name)
            if found is not None:
                setattr(kind, name, self._counted(name, found, allocates=allocates))
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

    def _counted(self, name: str, method: Any, *, allocates: bool) -> Any:
        """The same method, which counts; equinox wraps those of its modules, so that they are
        functions with arrays to JAX: it wraps this one likewise."""
        function = method if isinstance(method, FunctionType) else getattr(method, "method", None)
        if not callable(function):
            return method
        use = self.uses.setdefault(name, Use())
        read, on_call, peaks = self._read, self._on_call, self._peaks

        @wraps(function)
        def counted(*values: Any, **keywords: Any) -> Any:
            use.calls += 1
            # The first one also fills caches.
            sampled = use.calls % _SAMPLED == 2 and not peaks.reading
            before = read() if sampled else 0
            found, traced = None, False
            start = perf_counter()
            try:
                if allocates and use.calls >= use.next_peak:
                    traced = use.begin_peak(peaks)
                found = function(*values, **keywords)
            except BaseException as error:
                leave_out(error)
                raise
            finally:
                seconds = perf_counter() - start
                use.seconds += use.end_peak(peaks, seconds) if traced else seconds
                if sampled and not traced:  # tracing takes memory of its own
                    use.kept_bytes += read() - before
                    use.sampled += 1
                on_call(name, values[0] if values else None, found)
            return found

        return counted if function is method else type(method)(counted)
