"""JAX agents in episodes: each begins as PyMDP's users have it begin, under every loop."""

from __future__ import annotations

from functools import cache, partial
from itertools import combinations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import random as jr
from pymdp import utils
from pymdp.agent import Agent
from pymdp.envs.env import PymdpEnv

from memprof.errors import ScenarioError
from memprof.instruments import DirectCalls
from memprof.instruments.device import Compilations
from memprof.populations import PUT_BACK, step_seed
from memprof.populations.jax_agents import JaxPopulation
from memprof.values.population import EpisodeSpec, PopulationSpec

COUNT, LENGTH, EPISODES, SEED = 3, 4, 3, 5
STEPS = LENGTH * EPISODES
ROUNDED = 1e-6


def arguments():
    keys = jr.split(jr.PRNGKey(0), 2)
    A = utils.random_A_array(keys[0], [4, 3], [3, 2])
    B = utils.random_B_array(keys[1], [3, 2], [2, 2])
    return {
        "A": A, "B": B, "C": [jnp.linspace(0.0, 1.0, a.shape[0]) for a in A],
        "D": [jnp.arange(1.0, n + 1) / sum(range(n + 1)) for n in (3, 2)],
        "pA": [2 * a + 0.1 for a in A], "pB": [3 * b + 0.1 for b in B],
        "policy_len": 1, "action_selection": "stochastic",
    }  # fmt: skip


def env():
    given = arguments()
    return PymdpEnv(given["A"], given["B"], given["D"])


class Dice:
    """A world that listens to nobody, and says how often it has begun."""

    def __init__(self):
        self.begun = 0

    def reset(self):
        self.begun += 1
        return [self.begun % 4, np.random.randint(3)]

    def step(self, action):
        return [np.random.randint(4), np.random.randint(3)]


class Short(Dice):
    """It ends after as many steps as an episode has, or earlier."""

    def __init__(self, lasts):
        super().__init__()
        self.lasts = lasts

    def reset(self):
        self.left = self.lasts
        return super().reset(), {}

    def step(self, action):
        self.left -= 1
        return super().step(action), 0.0, self.left == 0, False, {}


def rolling():
    return arguments(), env()


def playing():
    return arguments(), Dice()


def lasting():
    return arguments(), Short(LENGTH - 1)


def ending():
    return arguments(), Short(LENGTH - 2)


def population(make, loop, passes=(), learning=(), forgets=(), chunk=None):
    spec = PopulationSpec(
        backend="jax",
        model={"kind": "factory", "callable": f"{__name__}:{make.__name__}", "params": {}},
        private=True,
        differs=False,
        agent={},
        learning=learning,
        passes=passes,
        options={} if chunk is None else {"chunk": chunk},
        loop=loop,
        agents=COUNT,
        steps=STEPS,
        seed=SEED,
        folder=".",
        episodes=EpisodeSpec(LENGTH, forgets),
    )
    return JaxPopulation(spec, DirectCalls())


def lived(crowd):
    """By agent and step: the action, and what is believed of every factor."""
    agents, found = crowd.grow(COUNT), {}
    for agent, step, did in crowd.live(agents, range(STEPS)):
        found[agent, step] = np.ravel(did.action), [np.ravel(q) for q in did.beliefs]
    return found


def check_same(found, expected, most):
    assert found.keys() == expected.keys()
    for turn, (action, beliefs) in expected.items():
        assert found[turn][0].tolist() == action.tolist(), turn
        for mine, theirs in zip(found[turn][1], beliefs, strict=True):
            assert np.abs(mine - theirs).max() <= most, turn


def batch(learning):
    return Agent(**arguments(), batch_size=COUNT, **{f"learn_{each}": True for each in learning})


def put_back(agent, forgets, built):
    names = [*forgets, *(f"p{each}" for each in forgets if each != "D")]
    values = [getattr(built, name) for name in names]
    return eqx.tree_at(lambda a: [getattr(a, name) for name in names], agent, values)


@cache
def rolled(learning=(), forgets=()):
    """PyMDP's rollout of one episode after the other, with the key that each leaves to the next."""
    from pymdp.envs.rollout import rollout

    world, key, found = env(), jr.PRNGKey(SEED), {}
    agent = built = batch(learning)
    for episode in range(EPISODES):
        last, info = rollout(agent, world, LENGTH - 1, key)
        agent, key = last["agent"], last["rng_key"]
        if forgets:
            agent = put_back(agent, forgets, built)
        for number in range(COUNT):
            for step in range(LENGTH):
                beliefs = [np.asarray(q[number, step]) for q in info["qs"]]
                place = number, episode * LENGTH + step
                found[place] = np.ravel(info["action"][number, step]), beliefs
    return found


