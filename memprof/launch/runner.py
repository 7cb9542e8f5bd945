"""What one command's run has in common: its workers, one after the other or beside each other, what
is kept of them on a failure, and how it ends."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, RLock, Thread
from typing import TYPE_CHECKING, Generic, TypeVar

from memprof.errors import Interrupted, MeasurementError, MemprofError, ScenarioError
from memprof.launch.forks import Forks
from memprof.launch.limits import left_bytes
from memprof.launch.machine import keeper_of_programs
from memprof.launch.spawn import Finished, run_worker
from memprof.launch.start import Halt, new_folder
from memprof.posix import Limits, processors
from memprof.values.measurements import Mark
from memprof.values.requests import R, Request

if TYPE_CHECKING:
    from memprof.scenario import LoadedScenario

T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Outcome(Generic[T_co]):
    """A command's report, and what the command ends with: None when all is well."""

    report: T_co
    failure: MemprofError | None


@dataclass(slots=True)
class Measuring:
    """Measurements that a failure or Ctrl-C may end early; `failure` is what did."""

    failure: MemprofError | None = field(default=None, kw_only=True)

    @contextmanager
    def kept(self, anything: Callable[[], object]) -> Iterator[None]:
        """Note what ends the measurements in here, so that they outlive it; unless there is not
        `anything` yet.

        Raises:
            MeasurementError: nothing was measured, or the user ended it before that.
        """
        try:
            yield
        except MeasurementError as error:
            if not anything():
                raise
            self.failure = self.failure or error
        except KeyboardInterrupt:
            if not anything():
                raise Interrupted("interrupted before anything was measured") from None
            self.failure = Interrupted()


class Observer:
    """Told what is going on, for progress on the way, by one thread at a time; this one keeps it to
    itself."""

    def worker(self, title: str, number: int, total: int, left_seconds: float | None) -> None:
        """The `number`-th of `total` workers, or fewer, starts; 0 where that is not known. All of
        them together take about so long yet; None where nothing is known of it."""

    def phase(self, title: str, mark: Mark) -> None:
        """The worker of that title enters a phase."""

    def known(self, finding: str) -> None:
        """A figure is known, in words; it may become more certain."""


class Named(Observer):
    """An observer that is told what a worker measures, a scenario or a kind."""

    def __init__(self, observer: Observer, name: str) -> None:
        self._observer = observer
        self._name = name

    def worker(self, title: str, number: int, total: int, left_seconds: float | None) -> None:
        self._observer.worker(f"{self._name}: {title}", number, total, left_seconds)

    def phase(self, title: str, mark: Mark) -> None:
        self._observer.phase(f"{self._name}: {title}", mark)

    def known(self, finding: str) -> None:
        self._observer.known(f"{self._name}: {finding}")


CLOCKLESS = ("extend", "ledger")
"""Phases that begin when a worker has timed its last step."""
# More than that wait for memory rather than for a processor.
_MOST_LANES = 4
# What an instrument keeps of a population, beside it.
_ROOM = 1.5


