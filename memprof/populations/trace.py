"""What a population believed and did, as values that can be compared between two processes."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np

from memprof.populations import Behaviour
from memprof.values.measurements import TraceComparison

_DID = 3
"""Of a behaviour: beliefs, policies and action."""
_STORED = 3
"""Arrays of a step in a file: what it believed, what it did, what it perceived."""


class DigestTrace:
    """Hashes of every agent's behaviour at every step, and of what it perceived where that is
    known, in memory that is reserved beforehand; of agents that are built anew and live again,
    those of their first life.

    Other agents are left out, or, `with_others`, hashed together: those that are born in a world.
    What comes after `finish` is left out.

    Cheap enough for the clean worker: equal digests prove bit-identical behaviour, and only when
    they differ does a `ValueTrace` have to say by how much.
    """

    def __init__(self, agents: int, steps: int, *, with_others: bool = False) -> None:
        self._agents, self._steps = agents, steps
        self._others = array("Q", [0]) * (steps if with_others else 0)
        self._finished = False
        self._seen, self._did = _Hashes(agents, steps, 8), _Hashes(agents, steps, 16)
        self._known = bytearray(agents * steps)
        self._perceives = False

    def record(self, agent: int, step: int, behaviour: Behaviour) -> None:
        """Keep the hash of one agent's step; steps beyond the reserved are left out."""
        if agent >= self._agents:
            if step < len(self._others) and not self._finished:
                self._add(agent, step, behaviour)
            return
        if step >= self._steps:
            return
        place = agent * self._steps + step
        if self._known[place]:  # how many lives there are is a matter of time
            return
        self._known[place] = True
        # As little as can be: it runs between steps, whose time it must not change.
        self._did.put(place, behaviour[:_DID])
        if behaviour.observation is not None:
            self._perceives = True
            self._seen.put(place, _flat(behaviour.observation))

    def finish(self) -> None:
        """The first life of all is over."""
        self._finished = True

    def _add(self, agent: int, step: int, behaviour: Behaviour) -> None:
        """Nobody knows how many others there will be: one number per step is for all, in whichever
        order they come."""
        values = (agent, *behaviour)
        data = b"".join([np.asarray(leaf, np.float64).tobytes() for leaf in _leaves(values)])
        digest = hashlib.blake2b(data, digest_size=8).digest()
        self._others[step] = (self._others[step] + int.from_bytes(digest, "little")) % 2**64

    def per_agent(self) -> tuple[str, ...]:
        """One digest per agent, over all its steps; and, if there were any, one of all others."""
        each = (
            _hash(self._did.of_agent(agent) + self._seen.of_agent(agent), 16)
            for agent in range(self._agents)
        )
        others = [_hash(self._others.tobytes(), 16)] if any(self._others) else []
        return (*each, *others)

    def course(self) -> tuple[str, ...]:
        """Two hashes per step, over all agents: of what they perceived, empty where that is not
        known, and of what they then believed and did."""
        course = list[str]()
        for step in range(self._steps):
            course.append(_hash(self._seen.of_step(step), 8) if self._perceives else "")
            others = self._others[step : step + 1].tobytes()
            course.append(_hash(self._did.of_step(step) + others, 8))
        return tuple(course)


class _Hashes:
    """A hash of so many bytes for each agent and step."""

    def __init__(self, agents: int, steps: int, width: int) -> None:
        self._width, self._row = width, steps * width
        self._bytes = bytearray(b"\xff") * (agents * self._row)

    def put(self, place: int, values: Any) -> None:
        data = b"".join([leaf.tobytes() for leaf in _leaves(values)])
        start, width = place * self._width, self._width
        self._bytes[start : start + width] = hashlib.blake2b(data, digest_size=width).digest()

    def of_agent(self, agent: int) -> bytearray:
        return self._bytes[agent * self._row : (agent + 1) * self._row]

    def of_step(self, step: int) -> bytes:
        rows = np.frombuffer(self._bytes, np.uint8).reshape(-1, self._row)
        return rows[:, step * self._width : (step + 1) * self._width].tobytes()


def _hash(data: bytes | bytearray, size: int) -> str:
    return hashlib.blake2b(data, digest_size=size).hexdigest()


