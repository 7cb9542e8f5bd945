"""Agents that leak in known ways, one function each: what `memprof leak` has to find and name.

Every factory returns the same tiny agent. What it keeps behind, and how much of it, stands in its
docstring; `agent` is the agent's index, so that what belongs to agent 0 happens once per cycle.
"""

import ctypes
import functools
import weakref
from collections.abc import Callable

import numpy as np

STATES = 4

NOTES: list["Note"] = []
SUBSCRIBERS: list[Callable] = []
ROWS: list[np.ndarray] = []
CACHE: dict[int, bytes] = {}


class Ring:
    """States in a ring that an agent walks around; it observes where it is."""

    def __init__(self) -> None:
        self.state = 0

    def reset(self) -> int:
        return self.state

    def step(self, action: np.ndarray) -> int:
        self.state = (self.state + int(action[0])) % STATES
        return self.state


def model() -> dict[str, np.ndarray]:
    """The PyMDP agent's arguments: it sees every state, and stays or moves on."""
    here = np.eye(STATES)
    moves = np.stack([here, np.roll(here, 1, axis=0)], axis=2)
    return {"A": container(here), "B": container(moves), "C": container(np.arange(float(STATES)))}


def container(array: np.ndarray) -> np.ndarray:
    """PyMDP's object array of arrays."""
    held = np.empty(1, dtype=object)
    held[0] = array
    return held


class Note:
    """Something small; 48 bytes and a number's 32 (64-bit CPython 3.11)."""

    __slots__ = ("number",)

    def __init__(self, number: int) -> None:
        self.number = number


def small_object(agent: int) -> tuple[dict, Ring]:
    """NOTES keeps one small object per population."""
    if agent == 0:
        NOTES.append(Note(0))
    return model(), Ring()


_libc = ctypes.CDLL(None)
_libc.strdup.argtypes, _libc.strdup.restype = [ctypes.c_char_p], ctypes.c_void_p


def native_buffer(agent: int) -> tuple[dict, Ring]:
    """A copy of 256 bytes that the C library makes, and nobody frees, per population."""
    if agent == 0:
        _libc.strdup(b"x" * 255)
    return model(), Ring()


class Connection:
    """Means to be closed at the end, by a method of its own: the finalizer keeps it alive."""

    def __init__(self) -> None:
        self.buffer = bytearray(1000)
        self.itself = self
        weakref.finalize(self, self.close)

    def close(self) -> None:
        self.buffer.clear()


def finalizer_cycle(agent: int) -> tuple[dict, Ring]:
    """Every agent opens a connection, with 1,000 bytes of buffer, that never closes."""
    world = Ring()
    world.connection = Connection()
    return model(), world


def saturating_cache(agent: int) -> tuple[dict, Ring]:
    """CACHE takes 10,000 bytes per population, until it is full with 5 of them: no leak."""
    if agent == 0 and len(CACHE) < 5:
        CACHE[len(CACHE)] = bytes(10_000)
    return model(), Ring()


@functools.cache
def lookup(key: object) -> np.ndarray:
    """A table that is computed for every new key: 800 bytes of data."""
    return np.zeros(100)


def lru_cache(agent: int) -> tuple[dict, Ring]:
    """Every agent asks with a key of its own, and the cache keeps every table."""
    lookup(object())
    return model(), Ring()


def pinned_views(agent: int) -> tuple[dict, Ring]:
    """ROWS keeps a row of 10 numbers per agent, and each pins its table of 1,000: 8,000 bytes."""
    table = np.zeros((100, 10))
    ROWS.append(table[0])
    return model(), Ring()


class Listener(Ring):
    """A world that subscribes to something that outlives it."""

    def __init__(self, arguments: dict[str, np.ndarray]) -> None:
        super().__init__()
        self.arguments = arguments
        SUBSCRIBERS.append(self.heard)

    def heard(self, event: str) -> None:
        """Nothing is ever published."""


def callback_registry(agent: int) -> tuple[dict, Ring]:
    """SUBSCRIBERS keeps the world of every dead agent, and that the agent's matrices."""
    arguments = model()
    return arguments, Listener(arguments)


class Diary(Ring):
    """A world that remembers all that it ever showed."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[np.ndarray] = []

    def step(self, action: np.ndarray) -> int:
        observation = super().step(action)
        self.seen.append(np.array(observation))
        return observation


def diary(agent: int) -> tuple[dict, Diary]:
    """Every world keeps an array per step for as long as it lives: 104 bytes and a place."""
    return model(), Diary()


class Clearing(Ring):
    """A world that makes JAX forget all it has compiled and traced, at every step."""

    def step(self, action: np.ndarray) -> int:
        import jax

        jax.clear_caches()
        return super().step(action)


def cleared(agent: int) -> tuple[dict, Ring]:
    """Agent 0's world clears JAX's caches."""
    return model(), Clearing() if agent == 0 else Ring()
