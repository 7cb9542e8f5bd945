"""Worlds in which agents meet: all act, and then the world moves once. Their interface is that of
PettingZoo's parallel worlds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from memprof.errors import ScenarioError
from memprof.populations import ENVIRONMENT, EVERYBODY, WORLD, step_seed
from memprof.populations.lone_world import as_space, expected, is_end, seen_of
from memprof.populations.rewards import RewardSum
from memprof.populations.seeds import AfterWorlds, Onwards
from memprof.populations.world_maker import FIELD, Maker, Space, maker_of
from memprof.storage.records import Numbered
from memprof.text import shown
from memprof.values.population import EngineSpec, WorldSpec

Shape = tuple[list[int], list[int]]
"""Of an agent, the outcomes of every modality, and the controls of every factor."""


@dataclass(slots=True)
class _World:
    """One world, and who lives in it.

    Attributes:
        called: the name of its class.
        first: the index of its first agent; the others follow, in the order of their names.
        names: of its agents, kind by kind.
        born: the kinds of those that came later and live, by name.
        seen: what those that live perceive, by name.
        actions: what those that have acted did, as the world takes it.
        space: the world's `action_space`, if it has one.
    """

    own: Any
    called: str
    first: int
    names: list[list[str]]
    born: dict[str, int] = field(default_factory=dict)
    seen: dict[str, Any] = field(default_factory=dict)
    actions: dict[str, Any] = field(default_factory=dict)
    space: Space | None = None

    @property
    def everybody(self) -> list[str]:
        """All names."""
        return [name for names in self.names for name in names]

    def begin(self, make: Maker, **seed: int) -> None:
        """An episode."""
        seen, _ = make.call(self.own, "reset", **seed)
        expected = self.everybody
        if expected and {*seen} != {*expected}:
            raise ScenarioError(
                FIELD,
                f"{self.called}.reset() returned observations of {_listed(seen)}; "
                f"expected those of {_listed(expected)}",
            )
        self.names = self.names if expected else [[*seen]]
        self.seen = seen
        self.space = make.space(self.own, self.everybody)

    def move(self, make: Maker, rewarded: Sequence[RewardSum]) -> list[str]:
        """All that live have acted; what each is given goes to that of its kind. The world's dict
        of actions is its own, and tells nothing of who was woken first. Returns the names of those
        that are born."""
        actions = {name: self.actions[name] for name in self.seen}
        seen, rewards, terminated, truncated, _ = make.call(self.own, "step", actions)
        for given, names in zip(rewarded, self.names, strict=True) if rewards else ():
            self._reward(names, rewards, given)
        for name, kind in self.born.items() if rewards else ():
            self._reward([name], rewards, rewarded[kind])
        self.actions = {}
        gone = self._gone(terminated) | self._gone(truncated)
        for name in self.seen:
            if name not in gone and name not in seen:
                raise ScenarioError(
                    FIELD,
                    f"{self.called}.step() returned no observation of {name!r}, who "
                    "neither terminated nor was truncated",
                )
        here = {name: seen[name] for name in self.seen if name not in gone}
        new = [name for name in seen if name not in here and name not in gone]
        if new:  # or else a scenario's agent that is gone until the next episode
            known = {*self.everybody}
            new = [name for name in new if name not in known]
        self.seen = here | {name: seen[name] for name in new}
        return new

    def _gone(self, ends: Mapping[str, Any]) -> set[str]:
        """Whose life is over, by what the world says of each."""
        gone = set()
        for name, value in ends.items():
            if value is False:
                continue
            over = is_end(value)
            if over is None:
                raise ScenarioError(
                    FIELD,
                    f"{self.called}.step() returned {shown(value)} for {name} as a "
                    "termination or truncation; expected True or False",
                )
            if over:
                gone.add(name)
        return gone

    def _reward(self, names: Sequence[str], rewards: Mapping[str, Any], given: RewardSum) -> None:
        """Of those with these names, whoever has acted gets what is in `rewards`."""
        for name in names:
            if name in self.actions and not given.add(rewards.get(name)):
                raise ScenarioError(
                    FIELD,
                    f"{self.called}.step() returned the reward "
                    f"{shown(rewards[name])} for {name}; expected a finite number",
                )


class JointWorlds:
    """Worlds of a population: one for all its agents, or one for each group of as many as it is
    made for.

    A world that takes `agents`, the names of those that will live in it, is one for all. Another
    one says by its first `reset` who lives in it, who are of one kind.

    Attributes:
        group: agents of a world, if that is the same for any number of them; else 1.
        surroundings: of each kind; where agents find them in place of `Environments`.
    """

    def __init__(
        self,
        world: WorldSpec,
        folder: str,
        kinds: Sequence[str],
        engine: EngineSpec | None = None,
    ) -> None:
        self._seed, self._called, self._kinds = world.seed, world.callable, kinds
        self._make = maker_of(world, folder, engine)
        self._worlds: list[_World] = []
        self._made: _World | None = None
        self.surroundings = [Surroundings(self, kind) for kind in range(len(kinds))]
        self.group = 1
        if self._make.takes_names:
            return
        if len(kinds) > 1:
            raise ScenarioError(
                FIELD,
                f"{self._called} takes no agents, and so lives with as many as it is made for; "
                "kinds are measured by their numbers, each varied apart. Give it a parameter "
                "agents, the list of their names: predator_0, predator_1 ...",
            )
        self._made = self._new(0, [])
        self.group = len(self._made.everybody)

    def _seed_of(self, first: int, step: int) -> int:
        """Of a world by its first agent, as `step_seed` has it for agents: these are not negative,
        and -1 has the hash of -2."""
        return step_seed(self._seed, -2 - first, step)

    def _new(self, first: int, names: list[list[str]]) -> _World:
        self._make.begin_random(self._seed_of(first, -1))
        own = self._make([name for each in names for name in each])
        world = _World(own, self._make.called(own), first, names)
        world.begin(self._make, seed=self._seed_of(first, -1) >> 1)
        if not world.everybody:
            raise ScenarioError(FIELD, f"{self._called}: reset() returned no observations")
        return world

    def begin(self) -> None:
        """All agents are there: make the worlds in which they live.

        Raises:
            ScenarioError: the last one would not be full.
        """
        counts = [len(each.shapes) for each in self.surroundings]
        if self._make.takes_names:
            names = [
                [f"{kind or 'agent'}_{number}" for number in range(count)]
                for kind, count in zip(self._kinds, counts, strict=True)
            ]
            self._worlds = [self._new(0, names)]
            return
        (agents,) = counts
        if agents % self.group:
            raise ScenarioError(
                "agents",
                f"expected a multiple of {self.group}, as many as live in a world of "
                f"{self._called}; found {agents}",
            )
        first = self._made or self._new(0, [])
        self._made = None
        further = (self._new(first, []) for first in range(self.group, agents, self.group))
        self._worlds = [first, *further]

    def go_on(self, step: int, *, anew: bool) -> None:
        """Where nobody is left in a world, its next episode begins with this step; in all of them
        `anew`, but for the first step of all, which they are ready for."""
        for world in self._worlds:
            if world.seen and not (anew and step):
                continue
            # No other draws are of such a step.
            self._make.begin_random(self._seed_of(world.first, -3 - step))
            world.begin(self._make)
            for each, names in zip(self.surroundings, world.names, strict=True):
                each.begun.update(range(world.first, world.first + len(names)))

    def present(self, kind: int) -> Iterator[range]:
        """The agents of a kind that live, in stretches."""
        start = stop = 0
        for world in self._worlds:
            for agent, name in enumerate(world.names[kind], world.first):
                if name not in world.seen:
                    continue
                if agent != stop:
                    if start < stop:
                        yield range(start, stop)
                    start = agent
                stop = agent + 1
        if start < stop:
            yield range(start, stop)
        for agent in self.surroundings[kind].born:
            yield range(agent, agent + 1)

    def place(self, kind: int, agent: int) -> tuple[_World, str]:
        """Where an agent lives, and its name there."""
        born = self.surroundings[kind].born.get(agent)
        if born is not None:
            return born
        world = self._worlds[0 if self._make.takes_names else agent // self.group]
        return world, world.names[kind][agent - world.first]

    def move(self, step: int) -> None:
        """All that live have acted: let the worlds move."""
        rewarded = [each.rewards for each in self.surroundings]
        for world in self._worlds:
            self._make.begin_random(self._seed_of(world.first, step))
            for name in world.move(self._make, rewarded):
                kind = world.born[name] = self._kind_of(name)
                self.surroundings[kind].coming.append((world, name))

    def _kind_of(self, name: str) -> int:
        """Of an agent that is born.

        Raises:
            ScenarioError: its name does not tell.
        """
        kinds = [each for each in self._kinds if str(name).startswith(f"{each}_")]
        if len(self._kinds) == 1:
            return 0
        if not kinds:
            raise ScenarioError(
                FIELD,
                f"{self._called}: step() returned an observation of {name!r}, whom reset() had "
                "not. Who is born is called by the kind, as "
                f"{' or '.join(f'{each}_NUMBER' for each in self._kinds)}",
            )
        return self._kinds.index(max(kinds, key=len))

    def close(self) -> None:
        """Let go of the worlds, which PettingZoo's are told, and of whoever lives in them."""
        for world in self._worlds or [each for each in [self._made] if each is not None]:
            self._make.close(world.own)
        self._worlds, self._made = [], None
        for each in self.surroundings:
            each.clear()

    def holdings(self) -> Iterator[tuple[int, str, Any]]:
        """As of `Environments`; a world is nobody's alone."""
        for world in self._worlds:
            yield EVERYBODY, WORLD, world.own
        yield EVERYBODY, ENVIRONMENT, self._worlds


