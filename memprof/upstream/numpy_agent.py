"""PyMDP's NumPy agent, and what memprof calls beside it; importing this imports PyMDP."""

from memprof.upstream.installed import PACKAGE, package_of, require

require("numpy")
if package_of("numpy") == PACKAGE:  # until 0.0.7.1
    from pymdp import maths, utils
    from pymdp.agent import Agent
    from pymdp.envs import TMazeEnv
else:
    from pymdp.legacy import maths, utils
    from pymdp.legacy.agent import Agent
    from pymdp.legacy.envs import TMazeEnv

__all__ = ["Agent", "TMazeEnv", "maths", "utils"]
