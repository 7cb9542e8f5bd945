"""Populations of agents that have company: of other kinds, or in a world in which they meet."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import gcd
from time import perf_counter, process_time
from typing import Any

from msgspec.structs import replace

from memprof.errors import ScenarioError, UsageError
from memprof.populations import (
    EVERYBODY,
    PROGRAM,
    Aside,
    Lived,
    Population,
    Probe,
    Unwatched,
    lone_class,
)
from memprof.populations.joint_world import JointWorlds
from memprof.posix import waited_seconds
from memprof.values.measurements import Rewards, WorkingSetUse
from memprof.values.population import PopulationSpec

_OF_KINDS = ("model", "agent", "learning")
"""Fields of which each kind has its own."""


class Company(Population):
    """Kinds of agents side by side, each a population of its own; and agents that meet, of any
    number of kinds: in a step all perceive, plan and act, and then the world moves. In which order
    they do makes no difference.

    Along one kind, all numbers of agents and all that is told of them are that kind's: the others,
    as many as the scenario has, are there as well. Else agents of all kinds take turns in coming,
    so that any number of them has the scenario's proportions.

    Where agents meet, the population is built anew whenever it grows: a world begins with those who
    live in it.
    """

    def __init__(self, spec: PopulationSpec, probe: Probe) -> None:
        self._spec, self._probe = spec, probe
        own = replace(spec, kinds=(), along="")
        kinds = [replace(each, engine=spec.engine) for each in spec.kinds]
        specs = [own if each.name == spec.along else each for each in kinds] or [own]
        grow = [each for each in specs if each.name == spec.along] if spec.along else specs
        self._worlds = None
        if spec.world is not None:
            names = [each.name for each in specs]
            self._worlds = JointWorlds(spec.world, spec.folder, names, spec.engine)
        turns = iter(_turns([each.agents for each in grow]))
        self._parts = [
            self._part(number, each, next(turns) if each in grow else None)
            for number, each in enumerate(specs)
        ]
        self._growing = [each for each in self._parts if each.grows]
        self._others = [each for each in self._parts if not each.grows]
        first = self._growing[0].population
        self.stride, self.compiles = first.stride, first.compiles
        self.rebuilds = first.rebuilds or self._worlds is not None
        self.group = self._worlds.group if self._worlds else 1
        self.period = self._growing[0].places.period
        self.aside = Aside()
        self._come = 0

    def _part(self, number: int, spec: PopulationSpec, places: _Places | None) -> _Part:
        place = f"kinds.{number}" if self._spec.kinds else ""
        met = [self._worlds.surroundings[number]] if self._worlds else []
        with named_fields(place):
            population = lone_class(spec)(spec, self._probe if places else Unwatched(), *met)
        return _Part(number, spec, population, place, places is not None, places or _ALL)

    def __len__(self) -> int:
        """Those that are born in a world are not among them."""
        if self._worlds is not None:
            return self._come
        return sum(len(each.population) for each in self._growing)

    def grow(self, agents: int) -> range:
        if self._worlds is not None and len(self):
            self.close()
        there = 0 if self.rebuilds else len(self)
        first = self._come = 0 if self.rebuilds else self._come
        with self._aside():
            self._settle_others()
        self._come += agents - there
        for each in self._growing:
            new = each.places.below(self._come) - each.places.below(first)
            if new:
                each.grow(new + (0 if self.rebuilds else len(each.population)))
        if self._worlds is not None:
            self._probe.call("environment", self._worlds.begin)
        return range(first, self._come)

    def _settle_others(self) -> None:
        """Let the other kinds be there; where they do not meet these, they have lived by now."""
        for each in self._others:
            if len(each.population):
                continue
            new = each.grow(each.spec.agents)
            for _ in each.live(new, range(self._spec.steps)) if self._worlds is None else ():
                pass

    def leave(self, agents: range) -> None:
        if self._worlds is not None:
            raise UsageError("agents that meet cannot leave: their world says who goes")
        for each in self._growing:
            each.population.leave(each.places.within(agents))

    def close(self) -> None:
        if self._worlds is not None:
            self._worlds.close()
        for each in self._parts:
            each.population.close()
        self._come = self.born = 0

    def live(self, agents: range, steps: range) -> Iterator[Lived]:
        """Where agents meet, all of them, whichever are asked for; but for those that their world
        has let go."""
        if self._worlds is not None:
            yield from self._live_together(self._worlds, steps)
            return
        for each in self._growing:
            yield from each.live(each.places.within(agents), steps)

    def lived(self, agents: range, steps: range) -> int:
        if self._worlds is not None:
            return sum(1 for _ in self._live_together(self._worlds, steps, tell=False))
        return sum(each.lived(each.places.within(agents), steps) for each in self._growing)

    def _live_together(
        self, worlds: JointWorlds, steps: range, *, tell: bool = True
    ) -> Iterator[Lived]:
        for step in steps:
            worlds.go_on(step, anew=self._spec.begins(step))
            self._come_and_go(worlds)
            for each in self._growing:
                yield from self._meet(each, worlds, step, tell=tell)
            for each in self._others:
                with self._aside():
                    for _ in self._meet(each, worlds, step, tell=False):
                        pass
            with self._aside(share=self._others_share()):
                self._probe.call("environment", worlds.move, step)
            self._come_and_go(worlds)

    def _come_and_go(self, worlds: JointWorlds) -> None:
        """Let those of the born go for good whom their world has let go, and build those that are
        born now."""
        for part in self._parts:
            around = worlds.surroundings[part.number]
            for agent in around.gone():
                part.population.leave(range(agent, agent + 1))
            while around.coming:
                with self._aside():
                    (agent,) = part.grow(len(part.population) + 1)
                around.come(agent)
                self.born += 1

    def _others_share(self) -> float:
        if not self._others:
            return 0.0
        of_all, growing = (
            sum(len(each.population) for each in parts) for parts in (self._parts, self._growing)
        )
        return 1 - growing / of_all

    def _meet(self, part: _Part, worlds: JointWorlds, step: int, *, tell: bool) -> Iterator[Lived]:
        """All of a kind that live perceive, plan and say what they do."""
        take = worlds.surroundings[part.number].take
        with named_fields(part.field):
            present = worlds.present(part.number)
            for lived in part.population.live_apart(present, step, tell=tell):
                take(lived.agent, lived.behaviour.action)
                yield part.numbered(lived)

    @contextmanager
    def _aside(self, share: float = 1.0) -> Iterator[None]:
        """Time in here is that of other kinds, for such a share; no clock is asked for none."""
        if not share:
            yield
            return
        before = perf_counter(), waited_seconds(), process_time()
        yield
        after = perf_counter(), waited_seconds(), process_time()
        seconds, waited, cpu = (share * (b - a) for a, b in zip(before, after, strict=True))
        self.aside.seconds += seconds
        self.aside.waited_seconds += waited
        self.aside.cpu_seconds += cpu

    def holdings(self) -> Iterator[tuple[int, str, Any]]:
        for part in self._parts:
            for agent, component, held in part.population.holdings():
                if part.grows or agent == PROGRAM:
                    yield agent if agent < 0 else part.places[agent], component, held
                else:
                    yield EVERYBODY, f"kind {part.spec.name}", held
        if self._worlds is not None:
            yield from self._worlds.holdings()

    @property
    def file_bytes(self) -> int:
        return sum(each.population.file_bytes for each in self._growing)

    @property
    def kept_whole(self) -> tuple[str, ...]:
        found = (name for each in self._growing for name in each.population.kept_whole)
        return tuple(dict.fromkeys(found))

    def working_set(self) -> WorkingSetUse | None:
        found = (each.population.working_set() for each in self._growing)
        return WorkingSetUse.together([use for use in found if use])

    def rewards(self) -> Rewards | None:
        found = (each.population.rewards() for each in self._growing)
        return Rewards.together([given for given in found if given])

    def facts(self) -> dict[str, str]:
        return {
            name: fact for each in self._growing for name, fact in each.population.facts().items()
        }

    def keep_programs(self) -> bool:
        kept = [each.population.keep_programs() for each in self._parts]
        return all(kept)

    def drop_caches(self) -> bool:
        freed = [each.population.drop_caches() for each in self._parts]
        return any(freed)


@dataclass(frozen=True, slots=True)
class _Places:
    """Which agents of all those that come in turns are of one kind: in every `period` of them those
    at the `offsets`."""

    period: int
    offsets: tuple[int, ...]

    def __getitem__(self, agent: int) -> int:
        """The place of an agent among all, by its number in its kind."""
        rounds, place = divmod(agent, len(self.offsets))
        return rounds * self.period + self.offsets[place]

    def below(self, count: int) -> int:
        """How many of the first `count` are of the kind."""
        rounds, place = divmod(count, self.period)
        return rounds * len(self.offsets) + bisect_left(self.offsets, place)

    def within(self, agents: range) -> range:
        """Their numbers in the kind, of the agents at these places."""
        return range(self.below(agents.start), self.below(agents.stop))


_ALL = _Places(1, (0,))


def _turns(counts: Sequence[int]) -> list[_Places]:
    """The places of kinds that have so many agents each: one of each kind comes first, and then
    whichever has the fewest for its share (Webster's method), so that any number of agents has
    about these proportions, and every multiple of the period exactly."""
    divisor = gcd(*counts)
    shares = [count // divisor for count in counts]
    taken: list[list[int]] = [[] for _ in counts]
    for place in range(sum(shares)):
        waiting = [kind for kind, each in enumerate(taken) if not each]
        next_one = min(
            waiting or [kind for kind, each in enumerate(taken) if len(each) < shares[kind]],
            key=lambda kind: (2 * len(taken[kind]) + 1) / shares[kind],
        )
        taken[next_one].append(place)
    return [_Places(sum(shares), tuple(each)) for each in taken]


@dataclass(slots=True)
class _Part:
    """One kind.

    Attributes:
        number: among all kinds.
        field: the scenario's where its own fields are.
        grows: it is one of those that figures are about; the others are as many as they are.
        places: of its agents among all those.
    """

    number: int
    spec: PopulationSpec
    population: Population
    field: str
    grows: bool
    places: _Places

    def grow(self, agents: int) -> range:
        """Let there be so many."""
        with named_fields(self.field):
            return self.population.grow(agents)

    def live(self, agents: range, steps: range) -> Iterator[Lived]:
        """As of a population, with the agents' places."""
        with named_fields(self.field):
            for lived in self.population.live(agents, steps):
                yield self.numbered(lived)

    def lived(self, agents: range, steps: range) -> int:
        """As of a population."""
        with named_fields(self.field):
            return self.population.lived(agents, steps)

    def numbered(self, lived: Lived) -> Lived:
        """The same with the agent's place."""
        if self.places.period == 1:
            return lived
        return lived._replace(agent=self.places[lived.agent])


@contextmanager
def named_fields(place: str) -> Iterator[None]:
    """Fields of a kind that are wrong are named where they are, at `place`."""
    try:
        yield
    except ScenarioError as error:
        if not place or error.field.partition(".")[0] not in _OF_KINDS:
            raise
        raise ScenarioError(f"{place}.{error.field}", error.problem, detail=error.detail) from None
