"""The job of the worker that tries plan after plan on the same agents: what `auto` chooses by.

All plans share the imports and the warm-up of one process. Its memory would tell what earlier plans
left behind; so the ledger says what agents hold, and time is that of steps next to those of the
plain population.
"""

from __future__ import annotations

import math
import statistics
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from msgspec.structs import replace

from memprof.errors import MemprofError
from memprof.instruments import DirectCalls, process, walker
from memprof.populations import Population
from memprof.populations.trace import DigestTrace, ValueTrace
from memprof.posix import own_seconds, waited_seconds
from memprof.profile.auto import Tried
from memprof.profile.passes import Plan
from memprof.profile.worker import caches, held_alone
from memprof.text import raised
from memprof.values.measurements import PlanComparison, PlanTrial, PlanTrials, TraceComparison
from memprof.values.requests import TryPlans
from memprof.worker.growth import Growth, Recorder
from memprof.worker.job import Channel, backend_of, warm_up

# Of whom the first may be the template of all others, and one is not like the next.
_FEWEST_AGENTS = 3
# A median of fewer is no time.
_FEWEST_STEPS = 8
# The first may wait for a library to load.
_LIVES = 2
_TICK_SECONDS = 1e-9


def try_plans(request: TryPlans, channel: Channel) -> PlanTrials:
    """Search, trying every plan that is not known yet; what is known is said after each."""
    process.expect_process()
    channel.progress("import")
    backend_of(request.spec)
    warm_up(request.spec, channel)
    with tempfile.TemporaryDirectory() as folder:
        bench = _Bench(request, channel, Path(folder) / "trace")
        bench.tried.search.run()
    return bench.tried.known


@dataclass(frozen=True, slots=True)
class _Lived:
    """How a population lived.

    Attributes:
        peak_known: what it took at most can be told.
        life: seconds of building it, and of all its steps.
        seconds: of each stretch of its steps, once it had compiled.
    """

    population: Population
    peak_known: bool
    life: float
    seconds: Sequence[float]


