"""An example factory: an agent that forages between patches, and the world it lives in.

`memprof profile scenarios/factory.yaml` calls `make` once per agent. Everything random comes from
the global `np.random`, which memprof seeds per agent and step, so runs can be compared.
"""

import numpy as np

STAY, NEXT, LEAP = range(3)
FOOD, NOTHING = range(2)


def make(patches: int, agent: int) -> tuple[dict, "Patches"]:
    """The PyMDP agent's keyword arguments, and its environment.

    `patches` comes from the scenario's `params`; `agent`, the agent's index, is filled in because
    the function has a parameter of that name.
    """
    richness = np.linspace(0.1, 0.9, patches)
    where = np.eye(patches)
    food = np.stack([richness, 1 - richness])
    moves = np.zeros((patches, patches, 3))
    for action, distance in ((STAY, 0), (NEXT, 1), (LEAP, patches // 2)):
        moves[(np.arange(patches) + distance) % patches, np.arange(patches), action] = 1
    arguments = {
        "A": objects(where, food),
        "B": objects(moves),
        "C": objects(np.zeros(patches), np.array([2.0, 0.0])),
        "D": objects(np.full(patches, 1 / patches)),
    }
    return arguments, Patches(richness, start=agent % patches)


class Patches:
    """Patches in a ring; observations are (patch, food or nothing)."""

    def __init__(self, richness: np.ndarray, start: int) -> None:
        self.richness = richness
        self.patch = start

    def reset(self) -> tuple[int, int]:
        return self.look()

    def step(self, action: np.ndarray) -> tuple[int, int]:
        distance = {STAY: 0, NEXT: 1, LEAP: len(self.richness) // 2}[int(action[0])]
        self.patch = (self.patch + distance) % len(self.richness)
        return self.look()

    def look(self) -> tuple[int, int]:
        fed = np.random.random() < self.richness[self.patch]
        return self.patch, FOOD if fed else NOTHING


def objects(*arrays: np.ndarray) -> np.ndarray:
    """PyMDP's container, an object array of arrays."""
    container = np.empty(len(arrays), dtype=object)
    container[:] = arrays
    return container
