"""What parent and worker say to each other: one JSON request in, JSON lines of events out."""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, dataclass
from typing import Any, Literal

from memprof.text import quoted
from memprof.values.leak import Mode
from memprof.values.measurements import Mark
from memprof.values.population import EffortName, PopulationSpec

Job = Literal["measure", "instrument", "trace", "leak", "sites", "density", "threads"]


@dataclass(frozen=True, slots=True)
class Request:
    """One measurement in a fresh process.

    Attributes:
        instrument: name, for the job `instrument`.
        trace_file: where the job `trace` writes values, or reads them when `compare` is set.
        modes, cycles: for the jobs `leak` and `sites`; the latter looks at the first mode.
        history_steps: of their past that agents which live on keep in these jobs; None for what the
            spec says.
        warm_up: cycles before the ones that the job `sites` watches.
        seconds: for how long the jobs `leak` and `density` may go on; None for as long as it takes.
        sizes: populations of the job `density`, smallest first.
        effort: how much time the jobs `measure` and `density` may spend on knowing better.
        resolve: they go on until they know what an agent costs, as far as the effort goes.
        threads: that step the agents, for the job `threads`.
        memory_limit_bytes: RLIMIT_DATA of the worker.
    """

    job: Job
    spec: PopulationSpec
    instrument: str = ""
    trace_file: str = ""
    compare: bool = False
    modes: tuple[Mode, ...] = ("lifecycle",)
    cycles: int = 0
    history_steps: int | None = None
    warm_up: int = 0
    seconds: float | None = None
    sizes: tuple[int, ...] = ()
    effort: EffortName = "normal"
    resolve: bool = False
    threads: int = 1
    memory_limit_bytes: int | None = None

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Request:
        values = json.loads(text)
        spec = values.pop("spec")
        for name in ("learning", "passes"):
            spec[name] = tuple(spec[name])
        given = spec["options"].items()
        spec["options"] = {n: tuple(v) if isinstance(v, list) else v for n, v in given}
        for name in ("sizes", "modes"):
            values[name] = tuple(values[name])
        return cls(spec=PopulationSpec(**spec), **values)


class Channel:
    """The worker's end of the event pipe. Processes that the user's code starts have no part in it:
    neither programs, which do not get the descriptor, nor forks of the worker, which go unheard."""

    def __init__(self, descriptor: int) -> None:
        os.set_inheritable(descriptor, False)
        self._descriptor = descriptor
        self._worker = os.getpid()

    def progress(self, label: str, agents: int = 0) -> None:
        """Say that a phase begins; the parent keeps it as a mark on the timeline."""
        self._send({"event": "progress", **asdict(Mark(time.time(), label, agents))})

    def result(self, value: Any) -> None:
        """Hand over the result, a dataclass of `memprof.values.measurements`."""
        self._send({"event": "result", "value": asdict(value)})

    def part(self, value: Any) -> None:
        """Hand over what is known so far of a result; the parent has it whatever comes."""
        self._send({"event": "part", "value": asdict(value)})

    def error(
        self, kind: Literal["scenario", "backend", "memory", "failure"], **facts: str
    ) -> None:
        """Hand over why there is no result."""
        texts = {name: quoted(text) for name, text in facts.items()}
        self._send({"event": "error", "kind": kind, **texts})

    def _send(self, event: dict[str, Any]) -> None:
        if os.getpid() != self._worker:
            return
        data = (json.dumps(event) + "\n").encode()
        while data:
            data = data[os.write(self._descriptor, data) :]
