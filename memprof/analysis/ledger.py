"""Balancing what the components hold against what the operating system saw."""

from __future__ import annotations

from collections.abc import Sequence

from memprof.measurements import Ledger, LedgerRow


def balance(agents: int, growth_bytes: int, rows: Sequence[LedgerRow]) -> Ledger:
    """The ledger of a population of `agents` whose private memory grew by `growth_bytes`."""
    resident = [row.resident_bytes for row in rows]
    known = [size for size in resident if size is not None]
    explained = sum(known) if len(known) == len(rows) else None
    unexplained = None if explained is None else growth_bytes - explained
    return Ledger(agents, growth_bytes, explained, unexplained, tuple(rows))
