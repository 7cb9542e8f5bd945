"""Foragers on a ring: PyMDP as in its tutorials, and nothing of memprof."""

import numpy as np
from pymdp.legacy.agent import Agent


def forager(places):
    A, B = np.empty(1, object), np.empty(1, object)
    A[0] = np.eye(places)
    B[0] = np.stack([np.roll(np.eye(places), move, axis=0) for move in (-1, 0, 1)], axis=2)
    return Agent(A=A, B=B)


agents = [forager(places=100) for _ in range(50)]
seen = np.zeros(len(agents), int)
for _ in range(60):
    for number, agent in enumerate(agents):
        agent.infer_states([seen[number]])
        agent.infer_policies()
        seen[number] = (seen[number] + int(agent.sample_action()[0]) - 1) % 100