@dataclass(slots=True)
class Crew:
    """Starts the workers of one scenario.

    Attributes:
        total: how many workers there are to be, or no more than that; 0 while nobody knows.
        beside: how many of those to come need no clock, and so run beside each other.
    """

    loaded: LoadedScenario
    limits: Limits
    observer: Observer
    total: int = 0
    beside: int = 0
    started: int = field(default=0, init=False)
    _took: list[float] = field(default_factory=list, init=False)
    _halt: Halt | None = field(default=None, init=False)
    _forks: Forks | None = field(default=None, init=False)
    _free: Event = field(default_factory=Event, init=False)
    _told: RLock = field(default_factory=RLock, init=False)
    _cache: tempfile.TemporaryDirectory[str] | None = field(default=None, init=False)

    def run(
        self,
        title: str,
        request: Request[R],
        *,
        sample: bool = False,
        on_part: Callable[[R], None] | None = None,
        limits: Limits | None = None,
    ) -> Finished[R]:
        """Run one job; within other `limits` than those of the crew if they are given."""
        with self._told:
            self.started += 1
            self.observer.worker(title, self.started, self.total, self._left_seconds())
        start = time.monotonic()

        def on_progress(mark: Mark) -> None:
            with self._told:
                self.observer.phase(title, mark)
            if mark.label in CLOCKLESS:
                self._free.set()

        try:
            return run_worker(
                request,
                limits or self.limits,
                on_progress,
                sample=sample,
                on_part=on_part,
                halt=self._halt,
                forks=self._forks,
                cache=None if self._cache is None else Path(self._cache.name),
            )
        except ScenarioError as error:
            raise ScenarioError(
                error.field,
                error.problem,
                where=self.loaded.where(error.field),
                detail=error.detail,
            ) from None
        finally:
            with self._told:
                self._took.append(time.monotonic() - start)

    @contextmanager
    def forking(self, workers: int) -> Iterator[None]:
        """Fork what can be forked from one process that has imported the backend, if that is true
        of more than one of the coming `workers`."""
        if workers < 2:
            yield
            return
        with Forks() as forks:
            self._forks = forks
            try:
                yield
            finally:
                self._forks = None

    @property
    def compiles(self) -> bool:
        """Whether the scenario's backend compiles programs that a worker may have from another:
        those that the user keeps are in a place of their own."""
        return keeper_of_programs(self.loaded.scenario.backend) == "none"

    def keep_compiled(self) -> None:
        """From now on workers have what others have compiled, for as long as there is this crew.

        Raises:
            WorkerFailed: there is no place for it.
        """
        if self._cache is None:
            self._cache = new_folder()

    @property
    def is_abreast(self) -> bool:
        """Whether a worker that starts now has others beside it."""
        return self._halt is not None and self._free.is_set()

    def say(self, finding: str) -> None:
        """Tell of a figure that is known now."""
        with self._told:
            self.observer.known(finding)

    def all_of(
        self, tasks: Sequence[Callable[[], None]], room_bytes: int, *, after_clock: bool = False
    ) -> None:
        """Do all tasks, each by workers that need no clock: several at a time where there are
        processors for them, and memory for so many of `room_bytes`. What ends one of them, or
        Ctrl-C, ends all workers at once. If the first task needs a clock, the others wait until
        its worker has looked at it for the last time.

        Raises:
            whatever a task raises.
        """
        lanes = min(len(tasks), _lanes(room_bytes))
        if lanes <= 1:
            for task in tasks:
                task()
            return
        left, errors = iter(tasks), list[BaseException]()
        self._free.clear()

        def lane(over: Event, waits: bool) -> None:
            try:
                if waits:
                    self._free.wait()
                for task in left:
                    task()
                    self._free.set()
                    if errors:
                        break
            except BaseException as error:
                errors.append(error)
                halt.call()
            finally:
                self._free.set()
                over.set()

        # A Thread.join that is interrupted takes the thread for one that has ended.
        overs = [Event() for _ in range(lanes)]
        threads = [
            Thread(target=lane, args=(over, after_clock and over is not overs[0])) for over in overs
        ]
        with Halt() as halt:
            self._halt = halt
            if not after_clock:
                self._free.set()
            try:
                for each in threads:
                    each.start()
                for over in overs:
                    over.wait()
            finally:
                halt.call()
                for each, over in zip(threads, overs, strict=True):
                    if each.ident is not None:
                        over.wait()
                self._halt = None
        if errors:
            raise errors[0]

    def _left_seconds(self) -> float | None:
        if not self._took or not self.total:
            return None
        coming = self.total - self.started + 1
        beside = min(self.beside, coming)
        lanes = min(max(1, beside), _most_lanes())
        each = statistics.median(self._took)  # one that searches takes much longer than any other
        return (coming - beside + beside / lanes) * each


def _most_lanes() -> int:
    return min(_MOST_LANES, processors())


def _lanes(room_bytes: int) -> int:
    """As many as have room; one where nothing tells how much there is."""
    with suppress(MeasurementError):
        return min(_most_lanes(), int(left_bytes() / (_ROOM * max(1, room_bytes))))
    return 1
