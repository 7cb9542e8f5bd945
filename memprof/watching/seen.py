"""Every kind of agents that was looked at, also those that went long before the peak."""

from __future__ import annotations

from collections.abc import Iterable

from memprof.values.watch import Kind

MOST_ALONE = 64
"""Of so many kinds at most the only agent is looked at by itself."""


class Seen:
    """Kinds as they were at the moment at which they held most."""

    def __init__(self) -> None:
        self._kinds: dict[str, Kind] = {}

    def __len__(self) -> int:
        return len(self._kinds)

    def take(self, kinds: Iterable[Kind]) -> None:
        """One look more."""
        for kind in kinds:
            known = self._kinds.get(kind.name)
            if known is None or _held(kind) >= _held(known):
                self._kinds[kind.name] = kind

    def kinds(self) -> tuple[Kind, ...]:
        """Those that hold most first."""
        return tuple(sorted([*self._kinds.values()], key=_held, reverse=True))


def _held(kind: Kind) -> int:
    return sum(row.private_bytes + row.shared_bytes for row in kind.ledger.rows)
