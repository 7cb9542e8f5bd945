"""What happens in a watched process at every interval."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from memprof.watching import unseen


class Pulse:
    """Calls `beat` every so many seconds, in a thread that the program does not see; forks of the
    program neither have it nor put it off."""

    def __init__(self, seconds: float, beat: Callable[[], None]) -> None:
        self._seconds, self._beat = seconds, beat
        self._next = time.monotonic() + seconds
        self._resting = threading.Event()
        self._at_work: threading.Lock | None = None

    def go_on(self) -> None:
        self._resting.clear()
        self._at_work = unseen.start(self._work)

    def rest(self) -> None:
        self._resting.set()
        unseen.wait_for(self._at_work)
        self._at_work = None

    def let_go(self) -> None:
        """There is nothing open."""

    def _work(self) -> None:
        while not self._resting.wait(max(0.0, self._next - time.monotonic())):
            self._beat()
            self._next = time.monotonic() + self._seconds
