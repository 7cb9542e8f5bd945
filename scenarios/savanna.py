"""Predators and prey on a grid: two kinds of agents, and the world in which they meet.

`memprof profile scenarios/savanna.yaml` calls `predator` and `prey` once per agent, and `World`
with the names of all that will live in it. Everything random comes from the seed of `reset`, so
runs can be compared.
"""

import numpy as np

SIGHT = {"predator": 3, "prey": 1}  # how many cells they see, in every direction
MOVES = np.array([(0, 0), (-1, 0), (0, 1), (1, 0), (0, -1)])  # stay, north, east, south, west
# Where nothing else decides: no two are alike, or the last digits of sums would decide.
HABITS = np.array([0.22, 0.19, 0.21, 0.2, 0.18])
ELSEWHERE = 0.1  # how often the nearest one is another next time, as agents believe
GRAZING = 0.5  # how often prey stays, whatever it would do
SUCCESS = 0.8  # how often a predator gets the prey whose cell it shares


def predator() -> dict:
    """Keyword arguments of an agent that hunts; it sees where the nearest prey is, and whether it
    got one. How often it gets the one whose cell it shares, it can learn."""
    cells = around(SIGHT["predator"])
    got = np.tile([[1.0], [0.0]], len(cells) + 1)
    got[:, 0] = 0.5
    return {
        "A": objects(np.eye(len(cells) + 1), got),
        "B": objects(moves(cells)),
        "C": objects(-distances(cells), np.array([0.0, 3.0])),
        "E": HABITS,
        "action_selection": "stochastic",
        "use_states_info_gain": False,  # what is seen leaves nothing to find out
    }


def prey() -> dict:
    """Keyword arguments of an agent that flees; it sees where the nearest predator is."""
    cells = around(SIGHT["prey"])
    return {
        "A": objects(np.eye(len(cells) + 1)),
        "B": objects(moves(cells)),
        "C": objects(2 * distances(cells)),
        "E": HABITS,
        "action_selection": "stochastic",
        "use_states_info_gain": False,  # what is seen leaves nothing to find out
    }


class World:
    """A grid without edges, with PettingZoo's parallel interface. A prey that was caught lives on
    elsewhere.

    Args:
        agents: names such as predator_0 and prey_3, any number of each.
        size: cells per side.
    """

    def __init__(self, agents: list[str], size: int) -> None:
        self.possible_agents, self.size = agents, size
        kinds = np.array([name.partition("_")[0] for name in agents])
        self.predators, self.prey = (np.flatnonzero(kinds == kind) for kind in SIGHT)
        self.around = {kind: np.array(around(sight)) for kind, sight in SIGHT.items()}
        strangers = sorted({*kinds} - {*SIGHT})
        if strangers:
            raise ValueError(f"expected agents of kinds {' and '.join(SIGHT)}, found {strangers}")

    def reset(self, seed: int | None = None, options: dict | None = None) -> tuple:
        if seed is not None:
            self.random = np.random.default_rng(seed)
        self.places = self.random.integers(self.size, size=(len(self.possible_agents), 2))
        self.caught = np.zeros(len(self.possible_agents), bool)
        self.fed = self.caught.copy()
        return self.seen(), self.each({})

    def step(self, actions: dict[str, np.ndarray]) -> tuple:
        chosen = [int(actions[name][0]) for name in self.possible_agents]
        ways = MOVES[chosen]
        ways[self.prey[self.random.random(len(self.prey)) < GRAZING]] = 0
        self.places = (self.places + ways) % self.size
        self.places[self.caught] = self.random.integers(self.size, size=(self.caught.sum(), 2))
        hunted = self.occupied(self.predators)[*self.places[self.prey].T]
        self.caught[self.prey] = hunted & (self.random.random(len(self.prey)) < SUCCESS)
        taken = self.occupied(np.flatnonzero(self.caught))
        self.fed[self.predators] = taken[*self.places[self.predators].T]
        gains = self.fed.astype(float) - self.caught
        rewards = dict(zip(self.possible_agents, gains.tolist(), strict=True))
        return self.seen(), rewards, self.each(False), self.each(False), self.each({})

    def seen(self) -> dict[str, tuple[int, ...]]:
        """The nearest of the other kind: which of the cells around, or one more for none; and
        whether a predator got it."""
        to_hunt = self.nearest(self.predators, "predator", self.occupied(self.prey)).tolist()
        to_flee = self.nearest(self.prey, "prey", self.occupied(self.predators)).tolist()
        names, fed = self.possible_agents, self.fed[self.predators].tolist()
        seen = {
            names[agent]: (cell, int(got))
            for agent, cell, got in zip(self.predators, to_hunt, fed, strict=True)
        }
        seen.update((names[agent], (cell,)) for agent, cell in zip(self.prey, to_flee, strict=True))
        return seen

    def nearest(self, agents: np.ndarray, kind: str, others: np.ndarray) -> np.ndarray:
        """The number of the first cell around each agent that is occupied by others."""
        cells = self.around[kind]
        y, x = ((self.places[agents, None] + cells) % self.size).transpose(2, 0, 1)
        there = others[y, x]
        return np.where(there.any(axis=1), there.argmax(axis=1), len(cells))

    def occupied(self, agents: np.ndarray) -> np.ndarray:
        """Whether any of the agents is in a cell."""
        grid = np.zeros((self.size, self.size), bool)
        grid[*self.places[agents].T] = True
        return grid

    def each(self, value: object) -> dict:
        return dict.fromkeys(self.possible_agents, value)


def around(sight: int) -> list[tuple[int, int]]:
    """The cells that are seen, relative to the agent's own: the nearest first."""
    side = range(-sight, sight + 1)
    return sorted(((y, x) for y in side for x in side), key=lambda cell: np.hypot(*cell))


def moves(cells: list) -> np.ndarray:
    """Where the nearest other is after a move of one's own and any of its own, or anywhere."""
    number = {cell: place for place, cell in enumerate(cells)}
    out_of_sight = len(cells)
    found = np.zeros((len(cells) + 1, len(cells) + 1, len(MOVES)))
    for own, move in enumerate(MOVES.tolist()):
        for cell, place in number.items():
            for theirs in MOVES.tolist():
                then = cell[0] - move[0] + theirs[0], cell[1] - move[1] + theirs[1]
                found[number.get(then, out_of_sight), place, own] += 1 / len(MOVES)
    found[:, out_of_sight] = 1 / (len(cells) + 1)
    return (1 - ELSEWHERE) * found + ELSEWHERE / (len(cells) + 1)


def distances(cells: list) -> np.ndarray:
    """How far each of the cells is; none is as far as can be."""
    far = np.array([np.hypot(*cell) for cell in cells])
    return np.append(far, far[-1] + 1)


def objects(*arrays: np.ndarray) -> np.ndarray:
    """PyMDP's container, an object array of arrays."""
    container = np.empty(len(arrays), dtype=object)
    container[:] = arrays
    return container
