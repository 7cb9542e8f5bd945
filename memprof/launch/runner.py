"""What one command's run has in common: its workers, started one after the other, what is kept of
them on a failure, and how it ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from memprof.errors import Interrupted, MeasurementError, MemprofError, ScenarioError
from memprof.launch.spawn import Finished, Limits, run_worker
from memprof.scenario import LoadedScenario
from memprof.values.measurements import Mark
from memprof.values.requests import R, Request

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
    """Told what is going on, for progress on the way; this one keeps it to itself."""

    def worker(self, title: str, number: int, total: int) -> None:
        """The `number`-th of `total` workers starts."""

    def phase(self, mark: Mark) -> None:
        """The worker enters a phase."""


@dataclass(slots=True)
class Crew:
    """Starts the workers of one scenario, one after the other."""

    loaded: LoadedScenario
    limits: Limits
    observer: Observer
    total: int = 0
    started: int = 0

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
        self.started += 1
        self.observer.worker(title, self.started, self.total)
        limits = limits or self.limits
        try:
            return run_worker(request, limits, self.observer.phase, sample=sample, on_part=on_part)
        except ScenarioError as error:
            raise ScenarioError(
                error.field,
                error.problem,
                where=self.loaded.where(error.field),
                detail=error.detail,
            ) from None
