"""Opinions on a network: agents hear their neighbours, and say what they think.

`memprof profile scenarios/opinions.yaml` calls `follower` and `zealot` once per agent, and `World`
with the names of all. The network is networkx's: small worlds of Watts and Strogatz.
"""

import networkx
import numpy as np

AGAINST, IN_FAVOUR = range(2)
LOUD = 0.8  # how often a neighbour is of the opinion that prevails


def follower() -> dict:
    """Keyword arguments of an agent that wants to agree with its neighbours."""
    return agent(agree=[2.0, 0.0], say=[0.0, 0.0], expected=[0.5, 0.5])


def zealot(conviction: float) -> dict:
    """Keyword arguments of an agent that is in favour, and expects others to be."""
    return agent(agree=[0.0, 0.0], say=[0.0, conviction], expected=[0.1, 0.9])


def agent(agree: list[float], say: list[float], expected: list[float]) -> dict:
    """An agent has two factors: the opinion that prevails, which changes slowly, and its own, which
    it chooses. It observes which of the neighbours agree with it, and what it says itself.

    Args:
        agree: preference for neighbours that agree, and for those that do not.
        say: preference for each opinion of one's own.
        expected: of the opinion that prevails, at first.
    """
    agreement = np.empty((2, 2, 2))
    agreement[0] = LOUD * np.eye(2) + (1 - LOUD) * (1 - np.eye(2))
    agreement[1] = 1 - agreement[0]
    own = np.stack([np.eye(2)] * 2, axis=1)
    prevails = np.array([[0.9, 0.1], [0.1, 0.9]])[:, :, None]
    chosen = np.stack([np.eye(2)] * 2, axis=1)
    return {
        "A": objects(agreement, own),
        "B": objects(prevails, chosen),
        "C": objects(np.array(agree), np.array(say)),
        "D": objects(np.array(expected), np.full(2, 0.5)),
        "action_selection": "stochastic",
    }


class World:
    """A network, with PettingZoo's parallel interface: all speak, and then all hear.

    Args:
        agents: their names, any number of them.
        neighbours: of an agent, as far as there are so many others.
        rewired: share of the links that lead anywhere.
    """

    def __init__(self, agents: list[str], neighbours: int, rewired: float) -> None:
        self.possible_agents = agents
        self.neighbours, self.rewired = min(neighbours, len(agents)), rewired

    def reset(self, seed: int | None = None, options: dict | None = None) -> tuple:
        count = len(self.possible_agents)
        if seed is not None:
            self.random = np.random.default_rng(seed)
            network = networkx.watts_strogatz_graph(count, self.neighbours, self.rewired, seed)
            # Of whatever kind neighbours on the ring are; both directions of each link.
            links = self.random.permutation(count)[np.array([*network.edges], int).reshape(-1, 2)]
            self.hears, self.heard = np.concatenate([links, links[:, ::-1]]).T
            self.audience = np.bincount(self.hears, minlength=count)
        self.opinions = self.random.integers(2, size=count)
        return self.seen(), self.each({})

    def step(self, actions: dict[str, np.ndarray]) -> tuple:
        said = [int(actions[name][1]) for name in self.possible_agents]
        self.opinions = np.array(said)
        rewards = dict(zip(self.possible_agents, self.agreement().tolist(), strict=True))
        return self.seen(), rewards, self.each(False), self.each(False), self.each({})

    def seen(self) -> dict[str, tuple[np.ndarray, int]]:
        """Two modalities: how many of the neighbours agree, and do not, as a distribution; and the
        index of what one said."""
        agree = self.agreement()
        shares = np.stack([agree, 1 - agree], axis=1)
        seen = zip(shares, self.opinions.tolist(), strict=True)
        return dict(zip(self.possible_agents, seen, strict=True))

    def agreement(self) -> np.ndarray:
        """The share of each agent's neighbours that agree with it; a half where it has none."""
        same = self.opinions[self.hears] == self.opinions[self.heard]
        agree = np.bincount(self.hears, same, minlength=len(self.opinions))
        return np.where(self.audience > 0, agree / np.maximum(self.audience, 1), 0.5)

    def each(self, value: object) -> dict:
        return dict.fromkeys(self.possible_agents, value)


def objects(*arrays: np.ndarray) -> np.ndarray:
    """PyMDP's container, an object array of arrays."""
    container = np.empty(len(arrays), dtype=object)
    container[:] = arrays
    return container
