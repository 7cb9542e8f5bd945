"""What JAX agents learned in a rollout, step by step, as differences from step to step."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from jax.tree_util import tree_flatten, tree_leaves, tree_map, tree_unflatten

from memprof.storage.compression import compressed, decompressed

_LEVEL = 1
_PIECE_BYTES = 4 * 2**20  # of agents that are packed together, and unpacked for one of them


class Learned:
    """One attribute, such as pA, of all agents at all steps.

    `learned[agent]` has the arrays that PyMDP's rollout reports of one agent, shape (steps, ...)
    each, and `learned.at(step)` those of all agents, shape (agents, ...). What is kept is the
    exclusive or with the step before, compressed: nothing is rounded.

    Attributes:
        nbytes: what that takes.
    """

    def __init__(self, template: Any, steps: int) -> None:
        """Args: template: the attribute before the first step, an agent of a batch of one."""
        leaves, self._structure = tree_flatten(template)
        self._start = [np.asarray(leaf) for leaf in leaves]
        self._steps = steps
        self._pieces: list[tuple[range, bytes]] = []

    def __len__(self) -> int:
        return self._pieces[-1][0].stop if self._pieces else 0

    @property
    def steps(self) -> int:
        return self._steps

    @property
    def nbytes(self) -> int:
        return sum(len(frame) for _, frame in self._pieces)

    def __repr__(self) -> str:
        return f"<learned by {len(self)} agents in {self._steps} steps, {self.nbytes} bytes>"

    def add(self, value: Any, agents: int) -> None:
        """So many more agents: arrays of shape (agents, steps, ...), and padding."""
        leaves = [np.asarray(leaf)[:agents] for leaf in tree_leaves(value)]
        each = max(1, sum(leaf.nbytes for leaf in leaves) // max(1, agents))
        size = max(1, _PIECE_BYTES // each)
        for start in range(0, agents, size):
            piece = [leaf[start : start + size] for leaf in leaves]
            first = len(self)
            self._pieces.append((range(first, first + len(piece[0])), self._packed(piece)))

    def _packed(self, leaves: list[np.ndarray]) -> bytes:
        parts = []
        for leaf, start in zip(leaves, self._start, strict=True):
            bits, found = _bits(leaf), _bits(leaf).copy()
            found[:, 1:] ^= bits[:, :-1]
            found[:, 0] ^= _bits(start)
            parts.append(found.tobytes())
        return compressed(b"".join(parts), _LEVEL)

    def _unpacked(self, frame: bytes, agents: int) -> list[np.ndarray]:
        data, found, place = bytearray(decompressed(frame)), [], 0
        for start in self._start:
            shape = (agents, self._steps, *start.shape[1:])
            array = np.frombuffer(data, start.dtype, int(np.prod(shape)), place).reshape(shape)
            bits = _bits(array)
            bits[:, 0] ^= _bits(start)
            np.bitwise_xor.accumulate(bits, axis=1, out=bits)
            found.append(array)
            place += array.nbytes
        return found

    def __getitem__(self, agent: int) -> Any:
        agent = agent + len(self) if agent < 0 else agent
        for agents, frame in self._pieces:
            if agent in agents:
                leaves = self._unpacked(frame, len(agents))
                found = [leaf[agent - agents.start].copy() for leaf in leaves]
                return tree_unflatten(self._structure, found)
        raise IndexError(f"agent {agent}: there are {len(self)}, numbered from 0")

    def __iter__(self) -> Iterator[Any]:
        for agents, frame in self._pieces:
            leaves = self._unpacked(frame, len(agents))
            for row in range(len(agents)):
                yield tree_unflatten(self._structure, [leaf[row].copy() for leaf in leaves])

    def at(self, step: int) -> Any:
        """After a step, of all agents; -1 for the last one."""
        if not -self._steps <= step < self._steps:
            raise IndexError(f"step {step}: there are {self._steps}, numbered from 0")
        parts = [
            [leaf[:, step].copy() for leaf in self._unpacked(frame, len(agents))]
            for agents, frame in self._pieces
        ]
        joined = [np.concatenate(each) for each in zip(*parts, strict=True)]
        found = tree_unflatten(self._structure, joined)
        return tree_map(np.asarray, found)


def _bits(array: np.ndarray) -> np.ndarray:
    """The array's bytes, beside its first axes: a view where it is in one piece."""
    array = np.ascontiguousarray(array)
    return array.view(np.uint8) if array.ndim else array.reshape(1).view(np.uint8)
