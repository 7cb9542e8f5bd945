"""What worlds give agents beside their observations."""

from __future__ import annotations

import math
from typing import Any

from memprof.values.measurements import Rewards


class RewardSum:
    """Rewards, added up in memory that does not grow with their number, and exactly: in whichever
    order agents get them, the mean is the same to the bit (Shewchuk 1997)."""

    __slots__ = ("_count", "_partials")

    def __init__(self) -> None:
        self._count = 0
        self._partials: list[float] = []  # their sum is exact

    def add(self, reward: Any) -> bool:
        """One more, unless it is None; False if it is no finite number."""
        if reward is None:
            return True
        value = _number(reward)
        if value is None:
            return False
        self._count += 1
        if not value:
            return True
        partials = []
        for each in self._partials:
            high = value + each
            larger, smaller = (value, each) if abs(value) >= abs(each) else (each, value)
            if low := smaller - (high - larger):
                partials.append(low)
            value = high
        self._partials = [*partials, value]
        return True

    def total(self) -> Rewards | None:
        """All until now; None if there are none."""
        return (
            Rewards(math.fsum(self._partials) / self._count, self._count) if self._count else None
        )


def _number(reward: Any) -> float | None:
    if type(reward) is float:
        return reward if math.isfinite(reward) else None
    if isinstance(reward, str | bytes) or getattr(reward, "size", 1) != 1:
        return None
    try:
        value = float(reward.item() if hasattr(reward, "item") else reward)
    except (TypeError, ValueError):
        return None
    return value if math.isfinite(value) else None