@pytest.mark.parametrize("passes", [(), ("share",), ("template",)])
@pytest.mark.parametrize(
    ("learning", "forgets"), [((), ()), (("A", "B"), ()), (("A", "B"), ("B",)), (("A",), ("A",))]
)
def test_an_episode_is_a_rollout_of_pymdps(passes, learning, forgets):
    crowd = population(rolling, "rollout", passes, learning, forgets)
    assert crowd.stride == LENGTH
    check_same(lived(crowd), rolled(learning, forgets), ROUNDED if passes else 0)


@cache
def stepped(learning=(), forgets=()):
    """PyMDP's own calls, one by one."""
    root, found, beliefs = jr.PRNGKey(SEED), {}, None
    agent = built = batch(learning)
    worlds = [Dice() for _ in range(COUNT)]
    for step in range(STEPS):
        if step % LENGTH == 0:
            agent, action = put_back(agent, forgets, built) if forgets else agent, None
        seen = []
        for number, world in enumerate(worlds):
            np.random.seed(step_seed(SEED, number, step))
            seen.append(world.reset() if action is None else world.step(action[number]))
        observed = [np.array(each, np.int32)[:, None] for each in zip(*seen, strict=True)]
        prior = agent.D if action is None else agent.update_empirical_prior(action, beliefs)
        beliefs = agent.infer_states(observed, prior)
        policies, _ = agent.infer_policies(beliefs)
        if "A" in learning:
            agent = agent.infer_parameters(beliefs, observed, action)
        if "D" in learning and action is None:  # which PyMDP leaves to its users
            counts = [d + q[:, -1] for d, q in zip(agent.D, beliefs, strict=True)]
            D = [count / count.sum(-1, keepdims=True) for count in counts]
            agent = eqx.tree_at(lambda a: a.D, agent, D)
        keys = jax.vmap(partial(jr.fold_in, jr.fold_in(root, step)))(jnp.arange(COUNT))
        action = agent.sample_action(policies, rng_key=keys)
        for number in range(COUNT):
            those = [np.ravel(q[number]) for q in beliefs]
            found[number, step] = np.ravel(action[number]), those
    return found


@pytest.mark.parametrize(
    ("loop", "passes", "chunk"),
    [
        ("eager", (), None),
        ("jit", (), None),
        ("jit", ("share",), None),
        ("jit", ("template",), 2),
    ],
)
@pytest.mark.parametrize(
    ("learning", "forgets"),
    [((), ()), (("A", "D"), ()), (("A", "D"), ("A",)), (("A", "D"), ("A", "D"))],
)
def test_steps_are_pymdps_own_calls(loop, passes, chunk, learning, forgets):
    crowd = population(playing, loop, passes, learning, forgets, chunk)
    check_same(lived(crowd), stepped(learning, forgets), ROUNDED)


@pytest.mark.parametrize("passes", [(), ("share",), ("template",)])
def test_what_is_put_back_is_held_and_said_to_be(passes):
    crowd = population(playing, "jit", passes, ("A",), ("A",))
    lived(crowd)
    held = [held for _, component, held in crowd.holdings() if component == PUT_BACK]
    assert held
    crowd = population(playing, "jit", passes, ("A",))
    lived(crowd)
    assert not any(held for _, component, held in crowd.holdings() if component == PUT_BACK)


@pytest.mark.parametrize(
    ("loop", "passes"), [("jit", ()), ("jit", ("template",)), ("rollout", ("jit",))]
)
def test_an_episode_compiles_nothing(loop, passes):
    crowd = population(rolling if loop == "rollout" else playing, loop, passes)
    jax.clear_caches()
    compilations = Compilations()
    agents = crowd.grow(COUNT)
    counts = []
    for first in range(0, STEPS, LENGTH):
        before = compilations.count
        list(crowd.live(agents, range(first, first + LENGTH)))
        counts.append(compilations.count - before)
    assert counts[0] > 0
    assert counts[2] == 0


def test_a_world_that_ends_with_an_episode_begins_with_the_next():
    found = lived(population(lasting, "jit"))
    assert len(found) == COUNT * STEPS
    with pytest.raises(ScenarioError, match="ended before") as caught:
        lived(population(ending, "jit"))
    assert caught.value.field == "steps"
    assert "set episodes" in caught.value.problem


def test_each_kind_of_episode_is_another_life():
    rolls = [rolled(), *(rolled(("A", "B"), each) for each in ((), ("B",)))]
    steps = [stepped(), *(stepped(("A", "D"), each) for each in ((), ("A",), ("A", "D")))]
    for one, other in (*combinations(rolls, 2), *combinations(steps, 2)):
        with pytest.raises(AssertionError):
            check_same(one, other, ROUNDED)
