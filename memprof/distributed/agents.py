"""What a shard of `memprof.distribute` holds: a population of its own, in memory."""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from memprof.api.memory import PopulationMemory
from memprof.api.optimise import optimize, reopen
from memprof.api.population import OptimizedPopulation
from memprof.api.refill import Stored, kept, refilled
from memprof.distributed.rows import loads, narrow, owned, sent, wide
from memprof.distributed.shard import large_constants, worth_sharing
from memprof.errors import StoreError, UsageError
from memprof.instruments import process
from memprof.populations import begin_random, step_seed
from memprof.storage.compression import compressed, decompressed
from memprof.storage.constants import known
from memprof.storage.copies import copy_of
from memprof.text import shown
from memprof.upstream import is_agent, is_jax_agent, load
from memprof.values.population import WHOLE, Share

SAMPLED = 8
"""Agents that one shard builds ahead of all, to see what they have in common."""
_BUILDING = -1  # in place of a step
# Of splitmix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
_GOLDEN, _FIRST, _SECOND = (
    np.uint64(each) for each in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
)

Make = Callable[[int], Any]
Files = Mapping[str, bytes]
"""The files of a folder by name, compressed."""


class How(NamedTuple):
    """How agents are kept, wherever they are: as of `optimize`; and the seed of all chance."""

    passes: Any
    options: Mapping[str, Any]
    seed: int


class Begun(NamedTuple):
    """What a shard says of its agents: how many there are, whether they are JAX agents, and their
    class; None where there is none."""

    agents: int
    is_jax: bool
    kind: type | None


class Agents:
    """The agents of one share, by the methods that the driver calls."""

    def __init__(self, population: Any, share: Share, seed: int, kind: type | None) -> None:
        self._population, self._share, self._seed, self._kind = population, share, seed, kind
        if isinstance(population, OptimizedPopulation):
            population.share = share
        elif len(population):
            population.use(known)

    def begun(self) -> Begun:
        """What they are."""
        is_jax = not isinstance(self._population, OptimizedPopulation)
        return Begun(len(self._population), is_jax, self._kind)

    def sampled(self) -> list[Any]:
        """The large arrays that agents like these have in common with each other."""
        if not isinstance(self._population, OptimizedPopulation):
            return worth_sharing(self._population.common())
        if self._kind is load("agent").Agent and len(self._population):
            with self._population.activate(int(self._population.indices()[0])) as agent:
                outcome = [0] * len(agent.num_obs)
            self._population.act([outcome] * len(self._population))  # kernels share some, too
        return large_constants()

    def act(
        self, turn: int, observations: Any, own: Sequence[int] | None, learning: Collection[str]
    ) -> Any:
        """One turn of these agents, or of all; each draws from numbers of its own."""
        indices = self._population.indices() if own is None else np.asarray(own)
        chosen = None if own is None else indices.tolist()  # all take less to find
        seeds = seeds_of(self._seed, turn, self._share.first + indices * self._share.every)
        seen = owned(wide(observations))
        return narrow(self._population.act(seen, chosen, learning=learning, seeds=seeds))

    def act_jax(
        self,
        observations: Any,
        own: Sequence[int] | None,
        key: Any,
        kind: str | None,
        total: int,
        places: Any,
    ) -> np.ndarray:
        """The same of JAX agents, which are at these places among so many whose turn it is."""
        from jax import random

        from memprof.distributed.jax_population import keys_of

        keys = random.split(keys_of(key, kind), total + 1)[1:][places]
        actions, _ = self._population.act(owned(observations), indices=own, keys=keys)
        found: np.ndarray = actions
        return found

    def map(
        self, turn: int, step: bytes, observations: bytes, own: Sequence[int] | None
    ) -> list[bytes]:
        """The user's own step of these agents; what it returns of each, as it is sent."""
        function = loads(step)
        indices = [*map(int, self._population.indices() if own is None else own)]
        due = iter(indices)

        def seeded(agent: Any, observation: Any) -> bytes:
            begin_random(self._seed_of(turn, next(due)))
            return sent(function(agent, observation))

        found: list[bytes] = self._population.map(seeded, loads(observations), indices)
        return found

    def map_jax(
        self, step: bytes, observations: Any, own: Sequence[int] | None, keys: Any, kind: str | None
    ) -> Any:
        """The same of JAX agents."""
        from memprof.distributed.jax_population import keys_of

        return self._population.map(loads(step), owned(observations), keys_of(keys, kind), own)

    def activate(self, turn: int, own: int, asked: bytes) -> bytes:
        """What a function makes of an agent, as it is sent; both are `asked`, with arguments."""
        begin_random(self._seed_of(turn, own))
        with self._population.activate(own) as agent:
            function, arguments = loads(asked)  # here: what the agent keeps of it is its own
            return sent(function(agent, *arguments))

    def _seed_of(self, turn: int, own: int) -> int:
        return int(seeds_of(self._seed, turn, np.array([self._share.index(own)]))[0])

    def add(self, files: Files) -> None:
        """Take over the agent of a packed population."""
        with _unpacked(files) as folder, reopen(folder, self._kind, readonly=True) as packed:
            (index,) = packed.indices()
            with packed.activate(int(index)) as agent:
                self._population.add(copy_of(agent) if is_agent(agent) else agent)

    def remove(self, own: int) -> None:
        """Remove an agent for good."""
        self._population.remove(own)

    def settle(self) -> None:
        """Have the process give back what is free."""
        process.settle()

    def memory(self) -> PopulationMemory:
        """Of the agents of this shard."""
        found: PopulationMemory = self._population.memory()
        return found

    def save(self, place: str, number: int) -> None:
        """Keep the agents in a folder of their own.

        Raises:
            StoreError: this node does not see the place, or has no room there.
        """
        if not Path(place).is_dir():
            raise StoreError(
                f"{shown(place)}: is not seen by {platform.node()}; give a folder of a file system "
                "that all nodes share"
            )
        folder = Path(place) / str(number)
        shutil.rmtree(folder, ignore_errors=True)  # of a shard that died before it could say so
        kept(self._population, folder)


