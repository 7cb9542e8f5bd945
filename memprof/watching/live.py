"""What a watched process says of itself at one moment."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence

import psutil

from memprof.text import one_line
from memprof.values.live import Live, LiveKind
from memprof.values.measurements import Ledger
from memprof.values.watch import Growth, Look, OperationUse
from memprof.values.watch_jax import Compiling
from memprof.watching.readings import peak_bytes
from memprof.watching.registry import Crowd, is_hollow, rows_of


def live_of(
    crowds: Sequence[Crowd],
    looks: Sequence[Look],
    folder: str,
    *,
    began: float,
    seconds: float,
    operations: tuple[OperationUse, ...],
    growth: Growth | None,
    compiling: Compiling | None,
    watch_seconds: float,
) -> Live:
    """Agents are counted now; what they hold is that of the last look."""
    last = max(looks, key=lambda look: look.seconds, default=None)
    uss, resident = _sizes()
    return Live(
        pid=os.getpid(),
        program=one_line(" ".join(map(str, getattr(sys, "argv", ())))),
        began=began,
        seconds=seconds,
        uss_bytes=uss,
        resident_bytes=resident,
        peak_bytes=peak_bytes(),
        kinds=tuple(_kinds(crowds, last, folder)),
        shared_bytes=last.shared_bytes if last else 0,
        looked_seconds=last.seconds if last else None,
        operations=operations,
        growth=growth,
        compiling=compiling,
        watch_seconds=watch_seconds,
    )


def _kinds(crowds: Sequence[Crowd], last: Look | None, folder: str) -> Iterator[LiveKind]:
    from memprof.watching.looks import name_of

    ledgers = {kind.name: kind.ledger for kind in (last.kinds if last else ())}
    for crowd in crowds:
        name = name_of(crowd, folder)
        held = _held(ledgers.get(name))
        yield LiveKind(one_line(name), crowd.backend, _alive(crowd), crowd.built, *held)


def _alive(crowd: Crowd) -> int:
    if crowd.backend == "numpy":
        return len(crowd.alive)
    return sum(rows_of(agent, crowd.backend) for agent in crowd.agents() if not is_hollow(agent))


def _held(ledger: Ledger | None) -> tuple[float | None, float | None]:
    """What one agent of a kind holds alone, and what the largest does."""
    if ledger is None:
        return None, None
    mean, sizes = ledger.private_each(), ledger.agent_bytes_range
    return mean, max(mean, sizes[1]) if sizes else mean


def _sizes() -> tuple[int | None, int]:
    """Unique and resident set; the unique one is not for everybody after a change of user."""
    process = psutil.Process()
    try:
        found = process.memory_full_info()
    except (psutil.Error, OSError):
        return None, process.memory_info().rss
    return getattr(found, "uss", None), found.rss
