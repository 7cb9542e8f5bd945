"""Workers, started one after the other, with somebody told of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from memprof.errors import ScenarioError
from memprof.launch.spawn import Finished, Limits, run_worker
from memprof.scenario.file import LoadedScenario
from memprof.values.measurements import Mark
from memprof.values.requests import R, Request


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
