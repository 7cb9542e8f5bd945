"""Balancing what the components hold against what the operating system saw."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from memprof.measurements import Ledger, LedgerRow


def balance(
    agents: int, growth_bytes: int, rows: Sequence[LedgerRow], held_bytes: Sequence[int]
) -> Ledger:
    """The ledger of a population of `agents` whose private memory grew by `growth_bytes`.

    `held_bytes` are the resident bytes that each agent holds alone; empty where unknown.
    """
    resident = [row.resident_bytes for row in rows]
    known = [size for size in resident if size is not None]
    explained = sum(known) if len(known) == len(rows) else None
    unexplained = None if explained is None else growth_bytes - explained
    typical = float(statistics.median(held_bytes)) if held_bytes else None
    return Ledger(agents, growth_bytes, explained, unexplained, typical, tuple(rows))
