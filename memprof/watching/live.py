"""What a watched process says of itself at one moment."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import psutil
from msgspec.structs import replace

from memprof.text import one_line
from memprof.values.live import Live, LiveKind
from memprof.values.watch import Growth, Look, OperationUse
from memprof.values.watch_jax import Compiling
from memprof.watching.readings import peak_bytes
from memprof.watching.registry import Crowd, Place, is_hollow, rows_of


def live_of(
    crowds: Sequence[tuple[tuple[type, Place | None], Crowd]],
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
        kinds=_kinds(crowds, last, folder),
        shared_bytes=last.shared_bytes if last else 0,
        looked_seconds=last.seconds if last else None,
        operations=operations,
        growth=growth,
        compiling=compiling,
        watch_seconds=watch_seconds,
    )


def _kinds(
    crowds: Sequence[tuple[tuple[type, Place | None], Crowd]], last: Look | None, folder: str
) -> tuple[LiveKind, ...]:
    """Classes that a function makes anew in each call are one kind: their name is the same."""
    from memprof.watching.looks import name_of

    found: dict[tuple[str, str], LiveKind] = {}
    for (cls, place), crowd in crowds:
        name = one_line(name_of(cls, place, folder))
        key = name, crowd.backend
        kind = found.setdefault(key, LiveKind(name, crowd.backend, 0, 0, *_held(last, *key)))
        found[key] = replace(
            kind, agents=kind.agents + _alive(crowd), built=kind.built + crowd.built
        )
    return tuple(found.values())


def _alive(crowd: Crowd) -> int:
    if crowd.backend == "numpy":
        return len(crowd.alive)
    return sum(rows_of(agent) for agent in crowd.agents() if not is_hollow(agent))


def _held(last: Look | None, name: str, backend: str) -> tuple[float | None, float | None]:
    """What one agent of that name holds alone, and what the largest does."""
    ledgers = [
        kind.ledger
        for kind in (last.kinds if last else ())
        if (one_line(kind.name), kind.backend) == (name, backend)
    ]
    if not ledgers:
        return None, None
    agents = sum(ledger.agents for ledger in ledgers)
    mean = sum(ledger.private_each() * ledger.agents for ledger in ledgers) / agents
    ranges = [ledger.agent_bytes_range for ledger in ledgers]
    return mean, max(mean, *(most[1] for most in ranges if most))


def _sizes() -> tuple[int | None, int]:
    """Unique and resident set; the unique one is not for everybody after a change of user."""
    process = psutil.Process()
    try:
        found = process.memory_full_info()
    except (psutil.Error, OSError):
        return None, process.memory_info().rss
    return getattr(found, "uss", None), found.rss
