"""The doors by which a program watches itself: `memprof.watch` and `memprof.mark`."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from memprof.errors import UsageError
from memprof.values.watch import Look, Watched
from memprof.watching import observer
from memprof.watching.observer import END, Observer


class Watch:
    """Watches the agents of this process for as long as a `with` block runs.

    Agents that were built before it count; which line built them is known only if `memprof run`
    watches already.
    """

    def __init__(self) -> None:
        self._observer: Observer | None = None
        self._outer: Observer | None = None

    def __enter__(self) -> Self:
        self._outer = observer.current()
        self._observer = self._outer or Observer()
        if self._outer is None:
            self._observer.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._outer is None and self._observer is not None:
            self._observer.try_to_look(END)
            self._observer.stop()

    def ledger(self, name: str = "now") -> Look | None:
        """What living agents hold at this moment, kind by kind; None where none lives. It prints as
        a table.

        Raises:
            UsageError: the block has not begun.
        """
        return self._running().look(name)

    def watched(self) -> Watched:
        """All that was seen until now: looks, timeline, operations.

        Raises:
            UsageError: the block has not begun.
        """
        return self._running().watched()

    def _running(self) -> Observer:
        if self._observer is None:
            raise UsageError("memprof.watch: use it in a with block")
        return self._observer


def watch() -> Watch:
    """Watch the agents of this process: `with memprof.watch() as watch: ...`."""
    return Watch()


def mark(name: str) -> Look | None:
    """Have a look at all agents under this name, where `memprof run` or `memprof.watch` watches;
    the report has it. Elsewhere nothing happens, so that a program may keep its marks."""
    running = observer.current()
    return None if running is None else running.try_to_look(name)
