"""What `np.random` draws first after each of many seeds, for all of them at once: the Mersenne
Twister of NumPy's `RandomState`, whose numbers NumPy promises never to change (NEP 19).

Seeding one generator takes longer than all that an agent's world draws in a step.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np

_SPARE = 16  # words, for what an agent draws after its world
_WORDS, _SHIFTED = 624, 397  # of the generator's state
MOST = _WORDS - _SHIFTED
"""Numbers of 32 bits that are found in this way, of each seed."""
_UPPER, _LOWER, _TWIST = np.uint32(0x80000000), np.uint32(0x7FFFFFFF), np.uint32(0x9908B0DF)


def words(seeds: Sequence[int], count: int) -> np.ndarray:
    """The first `count` numbers of 32 bits of each seed, at most `MOST`; uint32, [count, seeds]."""
    state = np.empty((_SHIFTED + count, len(seeds)), np.uint32)
    state[0] = np.array(seeds, np.uint64) & 0xFFFFFFFF
    for place in range(1, len(state)):  # as mt19937_seed
        before = state[place - 1]
        np.multiply(before ^ (before >> 30), np.uint32(1812433253), out=state[place])
        state[place] += np.uint32(place)
    mixed = (state[:count] & _UPPER) | (state[1 : count + 1] & _LOWER)
    found: np.ndarray = state[_SHIFTED:] ^ (mixed >> 1)
    found ^= np.where(mixed & 1, _TWIST, np.uint32(0))
    found ^= found >> 11
    found ^= (found << 7) & np.uint32(0x9D2C5680)
    found ^= (found << 15) & np.uint32(0xEFC60000)
    found ^= found >> 18
    return found


def uniform(drawn: np.ndarray) -> np.ndarray:
    """What `np.random.random_sample` makes of words, two for each number; [numbers, seeds]."""
    high, low = drawn[::2] >> 5, drawn[1::2] >> 6
    found: np.ndarray = (high * 67108864.0 + low) / 9007199254740992.0
    return found


def below(drawn: np.ndarray, limits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What `np.random.randint(0, limit)` makes of words, for several limits one after the other;
    nothing is drawn for a limit of 1.

    Args:
        drawn: words of each seed, [words, seeds].
        limits: [seeds, numbers].

    Returns:
        The numbers, [seeds, numbers], and for which seeds the words were enough.
    """
    seeds = np.arange(len(limits))
    place = np.zeros(len(limits), np.int64)
    found = np.zeros(limits.shape, np.int64)
    for column, limit in enumerate(limits.T):
        most = limit.astype(np.uint32) - 1
        mask = most.copy()
        for shift in (1, 2, 4, 8, 16):
            mask |= mask >> shift
        waiting = seeds[most > 0]
        while len(waiting):
            waiting = waiting[place[waiting] < len(drawn)]  # the others have none left
            picked = drawn[place[waiting], waiting] & mask[waiting]
            place[waiting] += 1
            fits = picked <= most[waiting]
            found[waiting[fits], column] = picked[fits]
            waiting = waiting[~fits]
    return found, place < len(drawn)


class Onwards(Protocol):
    """Where several agents' random numbers go on, each one's where its world has left off."""

    def go_on(self, place: int) -> None:
        """Have `np.random` go on with the numbers of the agent at this place."""
        ...

    def below(self, places: np.ndarray, limits: np.ndarray) -> np.ndarray:
        """What these agents draw next: a number below each limit, nothing for a limit of 1;
        [agents, numbers]."""
        ...


class AfterWorlds:
    """Onwards from seeds of which every world has drawn so many numbers."""

    def __init__(self, seeds: Sequence[int], drawn: int) -> None:
        self._seeds, self._drawn = seeds, drawn
        known = 2 * drawn + _SPARE <= MOST
        self._words = words(seeds, 2 * drawn + _SPARE if known else 0)

    @property
    def uniform(self) -> np.ndarray:
        """What the worlds draw; [numbers, agents]."""
        if len(self._words):
            return uniform(self._words[: 2 * self._drawn])
        found = np.empty((len(self._seeds), self._drawn))
        for row, seed in zip(found, self._seeds, strict=True):
            np.random.seed(seed)
            row[:] = np.random.random_sample(self._drawn)
        return found.T

    def go_on(self, place: int) -> None:
        np.random.seed(self._seeds[place])
        np.random.random_sample(self._drawn)

    def below(self, places: np.ndarray, limits: np.ndarray) -> np.ndarray:
        found, enough = below(self._words[2 * self._drawn :, places], limits)
        for row in np.flatnonzero(~enough).tolist():
            self.go_on(int(places[row]))
            found[row] = each_below(limits[row])
        return found


class AfterSeeds:
    """Onwards from seeds of which nothing was drawn yet. Once somebody draws, what follows from so
    many of them `together` is found at once, part by part: it takes 1.6 KB for each."""

    def __init__(self, seeds: Sequence[int], together: int) -> None:
        self._seeds, self._together = seeds, together
        self._part, self._known = range(0), AfterWorlds((), 0)

    def go_on(self, place: int) -> None:
        np.random.seed(self._seeds[place])

    def below(self, places: np.ndarray, limits: np.ndarray) -> np.ndarray:
        """Of places in one part."""
        if places[0] not in self._part:
            first = int(places[0]) // self._together * self._together
            self._part = range(first, first + self._together)
            self._known = AfterWorlds(self._seeds[first : first + self._together], 0)
        return self._known.below(places - self._part.start, limits)


class AfterOwn:
    """Onwards from the states in which worlds of the user's own have left `np.random`."""

    def __init__(self) -> None:
        self._states: list[Any] = []

    def left_off(self) -> None:
        """The next agent's world has left off here."""
        self._states.append(np.random.get_state())

    def go_on(self, place: int) -> None:
        np.random.set_state(self._states[place])

    def below(self, places: np.ndarray, limits: np.ndarray) -> np.ndarray:
        found = np.empty(limits.shape, np.int64)
        for row, place in enumerate(places.tolist()):
            self.go_on(place)
            found[row] = each_below(limits[row])
        return found


class AfterResets:
    """Onwards from where agents have left `np.random` that draw as they begin anew; from where
    their worlds have, for all others."""

    def __init__(self, worlds: Onwards) -> None:
        self._worlds = worlds
        self._states: dict[int, Any] = {}

    @contextmanager
    def drawing(self, place: int) -> Iterator[None]:
        """A block in which the agent at this place may draw."""
        self._worlds.go_on(place)
        yield
        self._states[place] = np.random.get_state()

    def go_on(self, place: int) -> None:
        if place in self._states:
            np.random.set_state(self._states[place])
        else:
            self._worlds.go_on(place)

    def below(self, places: np.ndarray, limits: np.ndarray) -> np.ndarray:
        found = self._worlds.below(places, limits)
        for row, place in enumerate(places.tolist()):
            if place in self._states:
                self.go_on(place)
                found[row] = each_below(limits[row])
        return found


@contextmanager
def undisturbed() -> Iterator[None]:
    """A block after which `np.random` goes on as if nothing had been drawn in it."""
    state = np.random.get_state()
    try:
        yield
    finally:
        np.random.set_state(state)


def each_below(limits: np.ndarray) -> np.ndarray:
    """What `np.random` draws for limits one after the other, nothing for a limit of 1."""
    found = np.zeros(limits.shape, np.int64)
    several = limits > 1
    found[several] = np.random.randint(0, limits[several])
    return found
