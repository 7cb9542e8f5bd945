"""A thread that activates agents ahead of their use."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Ahead:
    """A thread that does `task` for the agent that was asked for last; it never raises."""

    def __init__(self, task: Callable[[int], None]) -> None:
        self._task = task
        self._asked: int | None = None
        self._ended = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="memprof-ahead", daemon=True)
        self._thread.start()

    def ask(self, index: int) -> None:
        """Do the task for this agent, when the one at hand is done."""
        with self._changed:
            self._asked = index
            self._changed.notify()

    def end(self) -> None:
        """Wait for what is being done, and end."""
        with self._changed:
            self._ended = True
            self._changed.notify()
        if self._thread is not threading.current_thread():  # whose garbage collection ends us
            self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                while self._asked is None and not self._ended:
                    self._changed.wait()
                if self._ended:
                    return
                index, self._asked = self._asked, None
            assert index is not None
            self._task(index)
