"""Factories of agents in worlds of PyMDP's own kind, as its users write them."""

import jax.numpy as jnp
import numpy as np
from jax import nn
from jax import random as jr
from pymdp import utils
from pymdp.envs.cue_chaining import CueChainingEnv
from pymdp.envs.env import PymdpEnv
from pymdp.envs.env import make as make_env
from pymdp.envs.graph_worlds import GraphEnv, generate_connected_clusters
from pymdp.envs.grid_world import GridWorld
from pymdp.envs.tmaze import SimplifiedTMaze, TMaze
from pymdp.planning.si import si_policy_search


def objects(arrays):
    found = np.empty(len(arrays), dtype=object)
    found[:] = list(map(np.asarray, arrays))
    return found


def keywords(env, policy_len=1, **rest):
    """An agent that knows its world."""
    A, B, D = (objects(getattr(env, name)) for name in "ABD")
    return {
        "A": A,
        "B": B,
        "D": D,
        "C": objects([np.linspace(0.0, 1.0, a.shape[0]) for a in A]),
        "A_dependencies": env.A_dependencies,
        "B_dependencies": env.B_dependencies,
        "policy_len": policy_len,
        "action_selection": "stochastic",
        **rest,
    }


def t_maze():
    env = TMaze(reward_probability=0.9, punishment_probability=0.1)
    return keywords(env, policy_len=2), env


def simplified_t_maze():
    env = SimplifiedTMaze(reward_condition=0)
    return keywords(env), env


def grid():
    env = GridWorld(shape=(3, 3), initial_position=(1, 1))
    return keywords(env), env


def cue_chain():
    env = CueChainingEnv()
    return keywords(env), env


def graph():
    graph, _ = generate_connected_clusters(cluster_size=2, connections=2)
    env = GraphEnv(graph, object_location=2, agent_location=0)
    return keywords(env), env


def grid_of_numpy():
    made, env = grid()
    names = {"A_dependencies": "A_factor_list", "B_dependencies": "B_factor_list"}
    return {names.get(name, name): value for name, value in made.items()}, env


class Tired(GridWorld):
    """A world of the user's: every step is kept to the place with a chance of a third."""

    def step(self, key, state, action, env_params=None):
        rests = jr.uniform(jr.fold_in(key, 1)) < 1 / 3
        observation, moved = super().step(key, state, action, env_params)
        place = jnp.where(rests, state[0], moved[0])
        return [jnp.where(rests, state[0], observation[0][0])[None]], [place]


def own():
    env = Tired(shape=(3, 3), initial_position=(1, 1))
    return keywords(env), env


def model():
    keys = jr.split(jr.PRNGKey(0), 2)
    A = utils.random_A_array(keys[0], [4, 3], [3, 2])
    B = utils.random_B_array(keys[1], [3, 2], [2, 2])
    D = [jnp.ones(n) / n for n in (3, 2)]
    return A, B, D


def with_params():
    A, B, D = model()
    made = make_env(A, B, D, make_env_params=True)
    return keywords(made[0]), made


def params_of_ones_own(agent):
    """Every agent begins in a place of its own."""
    env = GridWorld(shape=(3, 3), initial_position=(1, 1))
    D = [jnp.eye(9)[agent % 9]]
    return keywords(env), (env, {"A": env.A, "B": env.B, "D": D})


def params_of_a_batch_of_one():
    env = GridWorld(shape=(3, 3), initial_position=(1, 1))
    return keywords(env), {"env": env, "env_params": env.generate_env_params(batch_size=1)}


def params_of_a_batch_of_four():
    env = GridWorld(shape=(3, 3), initial_position=(1, 1))
    return keywords(env), {"env": env, "env_params": env.generate_env_params(batch_size=4)}


def one_hot():
    A, B, D = model()
    env = PymdpEnv(A, B, D, categorical_obs=True)
    return keywords(env, categorical_obs=True), env


def whims(strength):
    """A search of the user's, which draws once for all agents."""

    def search(agent, qs, key):
        q_pi, neg_efe = agent.infer_policies(qs)
        whim = strength * jr.uniform(key, q_pi.shape[-1:])
        return nn.softmax(jnp.log(q_pi) + whim), {"neg_efe": neg_efe, "whim": whim + 0 * q_pi}

    return search


def searching():
    made, env = grid()
    return made, {"env": env, "policy_search": whims(2.0)}


def goes_on(agent):
    """They were in the corner, went right, and are beside it."""
    env = GridWorld(shape=(3, 3), initial_position=(1, 1))
    carry = {
        "observation": [jnp.array([[1.0]])],
        "env_state": [jnp.array([1.0])],
        "qs": [jnp.eye(9)[None, :1]],
        "action": jnp.array([[1]]),
    }
    return keywords(env), {"env": env, "initial_carry": carry}


def learner():
    env = GridWorld(shape=(3, 3), initial_position=(1, 1))
    return keywords(env, pA=[a + 0.1 for a in env.A]), env


def all_of_it(agent):
    """A world, a start, a life before and a search of the user's."""
    env = Tired(shape=(3, 3), initial_position=(1, 1))
    place = 4 * (agent % 3)
    return keywords(env), {
        "env": env,
        "env_params": {"A": env.A, "B": env.B, "D": [jnp.eye(9)[place]]},
        "initial_carry": {"qs": [jnp.eye(9)[place][None, None]], "action": jnp.array([[1]])},
        "policy_search": whims(2.0),
    }


def sophisticated():
    made, env = simplified_t_maze()
    return made, {"env": env, "policy_search": si_policy_search(horizon=2, max_nodes=100)}


def searches_apart(agent):
    made, env = grid()
    return made, {"env": env, "policy_search": whims(agent)}


def worlds_apart(agent):
    env = GridWorld(shape=(3, 3), initial_position=(agent % 3, 1))
    return keywords(env), env


def misspelt():
    made, env = grid()
    return made, {"env": env, "env_parms": {}}


def no_env():
    made, _ = grid()
    return made, {"env": "a grid"}


def carry_of_something_else():
    made, env = grid()
    return made, {"env": env, "initial_carry": {"rng_key": jr.PRNGKey(0)[None]}}
