"""A team's agents on a grid, and what a change may do to them: PLANT in the environment says what.

The code is the same with and without a plant, as a gate sees two states of one repository.
"""

import os

import numpy as np
from pymdp.legacy.agent import Agent

from memprof.models.built_in import grid_world
from memprof.optimise.transforms import Share

PLANT, _, AMOUNT = os.environ.get("PLANT", "").partition(":")


class Explorer(Agent):
    """An agent that remembers what it saw last."""

    seen: list[np.ndarray]
    ballast: bytes

    def infer_states(self, observation, *args, **kwargs):
        self.seen.append(np.full(8, float(observation[0])))
        if PLANT != "history":
            del self.seen[:-1]
        return super().infer_states(observation, *args, **kwargs)


class ListedExplorer(Explorer):
    """Keeps its policies as lists of float64, and has arrays made of them for every use."""

    def infer_policies(self):
        return self._with_arrays(super().infer_policies)

    def sample_action(self):
        return self._with_arrays(super().sample_action)

    def _with_arrays(self, method):
        lists, self.policies = self.policies, [np.array(p, dtype=int) for p in self.policies]
        try:
            return method()
        finally:
            self.policies = lists


def build(agent: int, size: int) -> Agent:
    """One explorer of a `size` x `size` grid that looks two steps ahead."""
    arguments = grid_world(folder="", size=size)(agent).arguments
    kind = ListedExplorer if PLANT == "policies" else Explorer
    explorer = kind(**arguments, policy_len=2)
    explorer.seen = []
    explorer.ballast = b""
    match PLANT:
        case "copy":
            explorer.likelihood = explorer.A[0] * (1.0 + agent)
        case "policies":
            explorer.policies = [policy.astype(float).tolist() for policy in explorer.policies]
        case "ballast":
            explorer.ballast = bytes([agent % 256]) * int(AMOUNT)
    return explorer


def _change_an_action(agent: Agent) -> None:
    """The fourth action is another one."""
    sample, actions = agent.sample_action, []

    def other() -> np.ndarray:
        agent.action = actions.append(sample()) or (actions[-1] + (len(actions) == 4)) % 5
        return agent.action

    agent.sample_action = other


if PLANT == "pass_stops":
    Share.build = lambda self, agent, index: None
elif PLANT == "pass_errs":
    _share = Share.build

    def _build(self, agent, index):
        _share(self, agent, index)
        if index == 3:
            _change_an_action(agent)

    Share.build = _build
