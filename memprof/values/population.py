"""What a worker needs to build a population, in plain values that cross processes, and how much
time it may spend on measuring it.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal

from msgspec import Struct

EffortName = Literal["quick", "normal", "thorough"]


class Effort(Struct, frozen=True):
    """What a measurement may spend; the seconds are limits for one worker.

    Attributes:
        repeats: for a scenario that does not set them.
        instruments: whether a scenario that names none gets those of its backend.
        fit_seconds: time for adding agents until a line through the sizes fits.
        anew_seconds: time for the lives of a population that is built anew for every size.
        resolve_seconds: total time for adding agents until their cost is known to 1 %.
        trend_seconds: about how long the population runs on, to see whether it grows.
        longest_trend_seconds: the same if fewer readings could not be judged.
        replace_seconds: time for replacing agents of a full population by new ones.
        round_seconds: a round that would take longer covers the first agents only; shorter ones
            are repeated for a tenth of it.
        verify_seconds: time for verifying a capacity, if there is no time limit.
        watch_seconds: an instrument watches an agent, or the population's steps, for so long, and
            further agents for three times as long.
        watched_agents: an instrument that watches every operation sees so many agents, where all of
            them are alike.
        gain_seconds: time between two marks on growing attributes.
        trace_seconds: processor time to look for the sites of a leak, beyond the warm-up and the
            fewest cycles that show any.
        trial_seconds: time for each trial of how many threads to run at once.
        plan_seconds: under each plan that `auto` tries, agents live about so long at a time: more
            of them, for more steps, where steps are fast, and a few at least.
    """

    repeats: int = 3
    instruments: bool = True
    fit_seconds: float = 5.0
    resolve_seconds: float = 3.0
    trend_seconds: float = 2.0
    longest_trend_seconds: float = 10.0
    replace_seconds: float = 1.0
    round_seconds: float = 1.0
    verify_seconds: float = 600.0
    watch_seconds: float = 5.0
    gain_seconds: float = 0.4
    trace_seconds: float = 60.0
    trial_seconds: float = 0.05
    watched_agents: int = 5
    plan_seconds: float = 0.25
    anew_seconds: float = 2.0


EFFORTS: Mapping[EffortName, Effort] = MappingProxyType(
    {
        # What is asked for takes as long.
        "quick": Effort(
            1, False, 1.0, 0.0, 0.2, 10.0, 0.2, 0.2, anew_seconds=0.5, trace_seconds=20.0
        ),
        "normal": Effort(),
        "thorough": Effort(
            9, True, 30.0, 20.0, 8.0, 40.0, 4.0, 4.0, 3600.0, 20.0, 1.6, 300.0, 0.2, 50, 1.0, 10.0
        ),
    }
)


class WorldSpec(Struct, frozen=True):
    """A world in which agents meet: `callable`, `module:function`, makes it of `params`."""

    callable: str
    params: dict[str, Any]
    seed: int = 0


class EpisodeSpec(Struct, frozen=True):
    """Agents and their worlds begin anew after every so many `steps`.

    Attributes:
        puts_back: what of A, B and D is then again what an agent was built with; the rest of what
            it learned stays.
    """

    steps: int
    puts_back: tuple[str, ...] = ()


class Share(Struct, frozen=True):
    """Which agents of a whole population one of its parts has: `first`, `first + every`, and so
    on. By default it has all of them.

    In the part they are numbered anew, from 0 on and without gaps: their own numbers.
    """

    first: int = 0
    every: int = 1

    def index(self, own: int) -> int:
        """The number in the whole of the agent with this number of its own."""
        return self.first + own * self.every

    def indices(self, own: range) -> range:
        """The numbers in the whole of agents with these numbers of their own."""
        return range(self.index(own.start), self.index(own.stop), self.every)

    def own(self, index: int) -> int:
        """The number in the part of an agent of the whole that is in it."""
        return (index - self.first) // self.every

    def __contains__(self, index: int) -> bool:
        """Whether this agent of the whole is in the part."""
        return index >= self.first and (index - self.first) % self.every == 0

    def below(self, count: int) -> int:
        """How many of the first `count` of the whole are in the part."""
        return max(0, -((self.first - count) // self.every))

    def within(self, agents: range) -> range:
        """The own numbers of those of these agents of the whole that are in the part."""
        return range(self.below(agents.start), self.below(agents.stop))


WHOLE = Share()


WorldPlace = Literal["driver", "actor"]


class EngineSpec(Struct, frozen=True):
    """Ray, over whose actors a population is spread.

    Attributes:
        shards: how many; None for one for each processor of the cluster.
        address: of a cluster that runs, or `auto`; None for one of this machine alone, which is
            started for the time of use.
        world: where the world is in which agents meet: in the process that asks, or in an actor of
            its own.
    """

    shards: int | None = None
    address: str | None = None
    world: WorldPlace = "driver"


class PopulationSpec(Struct, frozen=True):
    """One population of one backend.

    Attributes:
        model: `kind` and the parameters of the generative model.
        private: every agent builds its own arrays; otherwise all get those of the first agent.
        differs: every agent has its own model.
        agent: keyword arguments of the PyMDP agent.
        learning: any of A, B, D.
        passes: names, in the order in which they are applied.
        loop: how JAX agents are run: `jit`, `eager` or `rollout`; empty for other backends.
        options: options of passes, by the names in `memprof.catalogue.passes.OPTIONS`.
        folder: absolute path against which files and factories are looked up.
        effort: how much time measuring may take.
        builder: `module:function` that makes the models; empty for `memprof.models.built_in`.
        world: where agents meet; None where each lives alone.
        kinds: the parts of the population, with names, passes and seeds of their own; empty where
            all agents are of one.
        along: that of the kinds whose number is `agents`, and whose model, passes and options are
            here, while the others have as many as they have in `kinds`. Empty where `agents` are of
            all kinds, in the proportions of `kinds`.
        name: of a kind.
        episodes: None where there is one without an end.
        share: which agents of the whole population these are: own numbers are places in it.
        engine: what spreads them over processes; None where they are in this one.
    """

    backend: str
    model: dict[str, Any]
    private: bool
    differs: bool
    agent: dict[str, Any]
    learning: tuple[str, ...]
    passes: tuple[str, ...]
    options: dict[str, int | float | str | tuple[str, ...]]
    loop: str
    agents: int
    steps: int
    seed: int
    folder: str
    effort: Effort = EFFORTS["normal"]
    builder: str = ""
    world: WorldSpec | None = None
    kinds: tuple[PopulationSpec, ...] = ()
    along: str = ""
    name: str = ""
    episodes: EpisodeSpec | None = None
    share: Share = WHOLE
    engine: EngineSpec | None = None

    def begins(self, step: int) -> bool:
        """Whether an episode begins with this step."""
        return step == 0 or (self.episodes is not None and step % self.episodes.steps == 0)

    def whole(self, steps: int) -> int:
        """So many steps, and as many more as it takes to have whole episodes: what agents hold at
        the beginning and the end of them can be compared."""
        length = 1 if self.episodes is None else self.episodes.steps
        return -(-steps // length) * length
