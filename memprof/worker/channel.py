"""The worker's end of the event pipe."""

from __future__ import annotations

import os
import time
from typing import Any

from memprof.text import quoted
from memprof.values.measurements import Mark
from memprof.values.requests import Event, Failure, FailureKind, Part, Progress, Result, encode


class Channel:
    """What the worker says to its parent. Processes that the user's code starts have no part in it:
    neither programs, which do not get the descriptor, nor forks of the worker, which go unheard."""

    def __init__(self, descriptor: int) -> None:
        os.set_inheritable(descriptor, False)
        self._descriptor = descriptor
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
        data = f"{encode(event)}\n".encode()
        while data:
            data = data[os.write(self._descriptor, data) :]
