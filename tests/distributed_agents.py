"""Agents for populations over shards, which import this module by its name."""

import numpy as np

from memprof.upstream.numpy_agent import Agent, utils

AGENTS, OUTCOMES = 23, 4


def make_agent(index):
    """Agents of two kinds, some of whom draw by chance."""
    rng = np.random.RandomState(index % 2)
    A = utils.to_obj_array(normalised(rng.rand(OUTCOMES, 6)))
    B = utils.to_obj_array(normalised(rng.rand(6, 6, 3)))
    return Agent(
        A=A, B=B, pB=utils.dirichlet_like(B), policy_len=2,
        action_selection="stochastic" if index % 3 else "deterministic",
    )  # fmt: skip


def make_arguments(index):
    """The same as keyword arguments, with a model that is worth sharing."""
    A, B = np.eye(120)[None].repeat(1, 0)[0], np.eye(120)[:, :, None].repeat(2, 2)
    return {"A": utils.to_obj_array(A), "B": utils.to_obj_array(B), "policy_len": 1}


def normalised(array):
    return array / array.sum(axis=0)


def observed(turn, agents=AGENTS):
    return (np.arange(agents) * 7 + turn * 3) % OUTCOMES


class Counting(Agent):
    """A user's own class."""

    __slots__ = ("visits",)

    def __init__(self, **keywords):
        super().__init__(**keywords)
        self.visits = {}


def make_counting(index):
    agent = Counting(A=make_agent(index).A, B=make_agent(index).B)
    agent.visits[index] = agent.names = [f"agent {index}"]
    return agent


def visit(agent, place):
    """What a program does with one agent."""
    agent.visits[place] = float(np.random.random())
    return agent.visits


def look(agent, observation):
    """A step of the user's own."""
    agent.infer_states([observation])
    return float(agent.qs[0].max()) + np.random.random()


def seen_as(agent, observation):
    """What an agent's observation is, to the type."""
    return repr(observation)


def state_of(agent):
    """All that an agent believes and has learned, to the bit."""
    learned = b"" if agent.pB is None else agent.pB[0].tobytes()
    return agent.qs[0].tobytes() + learned + repr(agent.action).encode()


def fail_at(agent, observation):
    if observation == 3:
        raise ValueError("three is too much")
    return observation
