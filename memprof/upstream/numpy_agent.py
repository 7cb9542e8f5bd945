"""PyMDP's NumPy agent, and what memprof calls beside it; importing this imports PyMDP."""

from pymdp.legacy import maths, utils
from pymdp.legacy.agent import Agent
from pymdp.legacy.envs import TMazeEnv

__all__ = ["Agent", "TMazeEnv", "maths", "utils"]
