"""Passes of JAX agents: the form in which a population is held and stepped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from memprof.catalogue.passes import new_pass
from memprof.storage.compression import compressed, decompressed
from memprof.upstream.jax_agent import Mind


class State(NamedTuple):
    """All that is an agent's own: its mind, and `leaves`, the arrays of its PyMDP agent that differ
    from agent to agent, by attribute; a row per agent."""

    mind: Mind
    leaves: dict[str, list[Any]]


class JaxPass:
    """Decides how a population of JAX agents is held, never what PyMDP computes.

    Attributes:
        compiles: agents step by one compiled program.
        shares: what agents have in common is held once, in the template agent.
        chunks: agents step in chunks, and rest in between.
        chunk: agents in one; None for as many as are no burden.
    """

    compiles = shares = chunks = False
    chunk: int | None = None

    def open(self, template: State) -> None:
        """Told the state of the template agent, a single row, before any agent rests."""

    def rest(self, state: Any) -> Any:
        """The stored form of the state of agents that nobody uses."""
        return state

    def wake(self, stored: Any) -> Any:
        """Undo `rest`."""
        return stored


class JaxPlan:
    """The passes of one population, in order; but for the one that encodes agents at rest, after
    which there is nothing left for another to change."""

    def __init__(self, passes: Iterable[JaxPass]) -> None:
        self.passes = tuple(sorted(passes, key=lambda each: each.chunks))
        self.compiles = any(each.compiles for each in self.passes)
        self.shares = any(each.shares for each in self.passes)
        self.chunks = any(each.chunks for each in self.passes)
        self.chunk = next((each.chunk for each in self.passes if each.chunk is not None), None)
        self.rests = any(type(each).rest is not JaxPass.rest for each in self.passes)

    @classmethod
    def of(cls, names: Sequence[str], backend: str, options: Mapping[str, Any]) -> JaxPlan:
        """New instances of the named passes, told those of the options that they know."""
        return cls(new_pass(name, backend, options) for name in names)

    def open(self, template: State) -> None:
        """Tell every pass the template."""
        for each in self.passes:
            each.open(template)

    def rest(self, state: State) -> Any:
        """The stored form of a state."""
        for each in self.passes:
            state = each.rest(state)
        return state

    def wake(self, stored: Any) -> State:
        """The state again."""
        for each in reversed(self.passes):
            stored = each.wake(stored)
        found: State = stored
        return found


# A belief near 1 is rounded by at most 2**-12; the posterior that follows may be off by more.
BOUND = 5e-3


class Belief(JaxPass):
    """float16 rounds a probability by at most 0.00025; beliefs below 3e-8 become zero."""

    def open(self, template: State) -> None:
        self._dtype = template.mind.qs[0].dtype

    def rest(self, state: State) -> Any:
        return _with_beliefs(state, jnp.float16)

    def wake(self, stored: Any) -> State:
        return _with_beliefs(stored, self._dtype)


def _with_beliefs(state: State, dtype: Any) -> State:
    qs = [jnp.asarray(q).astype(dtype) for q in state.mind.qs]
    return state._replace(mind=state.mind._replace(qs=qs))


class Jit(JaxPass):
    """PyMDP's agent used as its README shows traces anew at every call, and JAX remembers all of
    it; compiled once, nothing is traced again."""

    compiles = True


class Share(JaxPass):
    """PyMDP's agent of `batch_size=N` holds A, B and the rest N times. Here one agent of
    `batch_size=1` is `vmap`ped over beliefs, actions and what it learns."""

    compiles = shares = True


class Template(JaxPass):
    """Agents step in chunks; between their steps a chunk is one block of encoded rows."""

    compiles = shares = chunks = True

    def __init__(self, chunk: int | None = None) -> None:
        self.chunk = chunk

    def open(self, template: State) -> None:
        rows, self._structure = jax.tree_util.tree_flatten(template)
        self._rows = [np.array(row[0]) for row in rows]

    def rest(self, state: State) -> Any:
        arrays = [np.asarray(array) for array in jax.tree_util.tree_leaves(state)]
        return Block.of(arrays, self._rows_for(arrays))

    def wake(self, stored: Any) -> State:
        arrays = stored.arrays(self._rows_for([dtype for _, dtype in stored.layout]))
        state: State = jax.tree_util.tree_unflatten(self._structure, arrays)
        return state

    def _rows_for(self, arrays: list[Any]) -> list[np.ndarray]:
        """The template's rows in the precision in which agents rest."""
        return [
            row.astype(getattr(array, "dtype", array))
            for row, array in zip(self._rows, arrays, strict=True)
        ]


_LEVEL = 1  # a block is written and read at every step of its agents


@dataclass(frozen=True, slots=True)
class Block:
    """Arrays with one row per agent, as one Zstandard frame.

    What is compressed is the exclusive or with the template's row: what agents have in common
    becomes zeros, whatever its bits, and nothing is rounded.
    """

    frame: bytes
    layout: tuple[tuple[tuple[int, ...], np.dtype], ...]

    @classmethod
    def of(cls, arrays: Sequence[np.ndarray], template: Sequence[np.ndarray]) -> Block:
        """Encode `arrays`, each of shape (agents, ...), against `template`, each of shape (...)."""
        layout = tuple((array.shape, array.dtype) for array in arrays)
        differences = (_bits(a) ^ _bits(row) for a, row in zip(arrays, template, strict=True))
        return cls(compressed(b"".join(d.tobytes() for d in differences), _LEVEL), layout)

    def arrays(self, template: Sequence[np.ndarray]) -> list[np.ndarray]:
        """What was encoded, bit by bit; `template` as it was then."""
        data = bytearray(decompressed(self.frame))
        arrays, place = [], 0
        for (shape, dtype), row in zip(self.layout, template, strict=True):
            count = int(np.prod(shape))
            array = np.frombuffer(data, dtype, count, place).reshape(shape)
            bits = _bits(array)
            bits ^= _bits(row)
            arrays.append(array)
            place += array.nbytes
        return arrays


def _bits(array: np.ndarray) -> np.ndarray:
    """The array's memory as unsigned integers; a copy's if the array is not contiguous."""
    return np.ascontiguousarray(array).view(np.dtype(f"u{array.dtype.itemsize}"))
