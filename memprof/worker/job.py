"""What every job has: its end of the event pipe, the backend, and a warm-up."""

from __future__ import annotations

import os
import sys
import time
from typing import Any

from memprof.catalogue import load_target
from memprof.catalogue.passes import PASSES
from memprof.instruments import Stopwatch, process
from memprof.populations import Population, population_class
from memprof.populations.trace import DigestTrace
from memprof.posix import OwnFile
from memprof.stats import lines
from memprof.text import quoted
from memprof.values.instruments import Reading
from memprof.values.measurements import Mark
from memprof.values.population import PopulationSpec
from memprof.values.requests import Event, Failure, FailureKind, Part, Progress, Result, encode
from memprof.worker.growth import Growth, Records

_CLOSED = (
    "The model or its environment closed files that it did not open, memprof's among them; let it "
    "close its own only."
)


class Channel:
    """What the worker says to its parent. Processes that the user's code starts have no part in it:
    neither programs, which do not get the descriptor, nor forks of the worker, which go unheard."""

    def __init__(self, descriptor: int) -> None:
        os.set_inheritable(descriptor, False)
        self._pipe = OwnFile(descriptor)
        self._worker = os.getpid()

    def progress(self, label: str, agents: int = 0) -> None:
        """Say that a phase begins; the parent keeps it as a mark on the timeline."""
        self._send(Progress(Mark(time.time(), label, agents)))

    def part(self, value: Any) -> None:
        """Hand over what is known so far of a result; the parent has it whatever comes."""
        self._send(Part(value))

    def result(self, value: Any) -> None:
        """Hand over the result."""
        self._send(Result(value))

    def error(self, kind: FailureKind, message: str, *, field: str = "", detail: str = "") -> None:
        """Hand over why there is no result."""
        self._send(Failure(kind, quoted(message), quoted(field), quoted(detail)))

    def _send(self, event: Event[Any]) -> None:
        if os.getpid() != self._worker:
            return
        if not self._pipe.is_there():
            sys.exit(_CLOSED)
        data = f"{encode(event)}\n".encode()
        while data:
            data = data[os.write(self._pipe.number, data) :]


def backend_of(spec: PopulationSpec) -> type[Population]:
    """The population class of the backend, with the early passes installed before its import."""
    install_early(spec)
    return population_class(spec)


def install_early(spec: PopulationSpec) -> None:
    """Install those of the passes that have to be there before the backend is imported."""
    for name in dict.fromkeys(name for each in (spec, *spec.kinds) for name in each.passes):
        if PASSES[name].early:
            load_target(PASSES[name].form(spec.backend).target)().install()


def warm_up(spec: PopulationSpec, channel: Channel) -> None:
    """Let imports, caches and thread pools happen before the baseline: one agent, two steps,
    or as many as the population lives at once; of a world for all, the scenario's, which it is
    made for."""
    channel.progress("warm up")
    population = backend_of(spec)(spec, Stopwatch())
    growth = Growth(population, spec.steps, DigestTrace(1, spec.steps))
    at_once = spec.world is not None and population.group == 1
    new, _ = growth.build(spec.agents if at_once else population.group)
    growth.live(new, range(max(population.stride, min(2, spec.steps))))
    population.close()
    population.drop_caches()
    readings = Records(Reading, 1)
    readings.append(process.read())
    list(readings)
    lines.robust_fit([(1, 1), (2, 2), (3, 4)])
