"""A population of the user's own agents over the shards of a cluster."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Self

import numpy as np

from memprof.api.acting import seen_by
from memprof.api.checks import check_agent
from memprof.distributed import checkpoints
from memprof.distributed.agents import Begun, How, packed
from memprof.distributed.cluster import Cluster
from memprof.distributed.memory import DistributedMemory
from memprof.distributed.recovery import Calls
from memprof.distributed.rows import as_array, gathered, loads, narrow, part_of, sent, wide
from memprof.distributed.shard import Place
from memprof.distributed.traffic import Traffic
from memprof.errors import StoreError, UsageError
from memprof.storage.numbering import agents_due
from memprof.text import counted, shown
from memprof.values.population import Share

REOPENED = "memprof.distributed.agents:reopened"


class DistributedPopulation:
    """Agents at rest in the shards of a cluster, each agent in the one that its index says: index
    `i` of `n` shards is in shard `i % n`. An index is never reused.

    What agents have in common is in Ray's object store, once per node, and every shard there reads
    it in place. What is an agent's own stays in its shard; observations go there and actions come
    back as arrays, one message each way for every shard and turn.

    Results do not depend on the number of shards: each agent draws from random numbers of its own,
    by the population's seed, its index and the turn.

    A shard that dies is started anew by Ray, takes its agents from the last `checkpoint` and
    repeats the turns since; the call in which it died returns as if nothing had been. Without a
    checkpoint that call raises ShardLost.

    For one thread. Close it, or use it in a `with` statement.
    """

    def __init__(
        self, cluster: Cluster, calls: Calls, how: How, begun: Sequence[Begun], agents: int
    ) -> None:
        """Use `distribute`."""
        self._cluster, self._calls, self._how = cluster, calls, how
        self._kind = next((each.kind for each in begun if each.kind is not None), None)
        self._count, self._found = agents, sum(each.agents for each in begun)
        self._removed: set[int] = set()
        self._turn = 0
        self._folder: Path | None = None
        self._closed = False

    def go_on(self, checkpoint: checkpoints.Checkpoint, folder: Path) -> None:
        """Go on from the checkpoint of a folder, whose agents the shards have.

        Raises:
            StoreError: they have others than it says.
        """
        expected = checkpoint.agents - len(checkpoint.removed)
        if self._found != expected:
            raise StoreError(
                f"{shown(folder)}: expected {counted(expected, 'agent')}, as its checkpoint says, "
                f"found {self._found:,} in its stores; go back to another checkpoint"
            )
        self._removed, self._turn = {*checkpoint.removed}, checkpoint.turn
        self._folder = folder
        self._calls.saved(self._from(checkpoint, folder))

    # What there is.

    def __len__(self) -> int:
        """How many agents there are, without those that were removed."""
        self._check_open()
        return self._count - len(self._removed)

    def __repr__(self) -> str:
        if self._closed:
            return "<memprof population on Ray, closed>"
        shards = counted(self._cluster.shards, "shard")
        return f"<memprof population of {counted(len(self), 'agent')} over {shards}>"

    def __iter__(self) -> NoReturn:
        raise TypeError(
            "agents of a population are stored in its shards; step them with population.act(), or "
            "have a function run where one is: population.activate(index, function)"
        )

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a population cannot be pickled; population.save(folder) keeps it in files, which "
            "memprof.distribute(folder) opens"
        )

    def indices(self) -> np.ndarray:
        """The indices of all agents that are there, in order."""
        self._check_open()
        everybody = np.arange(self._count)
        return np.delete(everybody, sorted(self._removed)) if self._removed else everybody

    @property
    def shards(self) -> int:
        """How many there are."""
        return self._cluster.shards

    @property
    def places(self) -> tuple[Place, ...]:
        """Where each shard is: its node and process."""
        return tuple(self._cluster.places)

    @property
    def traffic(self) -> Traffic:
        """Messages to shards and back, until now."""
        return self._cluster.traffic

    @property
    def recovered(self) -> int:
        """How often a shard has died and gone on."""
        return self._calls.recovered

    # Agents live.

    def act(
        self,
        observations: Sequence[Any] | np.ndarray | Mapping[int, Any],
        indices: Sequence[int] | None = None,
        *,
        learning: Collection[str] = (),
    ) -> np.ndarray:
        """One turn of every agent, as of `OptimizedPopulation.act`. What agents draw by chance
        comes from numbers of each agent's own, and `np.random` here is left as it is.

        Args:
            observations, indices, learning: as there.

        Returns:
            Their actions, a row for each, [agents, control factors]; an object array of rows where
            agents have different numbers of factors.

        Raises:
            IndexError: there is no such agent, or no longer.
            UsageError: as many observations as agents are expected; the population is closed.
            ShardLost: a shard has died, and there is no checkpoint.

        Whatever PyMDP raises comes with a note that names the agent. Agents of its shard that come
        after it have not acted; those of other shards have.
        """
        chosen, due, seen = self._observing(observations, indices)
        seen = as_array(seen)
        letters = tuple(sorted({*learning}))
        return self._taken(
            "act",
            due,
            lambda own, places: (self._turn, narrow(part_of(seen, places)), own, letters),
            chosen,
        )

    def map(
        self, step: Callable[[Any, Any], Any], observations: Any, indices: Any = None
    ) -> list[Any]:
        """The user's own step of every agent, in the agents' shards: `step(agent, observation)`,
        which has random numbers of the agent's own. What it changes of the agent is stored.

        Returns:
            What it returned, in the order of the agents.

        Raises:
            as `act`.
        """
        chosen, due, seen = self._observing(observations, indices)
        parts, turn, function = self._parts(due, chosen), self._turn, sent(step, "step")
        given = {
            n: (turn, function, sent(part_of(seen, at), "observations"), own)
            for n, (own, at) in parts.items()
        }
        found = self._asked("map", given)
        results: list[Any] = [None] * len(due)
        for number, (_, places) in parts.items():
            numbers = range(len(due))[places] if isinstance(places, slice) else places.tolist()
            for place, result in zip(numbers, found[number], strict=True):
                results[place] = loads(result)
        return results

    def activate(self, index: int, function: Callable[..., Any], *arguments: Any) -> Any:
        """What `function(agent, *arguments)` returns, called with the agent in its shard, where it
        is stored again afterwards.

        Raises:
            IndexError: there is no such agent, or no longer.
            UsageError: the population is closed.
            ShardLost: as of `act`.
            whatever the function raises.
        """
        shard, own = self._place(index)
        asked = sent((function, arguments), "function")
        return loads(self._asked("activate", {shard: (self._turn, own, asked)})[shard])

    # Agents come and go.

    def add(self, agent: Any) -> int:
        """Take over one more agent, which is empty afterwards. Returns its index.

        Raises:
            UsageError: it is no such agent, or has state that cannot be kept in files (it is
                unchanged then); the population is closed.
        """
        self._check_open()
        self._check_new(agent)
        index = self._count
        with packed([agent], self._how) as moving, self._coming_or_going():
            self._asked("add", {index % self.shards: (moving.files,)})
            self._count += 1
        return index

    def _check_new(self, agent: Any) -> None:
        check_agent(agent)
        if self._kind is not None and type(agent) is not self._kind:
            raise UsageError(
                f"agents: expected one of the class of the others, {self._kind.__qualname__}, "
                f"found {type(agent).__qualname__}; make a population of each"
            )

    def remove(self, index: int) -> None:
        """Remove an agent for good. Its index is not reused.

        Raises:
            IndexError: there is no such agent, or no longer.
        """
        shard, own = self._place(index)
        with self._coming_or_going():
            self._asked("remove", {shard: (own,)})
            self._removed.add(int(index))

    @contextmanager
    def _coming_or_going(self) -> Iterator[None]:
        """A block in which a shard gets or loses an agent: Ctrl-C leaves open whether it has."""
        try:
            yield
        except Exception:
            raise
        except BaseException:
            self._calls.lose("interrupted while an agent came or went")
            raise

    # What they take, and files.

    def memory(self) -> DistributedMemory:
        """What agents at rest take, by shard; and what all processes of each node do."""
        self._check_open()
        everybody: dict[int, tuple[Any, ...]] = dict.fromkeys(self._everywhere, ())
        self._calls.ask("settle", everybody, changes=False)
        nodes = self._cluster.nodes()  # before agents are walked, which takes memory
        ledgers = self._calls.ask("memory", everybody, changes=False)
        shards = tuple(ledgers[number] for number in self._everywhere)
        return DistributedMemory(len(self), shards, nodes, self._calls.journal_bytes)

    def checkpoint(self, folder: Path | str | None = None) -> None:
        """Keep all agents in a folder that all nodes see, as they are now: from now on, a shard
        that dies goes on from here. The one before is there until this one is whole.

        Until the next one the program remembers what it has had agents do
        (`memory().journal_bytes`), so make one every so many turns.

        Args:
            folder: new or empty, or that of an earlier checkpoint; the same again if omitted.

        Raises:
            UsageError: there is no folder yet; a folder cannot keep some agent.
            StoreError: the folder cannot be used, or not by all nodes; there is no room.
        """
        self._check_open()
        if folder is None and self._folder is None:
            raise UsageError("checkpoint: expected a folder for the first one; name one")
        place = self._folder if folder is None else Path(folder).resolve()
        assert place is not None
        checkpoint = self._saved(place)
        self._folder = place
        self._calls.saved(self._from(checkpoint, place))
        checkpoints.sweep(place, checkpoint)

    def save(self, folder: Path | str) -> None:
        """Keep all agents in a new or empty folder, as they are now, for `memprof.distribute`; the
        population has nothing to do with it afterwards.

        Raises:
            as `checkpoint`.
        """
        self._check_open()
        place = Path(folder).resolve()
        if place == self._folder:
            raise UsageError(
                f"save: {place} has the population's checkpoint; give another folder, or call "
                "checkpoint()"
            )
        checkpoints.sweep(place, self._saved(place))

    def _saved(self, folder: Path) -> checkpoints.Checkpoint:
        place = checkpoints.begin(folder)
        try:
            given = {n: (str(place), n) for n in self._everywhere}
            self._calls.ask("save", given, changes=False)
            kind = self._kind or object
            checkpoint = checkpoints.Checkpoint(
                place=place.name,
                shards=self.shards,
                agents=self._count,
                removed=tuple(sorted(self._removed)),
                turn=self._turn,
                seed=self._how.seed,
                passes=self._how.passes,
                options={**self._how.options},
                backend=self._backend,
                agent_class=(kind.__module__, kind.__qualname__),
            )
            checkpoints.commit(folder, checkpoint)
        except BaseException:
            checkpoints.give_up(place)
            raise
        return checkpoint

    _backend = "numpy"

    def _from(self, checkpoint: checkpoints.Checkpoint, folder: Path) -> list[tuple[Any, ...]]:
        """How each shard is told to hold its agents of a checkpoint."""
        stores = checkpoint.stores(folder)
        return [
            (REOPENED, stores, self._how, self._kind, Share(number, self.shards))
            for number in self._everywhere
        ]

    def close(self) -> None:
        """End the shards, and the cluster if it was started for them. A checkpoint stays."""
        self._closed = True
        self._cluster.close()

    # How agents are found, and shards asked.

    @property
    def _everywhere(self) -> range:
        return range(self.shards)

    def _place(self, index: int) -> tuple[int, int]:
        self._check_there([index])
        own, shard = divmod(int(index), self.shards)
        return shard, own

    def _chosen(self, indices: Any) -> list[int] | None:
        """The agents that are named, each once; None for all of them."""
        self._check_open()
        if indices is None:
            return None
        chosen = agents_due(indices)
        self._check_there(chosen)
        return chosen

    def _observing(
        self, observations: Any, indices: Any
    ) -> tuple[list[int] | None, np.ndarray, Any]:
        """The agents that are named, None for all; whose turn it is, and what each observes."""
        named = indices is None and isinstance(observations, Mapping)
        chosen = self._chosen(observations if named else indices)
        due = self.indices() if chosen is None else np.array(chosen, np.int64)
        return chosen, due, seen_by(observations, due.tolist())

    def _check_there(self, indices: Sequence[int]) -> None:
        self._check_open()
        for index in indices:
            if not 0 <= index < self._count:
                raise IndexError(f"agent {index}: there are {self._count}, numbered from 0")
            if index in self._removed:
                raise IndexError(f"agent {index} was removed")

    def _parts(
        self, due: np.ndarray, chosen: list[int] | None
    ) -> dict[int, tuple[Any, slice | np.ndarray]]:
        """Of each shard whose agents are due, their own indices, None for all; and their places
        among all."""
        parts: dict[int, tuple[Any, slice | np.ndarray]] = {}
        for number in self._everywhere:
            if chosen is None and not self._removed:
                places: slice | np.ndarray = slice(number, None, self.shards)
                there = number < len(due)
            else:
                places = np.flatnonzero(due % self.shards == number)
                there = bool(len(places))
            if there:
                own = None if chosen is None else (due[places] // self.shards)
                parts[number] = own, places
        return parts

    def _taken(
        self,
        method: str,
        due: np.ndarray,
        arguments: Callable[[Any, Any], tuple[Any, ...]],
        chosen: list[int] | None,
    ) -> np.ndarray:
        """What agents did, in their order."""
        parts = self._parts(due, chosen)
        found = self._asked(method, {n: arguments(*part) for n, part in parts.items()})
        return gathered(len(due), [(parts[number][1], wide(found[number])) for number in parts])

    def _asked(self, method: str, arguments: Mapping[int, tuple[Any, ...]]) -> Any:
        """Have shards do what changes their agents. Whatever comes of it, it was a turn."""
        try:
            return self._calls.ask(method, arguments, changes=True)
        finally:
            self._turn += 1

    def _check_open(self) -> None:
        if self._closed:
            raise UsageError("the population is closed")
        self._calls.check()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
