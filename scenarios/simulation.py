"""Foragers on a ring, for `memprof run scenarios/simulation.py`: PyMDP as in its tutorials, and
nothing of memprof."""

import sys

import numpy as np
from pymdp.legacy import utils
from pymdp.legacy.agent import Agent


def forager(places):
    A, B = utils.obj_array(1), utils.obj_array(1)
    A[0] = np.eye(places)
    B[0] = np.stack([np.roll(np.eye(places), move, axis=0) for move in (-1, 0, 1)], axis=2)
    return Agent(A=A, B=B)


def main(steps=40):
    agents = [forager(places=100) for _ in range(50)]
    seen = np.zeros(len(agents), int)
    for _ in range(steps):
        for number, agent in enumerate(agents):
            agent.infer_states([seen[number]])
            agent.infer_policies()
            seen[number] = (seen[number] + int(agent.sample_action()[0]) - 1) % 100


main(*map(int, sys.argv[1:]))
