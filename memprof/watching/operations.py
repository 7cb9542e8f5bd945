"""PyMDP's operations, counted and timed in the program that calls them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, wraps
from time import perf_counter
from types import FunctionType
from typing import Any

from memprof.watching.registry import put_back

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

    __slots__ = ("calls", "kept_bytes", "sampled", "seconds")

    def __init__(self) -> None:
        self.calls = self.sampled = self.kept_bytes = 0
        self.seconds = 0.0


class Operations:
    """Counts calls of PyMDP's methods; `on_call` is told of each when it is over: its name,
    its agent, and what it came to, or None."""

    def __init__(self, read: Callable[[], int], on_call: Callable[[str, Any, Any], None]) -> None:
        self._read, self._on_call = read, on_call
        self._put_back: list[Callable[[], None]] = []
        self.uses: dict[str, Use] = {}

    def watch(self, kind: type) -> None:
        """Count those of this class; a class derived from it that overrides one calls it as ever,
        or does not."""
        for name in NAMES:
            found = kind.__dict__.get(name)
            if found is not None:
                setattr(kind, name, self._counted(name, found))
                self._put_back.append(partial(put_back, kind, name, vars(kind)[name], found))

    def stop(self) -> None:
        """Leave PyMDP's classes as they were."""
        while self._put_back:
            self._put_back.pop()()

    def _counted(self, name: str, method: Any) -> Any:
        """The same method, which counts; equinox wraps those of its modules, so that they are
        functions with arrays to JAX: it wraps this one likewise."""
        function = method if isinstance(method, FunctionType) else getattr(method, "method", None)
        if not callable(function):
            return method
        use = self.uses.setdefault(name, Use())
        read, on_call = self._read, self._on_call

        @wraps(function)
        def counted(*values: Any, **keywords: Any) -> Any:
            use.calls += 1
            sampled = use.calls % _SAMPLED == 2  # the first one also fills caches
            before = read() if sampled else 0
            found = None
            start = perf_counter()
            try:
                found = function(*values, **keywords)
            finally:
                use.seconds += perf_counter() - start
                if sampled:
                    use.kept_bytes += read() - before
                    use.sampled += 1
                on_call(name, values[0] if values else None, found)
            return found

        return counted if function is method else type(method)(counted)
