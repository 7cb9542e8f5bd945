"""PyMDP's `rollout` in the program that calls it: what each call returns, and what of it lives."""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial, wraps
from time import perf_counter
from types import FrameType, ModuleType
from typing import Any

from memprof.values.watch_jax import Arrays, Rollout
from memprof.watching.registry import Place
from memprof.watching.tracebacks import leave_out

NAME, _AGENT = "rollout", "agent"
_RESULTS = ("last", "info")
"""What PyMDP calls the two things that it returns."""
_MOST_ROWS, _MOST_PARTS = 10, 8

Parts = tuple[tuple[str, int, int], ...]
"""Names, with bytes and the number of arrays."""


@dataclass(slots=True)
class _Use:
    calls: int = 0
    seconds: float = 0.0


class Rollouts:
    """Counts calls by the user's line, which `line_of` tells, and by what they return; `on_agent`
    is told of an agent that comes back, after the one that was given. What is called while JAX
    traces returns nothing yet, and is not counted."""

    def __init__(
        self,
        line_of: Callable[[FrameType], Place | None],
        on_agent: Callable[[Any, Any], None],
    ) -> None:
        self._line_of, self._on_agent = line_of, on_agent
        self._uses: dict[tuple[Place | None, Parts], _Use] = {}
        self._returned: dict[int, weakref.ref[Any]] = {}
        self._put_back: list[Callable[[], None]] = []

    def watch(self, module: ModuleType) -> None:
        """Count the function of this module, under its name in whichever module has it."""
        found = getattr(module, NAME, None)
        if callable(found):
            ours = self._counted(found)
            _replace(found, ours)
            self._put_back.append(partial(_replace, ours, found))

    def stop(self) -> None:
        """Leave it as it was."""
        while self._put_back:
            self._put_back.pop()()

    def _counted(self, rollout: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(rollout)
        def counted(*values: Any, **keywords: Any) -> Any:
            start = perf_counter()
            try:
                result = rollout(*values, **keywords)
            except BaseException as error:
                leave_out(error)
                raise
            self._take(result, perf_counter() - start, sys._getframe(1))
            last = result[0] if isinstance(result, tuple) and result else None
            if isinstance(last, dict):
                self._on_agent(values[0] if values else keywords.get(_AGENT), last.get(_AGENT))
            return result

        return counted

    def _take(self, result: Any, seconds: float, frame: FrameType) -> None:
        import jax

        sizes: dict[str, tuple[int, int]] = {}
        for path, leaf in jax.tree_util.tree_leaves_with_path(result):
            if isinstance(leaf, jax.core.Tracer):
                return
            if isinstance(leaf, jax.Array):
                size, count = sizes.get(name := _name_of(path), (0, 0))
                sizes[name] = size + getattr(leaf, "nbytes", 0), count + 1
                self._remember(leaf)
        largest = sorted(sizes.items(), key=lambda each: (-each[1][0], each[0]))
        parts = tuple((name, *size) for name, size in largest)
        use = self._uses.setdefault((self._line_of(frame), parts), _Use())
        use.calls += 1
        use.seconds += seconds

    def _remember(self, array: Any) -> None:
        key = id(array)
        self._returned[key] = weakref.ref(array, lambda _: self._returned.pop(key, None))

    def alive(self) -> list[Any]:
        """The arrays that any call has returned, and that somebody still holds."""
        return [array for each in [*self._returned.values()] if (array := each()) is not None]

    def rows(self, folder: str) -> Iterator[Rollout]:
        """What was seen, by line and by what was returned; those that returned most come first."""
        from memprof.instruments.source_lines import source_line

        def returned(each: tuple[tuple[Place | None, Parts], _Use]) -> int:
            (_, parts), use = each
            return use.calls * sum(size for _, size, _ in parts)

        for (place, parts), use in sorted([*self._uses.items()], key=returned, reverse=True)[
            :_MOST_ROWS
        ]:
            yield Rollout(
                at=None if place is None else source_line(place, folder),
                calls=use.calls,
                seconds=use.seconds,
                bytes_per_call=sum(size for _, size, _ in parts),
                parts=tuple(Arrays(*each) for each in parts[:_MOST_PARTS]),
            )


def _name_of(path: tuple[Any, ...]) -> str:
    """Such as `info['qs']`: all of a factor's or of an agent's arrays together."""
    from jax.tree_util import keystr

    result = getattr(path[0], "idx", None) if path else None
    if result is None or result >= len(_RESULTS):
        return str(keystr(path[:2]))
    return f"{_RESULTS[result]}{keystr(path[1:2])}"


def _replace(found: Any, other: Any) -> None:
    """Put one function in the place of another, in all modules that have it under its name."""
    for module in [*sys.modules.values()]:
        names = getattr(module, "__dict__", {})
        if names.get(NAME) is found:
            names[NAME] = other