class _Bench:
    def __init__(self, request: TryPlans, channel: Channel, file: Path) -> None:
        self._spec, self._channel, self._file = request.spec, channel, file
        self._type = backend_of(request.spec)
        self.tried = Tried(
            request.spec, request.max_slowdown, request.known, self._attempt, self._compare
        )
        process.settle()
        self._empty_bytes = process.read().private_bytes
        known = next((each.agents for each in request.known.trials if each.agents), None)
        self._agents, self._steps = self._enough(known)

    def _enough(self, agents: int | None) -> tuple[int, int]:
        """So many agents live so many steps that their time can be told, by the life of one; all of
        them where they live together, or as many as before."""
        spec = self._spec
        if self._type.rebuilds:
            return spec.agents, spec.steps
        lives = spec.effort.plan_seconds / min(self._life() for _ in range(_LIVES))
        agents = agents or min(spec.agents, max(_FEWEST_AGENTS, int(lives)))
        return agents, min(spec.steps, max(_FEWEST_STEPS, int(lives / agents * spec.steps)))

    def _life(self) -> float:
        with self._lived((), 1, self._spec.steps) as lived:
            return lived.life

    def _attempt(self, plan: Plan) -> PlanTrial:
        try:
            found = self._trial(plan)
        except Exception as error:
            if not plan:
                raise  # without the plain population there is nothing to choose
            traceback.clear_frames(error.__traceback__)
            is_ours = isinstance(error, MemprofError)
            found = PlanTrial(
                plan, str(error) if is_ours else f"the worker failed: {raised(error)}"
            )
        self._keep(replace(self.tried.known, trials=(*self.tried.known.trials, found)))
        return found

    def _keep(self, known: PlanTrials) -> None:
        self.tried.known = known
        self._channel.part(known)

    def _trial(self, plan: Plan) -> PlanTrial:
        """The plain population lives before and after, so that the machine's own pace, which
        changes, is in all of them."""
        self._channel.progress(f"try {' + '.join(plan) or 'no passes'}", self._agents)
        first = self._seconds(())
        digests = DigestTrace(self._agents, self._spec.steps, with_others=True)
        with self._lived(plan, self._agents, self._spec.steps, digests, fresh=True) as lived:
            found = self._figures(plan, lived, digests)
        again, last = self._seconds(plan), self._seconds(())
        one = lived.seconds[: len(first)]
        return replace(
            found,
            paces=(_pace(one, first), _pace(again, last)),
            plain_pace=_pace(last, first),
        )

    def _seconds(self, plan: Plan) -> Sequence[float]:
        with self._lived(plan, self._agents, self._steps) as lived:
            return lived.seconds

    @contextmanager
    def _lived(
        self,
        plan: Plan,
        agents: int,
        steps: int,
        recorder: Recorder | None = None,
        *,
        fresh: bool = False,
    ) -> Iterator[_Lived]:
        """A population that has lived so many steps, and goes when this ends; `fresh`, with nothing
        left of what the backend remembers of others, and of what they took at most."""
        spec = self._spec
        passes = (*spec.passes, *plan)
        population = self._type(replace(spec, passes=passes, agents=agents), DirectCalls())
        try:
            if fresh:
                population.drop_caches()
            process.settle()
            peak_known = fresh and process.reset_peak()
            growth = Growth(population, spec.steps, recorder)
            start = own_seconds()
            new, _ = growth.build(agents)
            seconds = list[float]()
            waited = waited_seconds() - population.aside.waited_seconds
            for _, elapsed in growth.stretches(new, range(steps)):
                was, waited = waited, waited_seconds() - population.aside.waited_seconds
                seconds.append(max(_TICK_SECONDS, elapsed - (waited - was)))
            compiled = population.compiles and len(seconds) > 1
            life = own_seconds() - start
            yield _Lived(population, peak_known, life, seconds[1:] if compiled else seconds)
        finally:
            population.close()

    def _figures(self, plan: Plan, lived: _Lived, digests: DigestTrace) -> PlanTrial:
        """All that the first life tells but its time."""
        population = lived.population
        agents, everybody = self._agents, self._spec.agents
        process.settle()
        rest = process.read()
        peak = process.peak_rss_bytes() if lived.peak_known else None
        walked = walker.walk(population.holdings(), agents)
        rows = (*walked.rows, *caches(population, rest.private_bytes))
        each = held_alone(plan, walked.resident or walked.nominal)
        mean = statistics.fmean(each)
        shared = sum(row.private_bytes + row.shared_bytes for row in rows) - agents * mean
        error = 0.0
        if agents < everybody:
            error = statistics.stdev(each) / math.sqrt(agents) * math.sqrt(1 - agents / everybody)
        return PlanTrial(
            plan=plan,
            agents=agents,
            held_bytes=mean,
            asked_bytes=statistics.fmean(held_alone(plan, walked.nominal)),
            held_error_bytes=error,
            fixed_bytes=self._empty_bytes + shared,
            transient_bytes=None if peak is None else peak - rest.rss_bytes,
            digest=blake2b("".join(digests.per_agent()).encode(), digest_size=16).hexdigest(),
            course=digests.course(),
        )

    def _compare(self, plan: Plan) -> TraceComparison:
        if not self._file.exists():
            self._traced((), compare=False)
        found = self._traced(plan, compare=True)
        known = self.tried.known
        comparisons = (*known.comparisons, PlanComparison(plan, found))
        self._keep(replace(known, comparisons=comparisons))
        return found

    def _traced(self, plan: Plan, *, compare: bool) -> TraceComparison:
        with self._file.open("rb" if compare else "wb") as stream:
            values = ValueTrace(stream, compare=compare)
            with self._lived(plan, self._agents, self._spec.steps, values):
                return values.comparison()


def _pace(one: Sequence[float], other: Sequence[float]) -> float:
    return statistics.median(one) / statistics.median(other)
