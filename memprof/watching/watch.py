"""The doors by which a program watches itself: `memprof.watch` and `memprof.mark`."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Self

from memprof.errors import UsageError
from memprof.text import parse_seconds, shown
from memprof.values.live import Alert, Live
from memprof.values.watch import Look, Watched, per_agent_budget
from memprof.watching import observer
from memprof.watching.alerts import Alerts, Callback
from memprof.watching.observer import END, Observer
from memprof.watching.pulse import Pulse

if TYPE_CHECKING:
    from memprof.watching.exporter import Exporter, Metrics

_SHORTEST = 0.1
_MOST_PORT = 65_535


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a watch is to do while it lasts: see `watch`. Without an interval, nothing."""

    interval: float | None
    prometheus_port: int | None
    prometheus_address: str
    budget_bytes: int | None
    leak_seconds: float
    alert: Callback | None


class Watch:
    """Watches the agents of this process for as long as a `with` block runs.

    Agents that were built before it count; which line built them is known only if `memprof run`
    watches already. Several may be in use, in one another or side by side: they share an observer.
    """

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self._observer: Observer | None = None
        self._running = False
        self._alerts = Alerts(wanted.budget_bytes, wanted.leak_seconds, wanted.alert)
        self._exporter: Exporter | None = None
        self._pulse: Pulse | None = None

    def __enter__(self) -> Self:
        if self._running:
            raise UsageError("memprof.watch: it watches already; make another one")
        self._observer, self._running = _join(), True
        try:
            self._begin(self._observer)
        except BaseException:
            self._end(self._observer)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._observer is None or not self._running:
            return
        if self._observer in _holders or self._pulse is not None:
            self._observer.try_to_look(END)
        if self._pulse is not None and not self._observer.stopped:
            self._judge()
            self._alerts.finish()
        self._end(self._observer)

    def _begin(self, watching: Observer) -> None:
        wanted = self._wanted
        if wanted.prometheus_port is not None:
            from memprof.watching.exporter import Exporter

            self._exporter = Exporter(
                self.metrics(), wanted.prometheus_address, wanted.prometheus_port
            )
            watching.parts.add(self._exporter)
        if wanted.interval is not None:
            self._pulse = Pulse(wanted.interval, self._beat)
            watching.parts.add(self._pulse)

    def _end(self, watching: Observer) -> None:
        self._running = False
        for part in (self._exporter, self._pulse):
            if part is not None:
                watching.parts.remove(part)
        self._exporter = self._pulse = None
        _leave(watching)

    def _beat(self) -> None:
        if self._observer is not None:
            self._observer.look_now()
            self._judge()

    def _judge(self) -> None:
        if self._observer is not None:
            self._alerts.judge(self._observer.live(0.0))

    @property
    def prometheus_port(self) -> int | None:
        """Where metrics are served now; None where they are not."""
        return self._exporter.port if self._exporter is not None else None

    @property
    def alerts(self) -> tuple[Alert, ...]:
        """Those that were raised, and are not well again."""
        return self._alerts.active

    def metrics(self) -> Metrics:
        """A collector of the same metrics for a registry of the program's own:
        `prometheus_client.REGISTRY.register(watch.metrics())`. It has none after the block.

        Raises:
            UsageError: the package prometheus_client is missing.
        """
        from memprof.watching.exporter import Metrics, check_library

        check_library()
        return Metrics(lambda: self.live() if self._running else None, self._alerts)

    def live(self) -> Live:
        """What `memprof top` and metrics say of this process, no more than a second old.

        Raises:
            UsageError: the block has not begun.
        """
        return self._watching().live()

    def ledger(self, name: str = "now") -> Look | None:
        """What living agents hold at this moment, kind by kind; None where none lives. It prints as
        a table.

        Raises:
            UsageError: the block has not begun.
        """
        return self._watching().look(name)

    def watched(self) -> Watched:
        """All that was seen until now: looks, timeline, operations.

        Raises:
            UsageError: the block has not begun.
        """
        return self._watching().watched()

    def _watching(self) -> Observer:
        if self._observer is None:
            raise UsageError("memprof.watch: use it in a with block")
        return self._observer


def watch(
    *,
    interval: str | float | None = None,
    prometheus_port: int | None = None,
    prometheus_address: str = "127.0.0.1",
    budget: str | None = None,
    alert: Callback | None = None,
    leak_after: str | float = "5 min",
) -> Watch:
    """Watch the agents of this process: `with memprof.watch() as watch: ...`.

    Args:
        interval: how often to look at agents and to judge, such as `"10 s"`; that is the default
            as soon as any of the others is given.
        prometheus_port: where to serve metrics over HTTP; 0 is any port that is free, and
            `watch.prometheus_port` says which. Needs the package prometheus_client.
        prometheus_address: of the interface to serve at; by default nobody outside this machine
            gets at it.
        budget: `"per_agent=2 MB"`: what one agent of any kind may hold alone.
        alert: is called with an `Alert` when the budget breaks, or when the process has been
            growing from step to step for `leak_after`; once, until it has been well again. It runs
            in a thread of its own. The logger `memprof` has a warning of it, too.
        leak_after: how long growth has to last until there is an alert.

    Raises:
        UsageError: one of them is wrong, or the package is missing.
    """
    following = (prometheus_port, budget, alert)
    if interval is None and any(each is not None for each in following):
        interval = "10 s"
    if prometheus_port is not None:
        from memprof.watching.exporter import check_library

        _check_port(prometheus_port)
        check_library()
    if alert is not None and not callable(alert):
        raise UsageError(f"memprof.watch: alert: expected a function, found {shown(alert)}")
    return Watch(
        Wanted(
            interval=None if interval is None else _seconds("interval", interval, _SHORTEST),
            prometheus_port=prometheus_port,
            prometheus_address=prometheus_address,
            budget_bytes=None if budget is None else _budget(budget),
            leak_seconds=_seconds("leak_after", leak_after, 0.0),
            alert=alert,
        )
    )


def _seconds(name: str, given: str | float, least: float) -> float:
    try:
        return parse_seconds(given, least)
    except ValueError as error:
        raise UsageError(f"memprof.watch: {name}: {error}, found {shown(given)}") from None


def _budget(given: str) -> int:
    try:
        return per_agent_budget(given)
    except ValueError as error:
        raise UsageError(f"memprof.watch: budget: {error}, found {shown(given)}") from None


def _check_port(port: int) -> None:
    if not isinstance(port, int) or isinstance(port, bool) or not 0 <= port <= _MOST_PORT:
        raise UsageError(
            f"memprof.watch: prometheus_port: expected 0 to {_MOST_PORT:,}, found {shown(port)}"
        )


_holders: Counter[Observer] = Counter()
_joining = threading.RLock()


def _join() -> Observer:
    """The observer of this process: the one that is there, or a new one, which works until all
    watches have left it."""
    with _joining:
        found = observer.current()
        if found is None:
            found = Observer()
            found.start()
            _holders[found] = 1
        elif found in _holders:
            _holders[found] += 1
        return found


def _leave(watching: Observer) -> None:
    with _joining:
        if watching not in _holders:
            return  # memprof run watches on
        _holders[watching] -= 1
        if not _holders[watching]:
            del _holders[watching]
            watching.stop()


def mark(name: str) -> Look | None:
    """Have a look at all agents under this name, where `memprof run` or `memprof.watch` watches;
    the report has it. Elsewhere nothing happens, so that a program may keep its marks."""
    running = observer.current()
    return None if running is None else running.try_to_look(name)
