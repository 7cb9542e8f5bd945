"""What advice is drawn from, measured in intrusive workers: contents, gains and imports.

Frozen dataclasses with plain fields, bytes and seconds only, like those of `measurements`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from memprof.values.counts import Count


@dataclass(frozen=True, slots=True)
class ContentRow:
    """What one component's arrays hold, agent by agent.

    Attributes:
        compared: agents whose content was compared, the first one included.
        alike: how many of them have the first one's content, bit by bit, the first one included.
        copies: how many of those hold it in memory of their own, the first one not included.
        agent_bytes: nominal bytes of the first agent's arrays and the containers they are in.
        number_bytes: nominal bytes of the numbers in them.
        zeros: share of the numbers of all compared agents that are 0; None where there are none.
        pinned_bytes: of `agent_bytes`, what no array of the component shows: it has views of parts
            of larger arrays, which stay whole for them.
    """

    component: str
    compared: int
    alike: int
    copies: int
    agent_bytes: int
    number_bytes: int
    zeros: float | None
    pinned_bytes: int = 0


@dataclass(frozen=True, slots=True)
class GainRow:
    """An attribute of agents that holds more after every step.

    Attributes:
        attribute: `Agent.prev_actions`; `records` for all of an agent that rests as one.
        bytes_per_step: nominal bytes that one agent's gains by one step.
        agents, steps: that this is a mean over.
    """

    attribute: str
    bytes_per_step: float
    agents: Count
    steps: Count


@dataclass(frozen=True, slots=True)
class ImportRow:
    """What loading the modules of one top-level package took, without those of other packages that
    they import.

    Attributes:
        package: its name; `standard library` for all of Python's own.
        asked_by: `pymdp`: loaded together with PyMDP; `model`: later, with the scenario's model,
            the first agent and its first steps.
        private_bytes: growth of the process's anonymous memory; its RSS where there is no such
            figure.
        seconds: time, the reading of files included.
    """

    package: str
    asked_by: Literal["pymdp", "model"]
    private_bytes: int
    seconds: float
    modules: int
