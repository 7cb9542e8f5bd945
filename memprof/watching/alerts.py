"""Telling somebody, once, that a budget is broken or that the process goes on growing."""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
from collections import Counter
from collections.abc import Callable

from memprof.values.live import Alert, Live

LOGGER = logging.getLogger("memprof")
"""A warning for each alert, and a note of INFO when all is well again."""
# What a callback may still do when the block of `memprof.watch` ends.
_GRACE_SECONDS = 5.0

Callback = Callable[[Alert], object]


class Alerts:
    """Judges what a process says of itself, time after time.

    An alert is raised once, and again only after it has been well in between: the largest agent of
    the kind is within the budget again, or no more agents of it live; the process no longer grows.
    Until growth is judged again, as with other agents, it stays as it was.

    Args:
        budget_bytes: that the largest agent of each kind may hold alone.
        leak_seconds: for so long the judgement of each time has to be a leak, with further steps.
        callback: is told, in a thread of its own, which delays neither the program nor its forks.
    """

    def __init__(
        self, budget_bytes: int | None, leak_seconds: float, callback: Callback | None
    ) -> None:
        self.budget_bytes = budget_bytes
        self._leak_seconds, self._callback = leak_seconds, callback
        self._judging = threading.Lock()
        self._telling: list[threading.Thread] = []
        self._active: dict[tuple[str, str], Alert] = {}
        self._leaks_since: float | None = None
        self._last_step = 0
        self.raised: Counter[tuple[str, str]] = Counter()
        """How often each was, by what it is of and its kind."""

    @property
    def active(self) -> tuple[Alert, ...]:
        """Those that are not well yet."""
        return (*self._active.values(),)

    def judge(self, live: Live) -> None:
        """Raise what is new, and let go what is well again."""
        if not self._judging.acquire(blocking=False):
            return  # another thread does
        try:
            for alert in (*self._budgets(live), *self._growth(live)):
                self._active[alert.what, alert.kind] = alert
                self.raised[alert.what, alert.kind] += 1
                self._tell(alert)
        finally:
            self._judging.release()

    def _budgets(self, live: Live) -> list[Alert]:
        limit = self.budget_bytes
        if limit is None:
            return []
        broken: dict[str, float] = {}
        for kind in live.kinds:
            size = kind.largest_bytes or 0.0
            if kind.agents and size > max(limit, broken.get(kind.name, 0.0)):
                broken[kind.name] = size
        for what, name in [*self._active]:
            if what == "budget" and name not in broken:
                self._let_go(what, name)
        return [
            Alert("budget", name, size, limit, live.seconds)
            for name, size in broken.items()
            if ("budget", name) not in self._active
        ]

    def _growth(self, live: Live) -> list[Alert]:
        found = live.growth
        if found is None or found.verdict is None or found.last_step == self._last_step:
            return []
        self._last_step = found.last_step
        if found.verdict != "leak":
            self._leaks_since = None
            if found.verdict == "clean":
                self._let_go("growth", "")
            return []
        if self._leaks_since is None:
            self._leaks_since = live.seconds
        long = live.seconds - self._leaks_since >= self._leak_seconds
        if not long or ("growth", "") in self._active:
            return []
        return [Alert("growth", "", found.bytes_per_step or 0.0, None, live.seconds)]

    def _let_go(self, what: str, kind: str) -> None:
        if (alert := self._active.pop((what, kind), None)) is not None:
            well = f"{kind}: within the budget" if kind else "the process no longer grows"
            self._start(lambda: LOGGER.info("well again: %s", well, extra={"alert": alert}))

    def _tell(self, alert: Alert) -> None:
        def tell() -> None:
            LOGGER.warning("%s", alert, extra={"alert": alert})
            if self._callback is not None:
                try:
                    self._callback(alert)
                except BaseException:
                    LOGGER.exception("the callback of an alert failed")

        self._start(tell)

    def _start(self, tell: Callable[[], None]) -> None:
        """In a thread that the program sees: its own code runs in it."""

        def safely() -> None:
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
            with contextlib.suppress(Exception):  # handlers of the program's own
                tell()

        thread = threading.Thread(target=safely, name="memprof alert", daemon=True)
        with contextlib.suppress(RuntimeError):  # no room for one more
            thread.start()
            self._telling = [*filter(threading.Thread.is_alive, self._telling), thread]

    def finish(self) -> None:
        """Wait until all was told, for a while."""
        for thread in self._telling:
            if thread is not threading.current_thread():
                thread.join(_GRACE_SECONDS)
