"""Agents of these factories as memprof runs them, and as PyMDP's own rollout does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from memprof.instruments import Stopwatch
from memprof.models.factory import builder
from memprof.populations.jax_agents import JaxPopulation
from memprof.values.population import PopulationSpec

COUNT, STEPS, SEED = 3, 4, 3
HERE = str(Path(__file__).parent)


def population(name, passes=(), *, loop="rollout", kind=JaxPopulation, learning=()):
    """COUNT agents of a factory, not built yet."""
    is_jax = kind is JaxPopulation
    spec = PopulationSpec(
        backend="jax" if is_jax else "numpy",
        model={"kind": "factory", "callable": f"worlds_of_pymdp:{name}", "params": {}},
        private=True,
        differs=False,
        agent={},
        learning=learning,
        passes=passes,
        options={},
        loop=loop if is_jax else "",
        agents=COUNT,
        steps=STEPS,
        seed=SEED,
        folder=HERE,
        builder="memprof.models.factory:builder",
    )
    return kind(spec, Stopwatch())


def behaviour(crowd):
    """By agent and step: the action, and what is believed of every factor."""
    agents, found = crowd.grow(COUNT), {}
    for first in range(0, STEPS, crowd.stride):
        for agent, step, did in crowd.live(agents, range(first, first + crowd.stride)):
            beliefs = [np.ravel(q) for q in did.beliefs]
            found[agent, step] = (np.ravel(did.action).tolist(), beliefs)
    return found


def pymdps_own(name) -> dict[str, Any]:
    """What PyMDP's rollout reports, called as a user calls it."""
    from pymdp.agent import Agent
    from pymdp.envs.rollout import rollout

    build = builder(f"worlds_of_pymdp:{name}", {}, HERE)
    models = [build(agent) for agent in range(COUNT)]
    worlds = [model.environment for model in models]
    params = carry = None
    if name == "params_of_a_batch_of_one":
        params = worlds[0].env.generate_env_params(batch_size=COUNT)
    elif worlds[0].env_params is not None:
        params = jax.tree_util.tree_map(lambda *x: jnp.stack(x), *[w.env_params for w in worlds])
    if worlds[0].initial_carry is not None:
        each = [world.initial_carry for world in worlds]
        carry = jax.tree_util.tree_map(lambda *x: jnp.concatenate(x), *each)
    agent = Agent(**models[0].arguments, batch_size=COUNT)
    _, info = rollout(
        agent,
        worlds[0].env,
        STEPS - 1,
        jax.random.PRNGKey(SEED),
        initial_carry=carry,
        policy_search=worlds[0].policy_search,
        env_params=params,
    )
    return info


def check_same(found, info, most):
    """Whether agents did what the rollout reports, and believed it within `most`."""
    assert len(found) == COUNT * STEPS
    for (agent, step), (action, beliefs) in found.items():
        assert action == np.ravel(info["action"][agent, step]).tolist(), (agent, step)
        for mine, q in zip(beliefs, info["qs"], strict=True):
            assert np.abs(mine - np.asarray(q[agent, step])).max() <= most, (agent, step)