class ValueTrace:
    """Every value, written to a file; or compared with such a file while it is produced.

    The two populations may take the agents of a step in different orders. Where that changes no
    more than what they perceive, they behave differently all the same.
    """

    def __init__(self, file: BinaryIO, *, compare: bool) -> None:
        self._file = file
        self._compare = compare
        self._read: dict[tuple[int, int], tuple[np.ndarray, ...]] = {}
        self._agents: set[int] = set()
        self._steps = self._actions = self._equal = 0
        self._error = self._divergence = 0.0
        self._comparable = True
        self._first: tuple[int, int] | None = None
        self._perceived = False

    def record(self, agent: int, step: int, behaviour: Behaviour) -> None:
        """Write one agent's step, or hold it against the step in the file."""
        beliefs = _flat((behaviour.beliefs, behaviour.policies))
        action, seen = _flat(behaviour.action), _flat(behaviour.observation)
        if not self._compare:
            for values in (np.array([agent, step]), beliefs, action, seen):
                np.save(self._file, values)
            return
        self._count(agent, step)
        expected = self._expected(agent, step)
        if expected is None:
            self._miss(agent, step)
            return
        expected_beliefs, expected_action, expected_seen = expected
        same_action = np.array_equal(action, expected_action)
        self._equal += same_action
        if beliefs.shape != expected_beliefs.shape:
            self._comparable = False
        elif beliefs.size:
            gap = np.abs(beliefs - expected_beliefs)
            self._error = max(self._error, float(np.nan_to_num(gap, nan=np.inf).max()))
            vectors = _leaves((behaviour.beliefs, behaviour.policies))
            self._divergence = max(self._divergence, _divergence(vectors, expected_beliefs))
        same_beliefs = beliefs.tobytes() == expected_beliefs.tobytes()
        known = seen.size and expected_seen.size
        same_seen = not known or np.array_equal(seen, expected_seen)
        if self._first is None and not (same_action and same_beliefs and same_seen):
            self._first, self._perceived = (agent, step), not same_seen

    def _count(self, agent: int, step: int) -> None:
        """One of the two populations has an agent that lives this step."""
        self._agents.add(agent)
        self._steps = max(self._steps, step + 1)
        self._actions += 1

    def _miss(self, agent: int, step: int) -> None:
        """The other one has not: its world has let the agent go. Nothing bounds that."""
        self._comparable = False
        if self._first is None or step < self._first[1]:
            self._first, self._perceived = (agent, step), False

    def _expected(self, agent: int, step: int) -> tuple[np.ndarray, ...] | None:
        """Beliefs, action and observation in the file; what comes before them there is kept until
        its turn. None if they are not there."""
        while (agent, step) not in self._read:
            if not self._read_on():
                return None
        return self._read.pop((agent, step))

    def _read_on(self) -> bool:
        """Read the next agent's step; False at the end of the file."""
        try:
            agent, step = np.load(self._file).tolist()
        except EOFError:
            return False
        self._read[agent, step] = tuple(np.load(self._file) for _ in range(_STORED))
        return True

    def comparison(self) -> TraceComparison:
        """What the comparison found; with it, this ends."""
        while self._compare and (self._read or self._read_on()):
            (agent, step), _ = self._read.popitem()
            self._count(agent, step)
            self._miss(agent, step)
        error, divergence = (
            value if self._comparable and np.isfinite(value) else None
            for value in (self._error, self._divergence)
        )
        return TraceComparison(
            agents=len(self._agents),
            steps=self._steps,
            actions_compared=self._actions,
            actions_equal=int(self._equal),
            max_abs_belief_error=error,
            max_divergence_nats=divergence,
            first_difference=self._first,
            perceived=self._perceived,
        )


def _divergence(vectors: Iterator[np.ndarray], expected: np.ndarray) -> float:
    """Largest KL(q || p) in nats of any posterior q from its counterpart p in the flat `expected`.

    In this direction a belief that a pass rounds to zero costs next to nothing, as it should;
    infinite where q believes what p rules out. Vectors with a NaN are left to the other figures.
    """
    largest, place = 0.0, 0
    for vector in vectors:
        plain = expected[place : place + vector.size].reshape(vector.shape)
        place += vector.size
        with np.errstate(divide="ignore", invalid="ignore"):
            terms = np.where(vector > 0, vector * np.log(vector / plain), 0.0)
        sums = np.sum(terms.astype(np.float64), axis=-1)
        largest = max(largest, float(np.nan_to_num(sums, nan=0.0, posinf=np.inf).max(initial=0.0)))
    return largest


def _flat(values: Any) -> np.ndarray:
    leaves = [np.ravel(leaf).astype(np.float64) for leaf in _leaves(values)]
    return np.concatenate(leaves) if leaves else np.empty(0)


def _leaves(values: Any) -> Iterator[np.ndarray]:
    """Numeric arrays inside nested object arrays, lists and tuples (PyMDP's beliefs), in order."""
    if values is None:
        return
    if isinstance(values, list | tuple) or (
        isinstance(values, np.ndarray) and values.dtype.hasobject
    ):
        for value in values:
            yield from _leaves(value)
    else:
        yield values if type(values) is np.ndarray and values.ndim else np.atleast_1d(values)
