"""`memprof.distribute` of JAX agents: the same actions over shards as in one process."""

import jax
import numpy as np
import pytest

import memprof
from tests.integration.jax_models import World, agents

AGENTS, STEPS = 9, 3


def make_agent(index):
    return agents("coins", 1, learn_A=True, learn_B=False)


def certainty(agent, observation, key):
    """A step of the user's own: what an agent believes of one observation."""
    beliefs = agent.infer_states([observation], agent.D)
    return agent, (beliefs[0].max() + jax.random.uniform(key))[None]


def learned(agent):
    return np.asarray(agent.pA[0])


@pytest.fixture(scope="module")
def alone():
    """What they do in one process, and have learned."""
    world, key = World("coins", AGENTS), jax.random.PRNGKey(3)
    did, seen = [], []
    with memprof.optimize(make_agent(index) for index in range(AGENTS)) as population:
        for _ in range(STEPS):
            seen.append(world.observe(did[-1] if did else None))
            actions, key = population.act(seen[-1], key)
            did.append(actions)
        with population.activate(7) as agent:
            return did, seen, learned(agent)


@pytest.mark.long
def test_actions_are_those_of_one_process(alone, tmp_path):
    did, seen, known = alone
    key = jax.random.PRNGKey(3)
    with memprof.distribute(make_agent, AGENTS, shards=2) as population:
        for observed, expected in zip(seen[:2], did[:2], strict=True):
            actions, key = population.act(observed, key)
            assert (actions == expected).all()
        keys = jax.random.split(jax.random.PRNGKey(1), AGENTS)
        found = population.map(certainty, seen[0][0], keys)
        assert found.shape == (AGENTS,)
        population.checkpoint(tmp_path / "agents")
    with memprof.distribute(tmp_path / "agents", shards=1) as population:
        again = population.map(certainty, seen[0][0], keys)
        assert again == pytest.approx(found, abs=1e-6)
        actions, _ = population.act(seen[2], key)
        assert (actions == did[2]).all()
        assert population.activate(7, learned) == pytest.approx(known, abs=1e-6)
        one, _ = population.act([seen[0][0][[4, 2]]], jax.random.key(1), indices=[4, 2])
        assert one.shape == (2, 1)
        population.remove(3)
        assert population.add(make_agent(AGENTS)) == AGENTS
        assert population.indices().tolist() == [0, 1, 2, 4, 5, 6, 7, 8, 9]
