"""What a worker has to know to build a population, in plain values that cross processes, and how
much time it may spend on measuring it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

EffortName = Literal["quick", "normal", "thorough"]


@dataclass(frozen=True, slots=True)
class Effort:
    """What a measurement may spend; the seconds are those of one worker.

    Attributes:
        repeats: of a scenario that does not say how many.
        instruments: a scenario that does not name any gets its backend's own.
        fit_seconds: agents are added for so long, until a line through their sizes fits.
        resolve_seconds: and for so long in all, until their cost is known to a hundredth.
        trend_seconds: the population lives on for about so long, to see whether it grows.
        longest_trend_seconds: and for up to so long where fewer readings could not be judged.
        replace_seconds: agents of a full population go, and others come, for so long.
        round_seconds: a round that would take longer covers the first agents only; shorter ones
            are repeated for a tenth of it.
        verify_seconds: a capacity is verified for so long, where there is no time limit.
        watch_seconds: an instrument watches an agent, or the population's steps, for so long, and
            further agents for three times as long.
        watched_agents: an instrument that watches every operation sees so many agents, where all of
            them are alike.
        gain_seconds: a mark is set on growing attributes after so long.
        trace_seconds: where tracing all cycles of a leak check would take longer, the fewest are.
        trial_seconds: a trial of how many threads to run at once.
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


EFFORTS: Mapping[EffortName, Effort] = MappingProxyType(
    {
        "quick": Effort(1, False, 1.0, 0.0, 0.2, 10.0, 0.2, 0.2),  # what is asked for takes as long
        "normal": Effort(),
        "thorough": Effort(
            9, True, 30.0, 20.0, 8.0, 40.0, 4.0, 4.0, 3600.0, 20.0, 1.6, 300.0, 0.2, 50
        ),
    }
)


@dataclass(frozen=True, slots=True)
class PopulationSpec:
    """One population of one backend.

    Attributes:
        model: `kind` and the parameters of the generative model.
        private: every agent builds its own arrays; otherwise all get the first agent's.
        differs: every agent has a model of its own.
        agent: keyword arguments of the PyMDP agent.
        learning: any of A, B, D.
        passes: names, in the order in which they are applied.
        loop: how JAX agents are run: `jit`, `eager` or `rollout`; empty for other backends.
        options: what passes are told, by the names of `memprof.catalogue.passes.OPTIONS`.
        folder: absolute path against which files and factories are looked up.
        effort: what measuring it may spend.
        builder: `module:function` that makes the models; empty for `memprof.models.built_in`.
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
