"""What is kept more and more of, told from what is only replaced, filled once or turned over.

The method: everything that was there at the start is *old*. What old things hold of what came
later is counted at three marks; what leaks grows from the first to the second and again, as much
per cycle, from the second to the third.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

Place = tuple[str, int]

# The lesser of two gains has to be this much of the greater for the two to be one steady growth.
_STEADY = 0.5


@dataclass(slots=True)
class Held:
    """What an old thing holds, at one mark, of what came since the start.

    Attributes:
        size_bytes: of all that it alone, or it first, leads to.
        things: how many these are.
        entries: how many of these it holds itself, as a container.
        gained: entries that it has more than at the start, old ones as well; None for what has no
            length, and under a name that stays.
        own_bytes: what the container itself takes for them.
        lines: bytes by the line that allocated them.
        types: its own entries by type.
    """

    size_bytes: int = 0
    things: int = 0
    entries: int = 0
    gained: int | None = None
    own_bytes: float = 0.0
    lines: Counter[Place] = field(default_factory=Counter)
    types: Counter[str] = field(default_factory=Counter)

    @property
    def replaced(self) -> int:
        """Entries that took the place of old ones; unknown, and so 0, for what is no container."""
        return 0 if self.gained is None else max(0, self.entries - max(0, self.gained))


@dataclass(frozen=True, slots=True)
class Gain:
    """What is held more than at an earlier mark; `own_bytes`, which are part of `size_bytes`, in
    the containers' own tables."""

    size_bytes: float = 0.0
    things: float = 0.0
    lines: dict[Place, float] = field(default_factory=dict)
    types: dict[str, float] = field(default_factory=dict)
    own_bytes: float = 0.0

    def per(self, cycles: int) -> Gain:
        """The same for one of so many cycles."""
        return Gain(
            self.size_bytes / cycles,
            self.things / cycles,
            {place: size / cycles for place, size in self.lines.items()},
            {name: count / cycles for name, count in self.types.items()},
            self.own_bytes / cycles,
        )


def gain(before: Held, after: Held) -> Gain:
    """What is held more at the later mark.

    Entries of a full cache take the place of older ones. They count as new things, so what they
    replaced is taken off: as many entries of mean size.
    """
    size = after.size_bytes - before.size_bytes
    replaced = after.replaced - before.replaced
    kept = 1.0
    if replaced > 0 and size > 0:
        typical = before if before.entries else after
        kept = max(0.0, 1 - replaced * typical.size_bytes / typical.entries / size)
    own_bytes = after.own_bytes - before.own_bytes
    return Gain(
        size * kept + own_bytes,
        (after.things - before.things) * kept,
        {line: (after.lines[line] - before.lines[line]) * kept for line in after.lines},
        {name: (after.types[name] - before.types[name]) * kept for name in after.types},
        own_bytes,
    )


def total(gains: Iterable[Gain]) -> Gain:
    """All gains as one."""
    size = things = own_bytes = 0.0
    lines: defaultdict[Place, float] = defaultdict(float)
    types: defaultdict[str, float] = defaultdict(float)
    for each in gains:
        size += each.size_bytes
        things += each.things
        own_bytes += each.own_bytes
        for place, line_size in each.lines.items():
            lines[place] += line_size
        for name, count in each.types.items():
            types[name] += count
    return Gain(size, things, dict(lines), dict(types), own_bytes)


def is_steady(first: float, second: float) -> bool:
    """Whether two gains per cycle, one after the other, are one growth that goes on."""
    return first > 0 and second > 0 and min(first, second) >= _STEADY * max(first, second)
