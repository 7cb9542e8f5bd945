"""Balancing what the components hold against what the operating system saw."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import replace

from memprof.measurements import Ledger, LedgerRow


def balance(
    agents: int, growth_bytes: int, rows: Sequence[LedgerRow], held_bytes: Sequence[float]
) -> Ledger:
    """The ledger of a population of `agents` whose private memory grew by `growth_bytes`.

    `held_bytes` are the resident bytes that each of the scenario's agents holds alone; empty where
    unknown.
    """
    resident = [row.resident_bytes for row in rows]
    known = [size for size in resident if size is not None]
    explained = sum(known) if len(known) == len(rows) else None
    unexplained = None if explained is None else growth_bytes - explained
    ledger = Ledger(agents, growth_bytes, explained, unexplained, None, tuple(rows))
    if not held_bytes:
        return ledger
    return replace(
        ledger,
        typical_agent_bytes=float(statistics.median(held_bytes)),
        mean_agent_bytes=statistics.fmean(held_bytes),
        agent_bytes_range=(round(min(held_bytes)), round(max(held_bytes))),
    )
