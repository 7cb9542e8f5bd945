"""Agents that differ, alone and in a meadow in which some are born, some go, and all begin anew."""

from __future__ import annotations

import random
from typing import Any

import numpy as np

PLACES = 5


def objects(*arrays: np.ndarray) -> np.ndarray:
    found = np.empty(len(arrays), dtype=object)
    found[:] = arrays
    return found


def grazer(agent: int, fails: int | None = None, starves: int | None = None) -> dict[str, Any]:
    """It sees where it is, and likes some places by chance."""
    if agent == starves:
        raise MemoryError("not a byte is left")
    if agent == fails:
        raise ValueError(f"agent {agent} is not to be")
    here = np.eye(PLACES)
    return {
        "A": objects(0.9 * here + 0.02),
        "B": objects(np.stack([here, np.roll(here, 1, axis=0)], axis=2)),
        "C": objects(np.random.normal(size=PLACES)),
        "pD": objects(np.ones(PLACES)),
        "D": objects(np.full(PLACES, 1 / PLACES)),
        "action_selection": "stochastic",
    }


def hermit(agent: int, **when: int) -> tuple[dict[str, Any], Path]:
    """The same, in a world of its own."""
    return grazer(agent, **when), Path()


class Path:
    """A ring of places, with Gymnasium's interface, that ends now and then."""

    def reset(self, seed: int | None = None) -> tuple[int, dict[str, Any]]:
        self.place = int(np.random.randint(PLACES))
        return self.place, {}

    def step(self, action: np.ndarray) -> tuple[Any, ...]:
        self.place = (self.place + int(action[0]) + random.randrange(2)) % PLACES
        return self.place, float(self.place), bool(np.random.random() < 0.2), False, {}


class Meadow:
    """The places of all on one ring. Every second step one is born; the first of the others goes
    after three steps, and all after six."""

    def __init__(self, agents: list[str], fails: int | None = None, lost: str = "") -> None:
        self.names, self.fails, self.lost, self.born = agents, fails, lost, 0

    def action_space(self, name: str) -> Any:
        from gymnasium.spaces import Discrete

        return Discrete(2)

    def reset(self, seed: int | None = None, options: Any = None) -> tuple[Any, ...]:
        self.time = 0
        self.where = {name: int(np.random.randint(PLACES)) for name in self.names}
        return self.seen(), {"unpicklable": lambda: None}

    def step(self, actions: dict[str, int]) -> tuple[Any, ...]:
        self.time += 1
        if self.time == self.fails:
            raise RuntimeError("the meadow is flooded")
        for name, action in actions.items():
            self.where[name] = (self.where[name] + action + random.randrange(2)) % PLACES
        if self.time % 2 == 0:
            self.where[f"agent_{len(self.names) + self.born}"] = self.time % PLACES
            self.born += 1
        seen = self.seen()
        seen.pop(self.lost, None)
        gone = {name: self.time > (2 if not place else 5) for place, name in enumerate(seen)}
        self.where = {name: place for name, place in self.where.items() if not gone[name]}
        return seen, dict.fromkeys(actions, 0.1), gone, {}, {}

    def seen(self) -> dict[str, Any]:
        """Places; every third of them as a distribution."""
        rows = {name: (place,) for name, place in self.where.items()}
        blurred = 0.6 * np.eye(PLACES) + 0.08
        return {
            n: (blurred[p],) if i % 3 == 2 else (p,) for i, (n, (p,)) in enumerate(rows.items())
        }
