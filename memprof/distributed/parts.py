"""The parts of scenarios' populations that are in one shard."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from msgspec.structs import replace

from memprof.catalogue.backends import BACKENDS
from memprof.distributed.packing import Joined, in_rows, joined, parted
from memprof.distributed.shard import Stored, worth_sharing
from memprof.distributed.told import Perceived, Told
from memprof.instruments import heap, process
from memprof.populations import Behaviour, Lived, Population, Unwatched, lone_class
from memprof.populations.joint_world import Shape
from memprof.storage.company import LEAST
from memprof.storage.constants import adopt, all_constants
from memprof.values.instruments import Reading
from memprof.values.population import WHOLE, PopulationSpec, Share
from memprof.worker.job import install_early


class Form(NamedTuple):
    """What a population says of itself before there are agents; see `Population`."""

    stride: int
    rebuilds: bool
    compiles: bool
    group: int
    period: int


class Did(NamedTuple):
    """What agents of a shard did in a step, in the order of their own numbers.

    Attributes:
        agents: these.
        actions: one for each.
        noted: of the first agents, all that they believed and did, by own number.
    """

    agents: list[range]
    actions: Joined
    noted: dict[int, Behaviour]

    @classmethod
    def of(cls, lives: Iterable[Lived], noted: int) -> Did:
        """Of one step; agents below the own number `noted` tell all."""
        actions: dict[int, Any] = {}
        told: dict[int, Behaviour] = {}
        for agent, _, behaviour in lives:
            actions[agent] = behaviour.action
            if agent < noted:
                told[agent] = behaviour
        agents = sorted(actions)
        return cls(in_rows(agents), joined([actions[agent] for agent in agents]), told)

    def lived(self, share: Share, step: int) -> Iterator[Lived]:
        """The same by the agents' numbers in the whole."""
        for own, action in zip(chain(*self.agents), parted(self.actions), strict=True):
            behaviour = self.noted.get(own) or Behaviour(None, None, action)
            yield Lived(share.index(own), step, behaviour)


class Memory(NamedTuple):
    """What the shard's process has.

    Attributes:
        reading: now.
        sizes: the kernel's, see `process.status`.
        peak_rss_bytes: since the last time this was asked; None where nothing tells.
    """

    reading: Reading
    sizes: dict[str, int]
    peak_rss_bytes: int | None


@dataclass(slots=True)
class _Part:
    """A part of one population.

    Attributes:
        told: of agents whose worlds are elsewhere.
        common: what they share with those of other shards, in the node's object store.
    """

    spec: PopulationSpec
    population: Population
    told: Told | None
    common: list[np.ndarray] = field(default_factory=list)


class Parts:
    """Parts of populations by their numbers, which the driver gives. Agents go by their own numbers
    in here, and by their numbers in the whole in what they do and in messages of errors."""

    def __init__(self, share: Share) -> None:
        self._share = share
        self._parts: dict[int, _Part] = {}
        self._sampled: list[Stored] = []
        self._filled: Any = None

    def begun(self) -> None:
        """It is ready."""

    # -------------------------------------------------------------------------- populations

    def begin(self, number: int, spec: PopulationSpec, meet: bool) -> Form:
        """A new population without agents; they `meet` in a world that is elsewhere.

        Raises:
            as its constructor.
        """
        part = self._parts[number] = _part(replace(spec, share=self._share), meet)
        found = part.population
        return Form(found.stride, found.rebuilds, found.compiles, found.group, found.period)

    def sample(self, number: int, agents: int) -> int:
        """Build a few agents of the whole, of which there will be so many, or as many as the
        scenario has, and let them live one step; the bytes of what they have in common. Whatever is
        wrong with them, those that are built to stay will say."""
        spec, meet = self._parts[number].spec, self._parts[number].told is not None
        if not spec.passes or BACKENDS[spec.backend].compiles:
            return 0
        known = {id(each) for each in all_constants()}
        part = _part(replace(spec, share=WHOLE), meet)
        with suppress(Exception):
            few = part.population.grow(min(max(agents, spec.agents), LEAST))
            if part.told is not None:
                part.told.tell_anything()
            part.population.lived(few, range(1))
        self._sampled = worth_sharing(each for each in all_constants() if id(each) not in known)
        part.population.close()
        return sum(each.content.nbytes for each in self._sampled)

    def sampled(self, number: int) -> list[Stored]:
        """What the agents that were built for it have in common."""
        found, self._sampled = self._sampled, []
        return found

    def share(self, number: int, common: Sequence[Stored]) -> None:
        """Have these, which are in the node's object store, in place of arrays of its own with the
        same content."""
        process.collect()  # or those that were built to find them would be found again
        self._parts[number].common = [adopt(each.array()) for each in common]

    def grow(self, number: int, agents: int) -> list[Shape] | None:
        """Let there be so many more, or so many in all where they are built anew. The shapes of
        those that are new, where their worlds have to know."""
        part = self._parts[number]
        if part.population.rebuilds and not agents:
            part.population.close()
            return None
        there = 0 if part.population.rebuilds else len(part.population)
        new = part.population.grow(there + agents)
        return None if part.told is None else [part.told.shapes[agent] for agent in new]

    def leave(self, number: int, agents: range) -> None:
        """As of a population."""
        self._parts[number].population.leave(agents)

    def live(
        self,
        number: int,
        agents: Sequence[range],
        step: int,
        noted: int,
        perceived: Perceived | None = None,
    ) -> Did:
        """One step of these agents, who are told what they `perceived` in worlds elsewhere; those
        below the own number `noted` tell all that they did."""
        part = self._parts[number]
        if part.told is None or perceived is None:
            return Did.of(part.population.live_apart(agents, step), noted)
        part.told.tell(agents, perceived)
        try:
            return Did.of(part.population.live_apart(agents, step), noted)
        finally:
            part.told.forget()

    def lived(self, number: int, agents: range, steps: range) -> int:
        """As of a population."""
        return self._parts[number].population.lived(agents, steps)

    def ask(self, number: int, name: str) -> Any:
        """An attribute of the population, or what its method returns."""
        found = getattr(self._parts[number].population, name)
        return found() if callable(found) else found

    def close(self, number: int) -> None:
        """Let go of all agents, and of what they have in common."""
        part = self._parts[number]
        part.population.close()
        part.common = []
        if part.told is not None:
            part.told.clear()

    # ------------------------------------------------------------------------------ memory

    def fill(self) -> None:
        """Take the free blocks of the heap, so that what comes from now on takes memory."""
        self._filled = heap.fill_free_blocks()

    def settle(self) -> Reading:
        """Free what is garbage, and read."""
        process.settle()
        return process.read()

    def memory(self) -> Memory:
        """What the process has; from now on it is about another peak."""
        found = Memory(process.read(), process.status(), process.peak_rss_bytes())
        process.reset_peak()
        return found


def _part(spec: PopulationSpec, meet: bool) -> _Part:
    install_early(spec)
    told = Told() if meet else None
    population = lone_class(spec)(spec, Unwatched(), *([told] if told else []))
    return _Part(spec, population, told)
