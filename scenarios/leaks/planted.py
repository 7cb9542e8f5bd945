"""Agents that leak in known ways, one function each: what `memprof leak` has to find and name.

Every factory returns the same tiny agent. What it keeps behind, and how much of it, stands in its
docstring; `agent` is the agent's index, so that what belongs to agent 0 happens once per cycle.
"""

import ctypes
import functools
import itertools
import sys
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


class Walker:
    """Knows the grid that it is on."""

    def __init__(self, grid: "Grid") -> None:
        self.grid = grid


class Grid(Ring):
    """A world whose object array leads back to itself: Python's collector cannot see that."""

    def __init__(self) -> None:
        super().__init__()
        self.ground = np.zeros(250)
        self.cells = np.empty((5, 5), dtype=object)
        self.cells[0, 0] = Walker(self)


def object_grid(agent: int) -> tuple[dict, Ring]:
    """Every agent's world stays, with 2,000 bytes of ground and 25 cells, and nothing has it."""
    return model(), Grid()


ERRORS: list[Exception] = []


def sensor(agent: int) -> np.ndarray:
    """Fails, with 1,000 numbers in a variable."""
    samples = np.zeros(1_000)
    raise ValueError(f"sensor {agent} has {samples.size} samples and no signal")


def kept_exception(agent: int) -> tuple[dict, Ring]:
    """ERRORS keeps the failure of every agent's sensor, and by that the sensor's variables."""
    try:
        sensor(agent)
    except ValueError as error:
        ERRORS.append(error)
    return model(), Ring()


class Chart(Ring):
    """A world with a method that is cached for all charts together."""

    def __init__(self) -> None:
        super().__init__()
        self.depths = np.zeros(100)

    @functools.cache  # noqa: B019  # the leak
    def area(self) -> int:
        return STATES * STATES


def method_cache(agent: int) -> tuple[dict, Ring]:
    """The cache of Chart.area keeps every agent's world, with 800 bytes of depths."""
    world = Chart()
    world.area()
    return model(), world


class Phoenix:
    """Is made anew, with its 1,000 bytes of ashes, whenever it is collected."""

    def __init__(self) -> None:
        self.ashes = bytearray(1000)
        self.itself = self

    def __del__(self) -> None:
        if not sys.is_finalizing():
            Phoenix()


def endless_finalizer(agent: int) -> tuple[dict, Ring]:
    """A phoenix more per population, which is always garbage and always there."""
    if agent == 0:
        Phoenix()
    return model(), Ring()


_names = itertools.count()


def interned_names(agent: int) -> tuple[dict, Ring]:
    """Every agent interns 10 names of its own, which only CPython 3.12.0 to 3.12.6 never frees."""
    for _ in range(10):
        sys.intern(f"name_{next(_names)}")
    return model(), Ring()