def seeds_of(seed: int, turn: int, agents: np.ndarray) -> np.ndarray:
    """What `np.random` is seeded with before each of these agents has a turn: 32 bits of
    splitmix64."""
    with np.errstate(over="ignore"):
        state = np.uint64(seed % 2**64) * _FIRST + np.uint64(turn) * _SECOND
        found = state + (agents.astype(np.uint64) + np.uint64(1)) * _GOLDEN
        for shift, factor in ((30, _FIRST), (27, _SECOND)):
            found = (found ^ (found >> np.uint64(shift))) * factor
    mixed: np.ndarray = (found ^ (found >> np.uint64(31))) & np.uint64(0xFFFFFFFF)
    return mixed


def made(make: bytes, agents: int, how: How, share: Share) -> Agents:
    """The agents of a share of so many, from the user's function as it was sent."""
    building = _Building(loads(make), share.indices(range(share.below(agents))), how.seed)
    population = optimize(iter(building), how.passes, **how.options)
    return Agents(population, share, how.seed, building.kind)


def unpacked(files: Files, how: How, kind: type | None, share: Share) -> Agents:
    """The agents of a share of those that were packed."""
    with _unpacked(files) as folder:
        return reopened([Stored(folder, WHOLE)], how, kind, share)


def reopened(stores: Sequence[Stored], how: How, kind: type | None, share: Share) -> Agents:
    """The agents of a share, as they were saved."""
    population = refilled(stores, share, how.passes, how.options, kind)
    return Agents(population, share, how.seed, kind)


class Packed(NamedTuple):
    """Agents on their way to shards, as the files of a population; how many, and their class."""

    files: Files
    agents: int
    kind: type | None


@contextmanager
def packed(agents: Iterable[Any], how: How) -> Iterator[Packed]:
    """The caller's own agents, which are empty once the block ends; unless it raises.

    Raises:
        UsageError: they are none, or files cannot keep one; then all are what they were.
    """
    kinds: list[type] = []

    def noted() -> Iterator[Any]:
        for agent in agents:
            kinds.append(type(agent))
            yield agent

    population = optimize(noted(), how.passes, **how.options)
    try:
        with tempfile.TemporaryDirectory(prefix="memprof-") as place:
            folder = Path(place) / "agents"
            kept(population, folder)
            files = {each.name: compressed(each.read_bytes()) for each in folder.iterdir()}
        yield Packed(files, len(kinds), kinds[0] if kinds else None)
    except BaseException:
        if isinstance(population, OptimizedPopulation):  # JAX's were only read
            population.give_back()
        raise
    population.close()


@contextmanager
def _unpacked(files: Files) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=_session_folder()) as place:
        folder = Path(place)
        for name, content in files.items():
            _write(folder / name, decompressed(content))
        yield folder


def _session_folder() -> str:
    """That of Ray's session, which goes with it, also from a shard that is killed."""
    import ray

    folder: str = ray.get_runtime_context().worker.node.get_session_dir_path()
    return folder


def _write(file: Path, content: bytes) -> None:
    """Without the zeros at the end, which LMDB's files have by the megabyte."""
    file.write_bytes(content.rstrip(b"\0"))
    os.truncate(file, len(content))


class _Building:
    """The agents with these numbers, as they are asked for; what the first one is."""

    def __init__(self, make: Make, numbers: range, seed: int) -> None:
        self._make, self._numbers, self._seed = make, numbers, seed
        self.kind: type | None = None

    def __iter__(self) -> Iterator[Any]:
        for number in self._numbers:
            begin_random(step_seed(self._seed, number, _BUILDING))
            agent = _agent_of(self._make(number), number)
            self.kind = self.kind or type(agent)
            yield agent


def _agent_of(made: Any, number: int) -> Any:
    """What the user's function returned, as an agent.

    Raises:
        UsageError: it is none.
    """
    if isinstance(made, dict):
        return load("agent").Agent(**made)
    if is_agent(made) or is_jax_agent(made):
        return made
    raise UsageError(
        f"make_agent({number}): expected a PyMDP agent, or the keyword arguments of a NumPy agent "
        f"as a dict; found {shown(type(made).__name__)}"
    )
