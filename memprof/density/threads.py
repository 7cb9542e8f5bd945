"""The job `threads`: one population stepped by one thread and by several, in turn."""

from __future__ import annotations

import os
import threading
from array import array
from contextlib import ExitStack
from queue import SimpleQueue
from time import perf_counter, process_time
from typing import Self, TypeAlias

from memprof.catalogue.backends import BACKENDS
from memprof.errors import ScenarioError
from memprof.instruments import DirectCalls, process
from memprof.populations import Population
from memprof.populations.thread_random import thread_random
from memprof.populations.trace import DigestTrace
from memprof.posix import processors
from memprof.values.measurements import ThreadsRun
from memprof.values.population import PopulationSpec
from memprof.values.requests import StepInThreads
from memprof.worker.growth import Recorder
from memprof.worker.job import Channel, backend_of

# Few and long ones: when the machine is busy, a thread that is woken waits for a processor first.
_BLOCKS = 10
# Trials of how many threads to run at once, and the most steps of one.
_TRIALS, _LONGEST_TRIAL = 4, 5
# More threads at once have to be that much faster in every trial: chance alone decides below it,
# and threads that wait for the interpreter cost time that other processes could use.
_PAYS_OFF = 0.97


def step_in_threads(request: StepInThreads, channel: Channel) -> ThreadsRun:
    """Let the agents live the scenario's steps, blocks of them in one thread and in several by
    turns; before the baseline, as many as it takes to find how many threads to run at once.

    Raises:
        ScenarioError: so many threads do not fit the scenario, or its agents cannot be stepped.
    """
    spec, count = request.spec, request.threads
    _check(spec, count)
    process.expect_process()
    channel.progress("import")
    population = backend_of(spec)(spec, DirectCalls())
    digests = DigestTrace(spec.agents, spec.steps)
    channel.progress("build", spec.agents)
    population.grow(spec.agents)
    length = max(1, spec.steps // _BLOCKS)
    blocks = [
        range(first, min(first + length, spec.steps)) for first in range(0, spec.steps, length)
    ]
    seconds, processor = (array("d", [0.0]) * len(blocks) for _ in range(2))
    with ExitStack() as stack:
        stack.enter_context(thread_random())
        crew = stack.enter_context(Crew(population, count, digests))
        channel.progress("warm up", spec.agents)
        lived, running = _warm_up(crew, spec.effort.trial_seconds)
        if running == 1:
            crew.stay_on_one_processor()
        channel.progress("settle", spec.agents)
        process.settle()
        peak_known = process.reset_peak()
        before = process.read().private_bytes
        channel.progress("step", spec.agents)
        for number, steps in enumerate(blocks):
            shifted = range(lived + steps.start, lived + steps.stop)
            start = process_time()
            elapsed = crew.live_alone(shifted) if _alone(number) else crew.live(shifted, running)
            processor[number] = (process_time() - start) / len(steps) / spec.agents
            seconds[number] = elapsed / len(steps) / spec.agents
        peak = process.peak_rss_bytes() if peak_known else None
        channel.progress("settle", spec.agents)
        process.settle()
        after = process.read().private_bytes
    facts = population.facts()
    population.close()
    channel.progress("done")
    return ThreadsRun(
        agents=spec.agents,
        steps=spec.steps,
        operations=spec.agents * spec.steps,
        threads=count,
        running=running,
        one_thread_seconds=_blocks(seconds, alone=True),
        threads_seconds=_blocks(seconds, alone=False),
        one_thread_cpu_seconds=_blocks(processor, alone=True),
        threads_cpu_seconds=_blocks(processor, alone=False),
        before_private_bytes=before,
        after_private_bytes=after,
        peak_rss_bytes=peak,
        facts=facts,
        digests=digests.per_agent(),
    )


def _check(spec: PopulationSpec, count: int) -> None:
    if BACKENDS[spec.backend].together:
        raise ScenarioError(
            "threads",
            "JAX agents live as one computation for all of them, which XLA spreads over the "
            "processors itself; threads are for the backend numpy",
        )
    if not 1 <= count <= spec.agents:
        raise ScenarioError(
            "threads", f"expected 1 to {spec.agents}, one agent each at least; found {count}"
        )
    if spec.steps < 2:
        raise ScenarioError(
            "steps", f"expected 2 at least, for one thread and for several; found {spec.steps}"
        )


def _alone(block: int) -> bool:
    """Whether one thread lives the block; drift over a run hits both orders alike."""
    return block % 4 in (0, 3)


def _blocks(values: array[float], *, alone: bool) -> tuple[float, ...]:
    return tuple(value for block, value in enumerate(values) if _alone(block) == alone)


def _warm_up(crew: Crew, trial_seconds: float) -> tuple[int, int]:
    """Let every thread run, and find how many at once pay off: steps lived, and that number.

    Threads that compute in Python take turns anyway, and then it costs time to let many try; those
    that compute in NumPy, or wait, can do so side by side.
    """
    crew.live_alone(range(1))  # finds facts that later steps only look up
    step_seconds = crew.live_alone(range(1, 2))
    length = max(1, min(_LONGEST_TRIAL, round(trial_seconds / step_seconds)))
    choices = sorted({1, min(processors(), crew.count), crew.count})
    lived, trials = 2, []
    for trial in range(_TRIALS):
        seconds = {}
        for choice in choices if trial % 2 == 0 else choices[::-1]:
            seconds[choice] = crew.live(range(lived, lived + length), choice)
            lived += length
        trials.append(seconds)
    best = choices[0]
    for choice in choices[1:]:
        if all(seconds[choice] < _PAYS_OFF * seconds[best] for seconds in trials):
            best = choice
    return lived, best


_Work: TypeAlias = tuple[threading.Lock, range, range]
"""A thread's share of a block: its lane, the agents, and the steps."""


class Crew:
    """Threads that let the agents of one population live, each its own share of them.

    A context manager: the threads have ended when its block has. Nothing else uses the agents while
    a method runs.
    """

    def __init__(self, population: Population, count: int, recorder: Recorder) -> None:
        self.count = count
        self._population = population
        self._recorder = recorder
        self._failed = False
        self._inboxes: list[SimpleQueue[_Work | None]] = [SimpleQueue() for _ in range(count)]
        self._outbox: SimpleQueue[BaseException | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        try:
            for inbox in self._inboxes:
                thread = threading.Thread(target=self._run, args=(inbox,), daemon=True)
                thread.start()
                self._threads.append(thread)
        except RuntimeError as error:  # all that Python says when there is no room for a stack
            self.__exit__()
            raise MemoryError(f"{error} after {len(self._threads)} of {self.count}") from error
        return self

    def __exit__(self, *error: object) -> None:
        for thread, inbox in zip(self._threads, self._inboxes, strict=False):
            inbox.put(None)
            thread.join()

    def stay_on_one_processor(self) -> None:
        """Keep this thread and the others on one processor, whose caches know the agents: those
        that take turns gain nothing from another one (Linux)."""
        if hasattr(os, "sched_setaffinity"):
            processor = {min(os.sched_getaffinity(0))}
            for identity in (0, *(thread.native_id for thread in self._threads)):
                os.sched_setaffinity(identity or 0, processor)

    def live_alone(self, steps: range) -> float:
        """Let this thread do it for all agents; the seconds of it."""
        start = perf_counter()
        self._live(range(len(self._population)), steps)
        return perf_counter() - start

    def live(self, steps: range, running: int) -> float:
        """Let the threads do it, at most `running` of them at one time; the seconds of it.

        They form so many lanes, in each of which one runs at a time. The lanes have equal shares of
        the agents, and in a lane so have its threads.

        Raises:
            Exception: what a thread raised, when all have stopped.
        """
        lanes = [threading.Lock() for _ in range(running)]
        agents = range(len(self._population))
        start = perf_counter()
        for number, inbox in enumerate(self._inboxes):
            place, lane = divmod(number, running)
            members = len(range(lane, self.count, running))
            inbox.put((lanes[lane], agents[lane::running][place::members], steps))
        errors = [self._outbox.get() for _ in self._inboxes]
        elapsed = perf_counter() - start
        for error in errors:
            if error is not None:
                raise error
        return elapsed

    def _run(self, inbox: SimpleQueue[_Work | None]) -> None:
        """One thread's life: its share of each block, until there are no more."""
        while (work := inbox.get()) is not None:
            lane, agents, steps = work
            error: BaseException | None = None
            try:
                with lane:
                    if not self._failed:
                        self._live(agents, steps)
            except BaseException as raised:
                self._failed = True
                error = raised
            self._outbox.put(error)
            del error, work

    def _live(self, agents: range, steps: range) -> None:
        for lived in self._population.live(agents, steps):
            self._recorder.record(*lived)
            if self._failed:
                return  # another thread's error ends the job
            del lived