class Surroundings:
    """What the agents of one kind find in their worlds.

    Attributes:
        shapes: of each agent.
        begun: agents that have been told of a new episode by what they perceived last only.
        born: where those live that came later, and their names there.
        coming: where agents are born that have not been built yet, and their names there.
        rewards: what their worlds gave them.
    """

    def __init__(self, worlds: JointWorlds, kind: int) -> None:
        self._worlds, self._kind = worlds, kind
        self.clear()

    def clear(self) -> None:
        """Nobody is there."""
        self.shapes = Numbered()
        self._shape: Shape | None = None
        self.begun: set[int] = set()
        self.born: dict[int, tuple[_World, str]] = {}
        self.coming: list[tuple[_World, str]] = []
        self._new: set[int] = set()
        self._observed: tuple[int, Any, str] = (-1, None, "")
        self.rewards = RewardSum()

    def add(self, own: Any, arguments: dict[str, Any]) -> None:
        """One more agent, whose model this is."""
        if own is not None:
            raise ScenarioError(
                FIELD,
                "the model's function returns an environment of each agent's own, and the scenario "
                "has one in which they meet; remove one of them",
            )
        outcomes = [array.shape[0] for array in arguments["A"]]
        self.note((outcomes, [array.shape[-1] for array in arguments["B"]]))

    def note(self, shape: Shape) -> None:
        """One more agent, whose outcomes and controls these are."""
        if shape != self._shape:
            self._shape = shape
        self.shapes.append(self._shape)

    def gone(self) -> list[int]:
        """Those that came later, and are there no more."""
        gone = [agent for agent, (world, name) in self.born.items() if name not in world.seen]
        for agent in gone:
            world, name = self.born.pop(agent)
            world.born.pop(name, None)
        return gone

    def come(self, agent: int) -> None:
        """The next of those that are `coming` has been built."""
        self.born[agent] = self.coming.pop(0)
        self._new.add(agent)

    def leave(self, agent: int) -> None:
        """As of `Environments`; its world knows."""
        self._new.discard(agent)
        del self.shapes[agent]

    def is_new(self, agent: int) -> bool:
        """Whether an agent came later and has its first turn now."""
        new = agent in self._new
        self._new.discard(agent)
        return new

    def is_own(self, agent: int) -> bool:
        """As of `Environments`; what an agent perceives is known already."""
        return False

    def observe(self, agent: int, action: Sequence[float] | None) -> Sequence[Any]:
        """What an agent perceives; its last action is known."""
        world, name = self._worlds.place(self._kind, agent)
        self._observed = agent, world, name
        seen = seen_of(world.seen[name], self.shapes[agent][0])
        if seen is None:
            raise ScenarioError(
                FIELD,
                f"{world.called} has {name} observe {shown(world.seen[name])}; "
                f"{expected(self.shapes[agent][0])}",
            )
        return seen

    def observe_each(
        self, agents: range, actions: Sequence[Any], seeds: Sequence[int]
    ) -> tuple[Sequence[Any], Onwards]:
        """As of `Environments`."""
        return [self.observe(agent, None) for agent in agents], AfterWorlds(seeds, 0)

    def take(self, agent: int, action: Sequence[float]) -> None:
        """What an agent does."""
        last, world, name = self._observed
        if last != agent:  # they took their turns together
            world, name = self._worlds.place(self._kind, agent)
        if world.space is not None:
            try:
                action = as_space(
                    world.space(name), action, self.shapes[agent][1], world.called, FIELD
                )
            except ScenarioError as error:
                raise ScenarioError(error.field, f"{name}: {error.problem}") from None
        world.actions[name] = action

    def holdings(self) -> Iterator[tuple[int, str, Any]]:
        """None: the worlds are everybody's."""
        yield from ()


def _listed(names: Any) -> str:
    some = [*names]
    rest = f" and {len(some) - 5} more" if len(some) > 5 else ""
    return ", ".join(map(repr, some[:5])) + rest
