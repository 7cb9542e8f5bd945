"""What a factory may give for JAX agents beside plain keyword arguments: PyMDP's own forms of
models, ready agents, and objects of the user's own that hold one."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from pymdp import utils
from pymdp.agent import Agent
from pymdp.distribution import compile_model

from memprof.errors import ScenarioError
from memprof.instruments import DirectCalls
from memprof.instruments.walker import walk
from memprof.populations.jax_agents import JaxPopulation
from memprof.values.population import PopulationSpec

MADE = []  # what the factory returns for each agent; the last one for all others
KEYS = jax.random.split(jax.random.PRNGKey(0), 2)
PASSES = [(), ("share",), ("template",)]


def make(agent):
    return MADE[min(agent, len(MADE) - 1)]()


def make_all():
    return MADE[0]()


def population(*made, passes=(), loop="jit", learning=(), agents=2, agent=None, function=make):
    MADE[:] = made
    spec = PopulationSpec(
        backend="jax",
        model={"kind": "factory", "callable": f"{__name__}:{function.__name__}", "params": {}},
        private=True,
        differs=False,
        agent=agent or {},
        learning=learning,
        passes=passes,
        options={},
        loop=loop,
        agents=agents,
        steps=3,
        seed=0,
        folder=".",
    )
    return JaxPopulation(spec, DirectCalls())


def lived(found, agents=2):
    """What agents believed and did, a row per agent and step; as long as one rollout, or so."""
    found.grow(agents)
    steps = [
        (agent, np.concatenate([np.ravel(q) for q in (*done.beliefs, done.policies, done.action)]))
        for first in range(0, 3, found.stride)
        for agent, _, done in found.live(range(agents), range(first, first + found.stride))
    ]
    return np.array([row for _, row in sorted(steps, key=lambda each: each[0])])


def readme(**more):
    """The model of PyMDP's README."""
    return {
        "A": utils.random_A_array(KEYS[0], [3, 5], [3, 2]),
        "B": utils.random_B_array(KEYS[1], [3, 2], [3, 1]),
        "C": utils.list_array_uniform([[3], [5]]),
        "D": utils.list_array_uniform([[3], [2]]),
        **more,
    }


def assert_is(found, agents):
    """The batch is what PyMDP makes of the same arguments, row by row."""
    for row, agent in enumerate(agents):
        held = found._crowd._agent
        for name in ("A", "B", "C", "D", "E", "pA", "pB", "H", "I", "gamma", "alpha"):
            mine = jax.tree_util.tree_map(lambda x, row=row: x[row : row + 1], getattr(held, name))
            assert eqx.tree_equal(mine, getattr(agent, name)), name
        assert held.num_controls == agent.num_controls
        assert np.array_equal(held.policies.policy_arr, agent.policies.policy_arr)


def batched(arguments):
    return {
        name: [each[None] for each in value] if name in "ABCD" else value
        for name, value in arguments.items()
    }


def compiled(controlled_by=("c1", "c2")):
    """A compiled model with a factor that two controls move."""
    places = ["A", "B", "C"]
    model = compile_model(
        {
            "observations": {"o1": {"elements": places, "depends_on": ["s2", "s1"]}},
            "controls": {"c1": {"size": 2}, "c2": {"size": 3}},
            "states": {
                "s1": {"elements": places, "depends_on": ["s1"], "controlled_by": controlled_by},
                "s2": {"size": 2, "depends_on": ["s2"], "controlled_by": ["c1"]},
            },
        }
    )
    random = np.random.default_rng(1)
    for each in (*model.A, *model.B):
        drawn = random.random(each.data.shape)
        each.data = drawn / drawn.sum(axis=0)
    return model


FORMS = {
    "lists": readme,
    "tuples": lambda: {n: tuple(v) for n, v in readme().items()},
    "batch axis": lambda: batched(readme(batch_size=1)),
    "numbers": lambda: readme(gamma=jnp.array([2.0]), alpha=np.float32(3.0)),
    "a compiled model": lambda: {**compiled(), "gamma": 10.0},
    "no control": lambda: compiled(controlled_by=()),
}


@pytest.mark.parametrize("form", FORMS)
def test_pymdp_makes_the_same_agents_of_every_form(form):
    found = population(FORMS[form])
    found.grow(2)
    given = {n: list(v) if n in "ABCD" else v for n, v in FORMS[form]().items()}
    assert_is(found, [Agent(**given)] * 2)


def test_plain_arrays_are_a_model_of_one_modality_and_one_factor():
    A, B = np.eye(3) * 0.7 + 0.1, np.stack([np.eye(3), np.roll(np.eye(3), 1, axis=0)], axis=2)
    found = population(lambda: {"A": A, "B": jnp.asarray(B), "C": np.arange(3.0)})
    found.grow(2)
    assert_is(found, [Agent(A=[jnp.asarray(A)], B=[jnp.asarray(B)], C=[jnp.arange(3.0)])] * 2)


@pytest.mark.parametrize("passes", PASSES)
def test_actions_of_several_controls_reach_the_world(passes):
    found = lived(population(compiled, passes=passes))
    assert found.shape == (6, 5 + 6 + 2)
    np.testing.assert_allclose(found, lived(population(compiled)), atol=1e-5)


def ready(**more):
    return Agent(**readme(**more))


class Runner:
    """A class of one's own around an agent."""

    def __init__(self, agent):
        self.agent = agent
        self.memory = np.zeros(20_000)


@pytest.mark.parametrize("loop", ["jit", "eager", "rollout"])
@pytest.mark.parametrize("passes", [(), ("share",)])
def test_a_ready_agent_does_as_one_of_the_same_arguments(loop, passes):
    told = {"gamma": 3.0, "policy_len": 2}
    expected = lived(population(lambda: readme(**told), loop=loop, passes=passes))
    for made in (lambda: ready(**told), lambda: Runner(ready(**told))):
        found = lived(population(made, loop=loop, passes=passes))
        np.testing.assert_array_equal(found, expected)


def test_ready_agents_stay_different():
    made = [functools.partial(ready, gamma=gamma) for gamma in (1.0, 8.0)]
    alone = lived(population(made[1]))
    for passes in PASSES:
        crowd = lived(population(*made, passes=passes))
        np.testing.assert_allclose(crowd[3:], alone[3:], atol=1e-5)
        assert not np.allclose(crowd[:3], alone[:3], atol=1e-2)


class Bold(Agent):
    """A class of one's own with a method in place of PyMDP's."""

    def infer_policies(self, qs):
        q_pi, energies = super().infer_policies(qs)
        return q_pi**2 / (q_pi**2).sum(-1, keepdims=True), energies


def test_a_subclass_stays_one():
    plain = lived(population(lambda: Bold(**readme())))
    assert not np.allclose(plain, lived(population(ready)), atol=1e-3)
    for passes in PASSES[1:]:
        found = lived(population(lambda: Bold(**readme()), passes=passes))
        np.testing.assert_allclose(found, plain, atol=1e-5)


def test_learning_that_a_ready_agent_does_is_done_before_and_after():
    told = {"pA": utils.list_array_scaled([[3, 3, 2], [5, 3, 2]], 2.0), "learn_A": True}
    assert not np.allclose(lived(population(lambda: ready(**told))), lived(population(ready)))
    plain = lived(population(lambda: ready(**told)))
    for passes in PASSES[1:]:
        found = lived(population(lambda: ready(**told), passes=passes))
        np.testing.assert_allclose(found, plain, atol=1e-5)


@pytest.mark.parametrize("passes", PASSES)
def test_offline_agents_learn_at_the_end_of_a_rollout(passes):
    told = {
        **readme(),
        "pB": [np.asarray(b) + 0.5 for b in readme()["B"]],
        "learn_B": True,
        "action_selection": "stochastic",
    }
    offline = {**told, "learning_mode": "offline"}
    found = population(lambda: offline, loop="rollout", passes=passes)
    found.grow(2)
    list(found.live(range(2), range(3)))
    crowd = found._crowd
    learned = crowd._stored[0].leaves["pB"] if passes == ("share",) else None
    learned = crowd._agent.pB if not passes else learned
    if learned is not None:
        counts = [np.asarray(each)[0].sum() for each in learned]
        before = [each.sum() for each in told["pB"]]
        assert counts == pytest.approx([each + 2 for each in before], rel=1e-4), "2 transitions"
    with pytest.raises(ScenarioError, match="offline agents learn from all steps"):
        population(lambda: offline).grow(1)


def four():
    return ready(**batched_of(4))


def batched_of(size):
    arrays = {n: [jnp.stack([x] * size) for x in readme()[n]] for n in "ABCD"}
    return {**arrays, "gamma": jnp.arange(1.0, size + 1), "batch_size": size}


@pytest.mark.parametrize("made", [four, lambda: readme(**batched_of(4)), lambda: Runner(four())])
def test_a_batch_is_the_whole_population(made):
    alone = lived(population(lambda: readme(gamma=4.0)), 4)
    for passes in PASSES[:2]:
        crowd = lived(population(made, passes=passes, agents=4, function=make_all), 4)
        np.testing.assert_allclose(crowd[9:], alone[9:], atol=1e-5)
        assert not np.allclose(crowd[:3], alone[:3], atol=1e-2)
    found = population(made, agents=4, function=make_all)
    found.grow(6)  # to measure with more than there are
    assert np.asarray(found._crowd._agent.gamma).tolist() == [1, 2, 3, 4, 1, 2]


def broken():
    agent = ready()
    return eqx.tree_at(lambda a: a.gamma, agent, jnp.ones(3))


@pytest.mark.parametrize(
    ("made", "options", "field", "words"),
    [
        (
            four,
            {"agents": 5},
            "agents",
            "a batch of 4 agents (batch_size), and the scenario says 5",
        ),
        (four, {"agents": 4, "function": make}, "model.callable", "for agent 0 alone. Return one"),
        (lambda: (four(), Runner), {"agents": 4}, "model.callable", "expected reset() and step("),
        (
            ready,
            {"agent": {"gamma": 2.0}},
            "agent",
            "no further keyword arguments; found ['gamma']",
        ),
        (
            ready,
            {"learning": ("A",)},
            "learning",
            "returned a ready agent without learn_A. Pass it",
        ),
        (broken, {}, "model.callable", "gamma of agent 0: expected a row for each agent of its"),
        (
            lambda: ready(inference_algo="mmp"),
            {},
            "model.callable",
            "inference_algo of agent 0: mmp infers over a window",
        ),
    ],
)
def test_what_contradicts_a_ready_agent_is_named(made, options, field, words):
    found = population(made, **{"function": make_all, **options})
    with pytest.raises(ScenarioError) as caught:
        found.grow(2)
    assert caught.value.field == field
    assert words in caught.value.problem


def test_ready_agents_that_cannot_be_one_batch_are_told_apart():
    for name, other in (("policy_len", 2), ("num_iter", 4)):
        with pytest.raises(ScenarioError) as caught:
            population(ready, lambda n=name, v=other: ready(**{n: v})).grow(2)
        for words in ("agent 0", "agent 1", "expected one"):
            assert words in caught.value.problem
    with pytest.raises(
        ScenarioError, match="the model is 'a ready agent' for agent 0 and 'keyword"
    ):
        population(ready, readme).grow(2)


def rows(found, agents):
    return {row.component: row for row in walk(found.holdings(), agents)[0]}


def test_what_a_class_around_an_agent_adds_has_rows_of_its_own():
    found = population(lambda: Runner(ready()))
    found.grow(3)
    row = rows(found, 3)["Runner.memory"]
    assert row.private_nominal_bytes >= 3 * 160_000
    assert "Runner.agent" not in rows(found, 3)


def encoder(weights):
    """A function for `preprocess_fn` with weights of its own, made anew at each call."""

    def encode(seen):
        return [(1 - weights[0]) * each + weights[0] / each.shape[-1] for each in seen]

    return encode


def encoding(weight):
    weights = jnp.full(5_000, weight)
    return readme(categorical_obs=True, preprocess_fn=encoder(weights))


def test_the_weights_of_a_preprocessing_function_have_a_row_of_their_own():
    plain = lived(population(lambda: encoding(0.3)))
    for passes in PASSES:
        found = population(lambda: encoding(0.3), passes=passes)
        told = lived(found)
        assert rows(found, 2)["preprocess_fn"].shared_nominal_bytes >= 20_000
        np.testing.assert_allclose(told, plain, atol=1e-5)
    assert not np.allclose(told, lived(population(lambda: readme(categorical_obs=True))), atol=1e-2)
    with pytest.raises(ScenarioError, match=r"preprocess_fn is .* for agent 0 and"):
        population(lambda: encoding(0.3), lambda: encoding(0.4)).grow(2)


class Still:
    """A world in which nothing happens."""

    def reset(self):
        return [0, 0]

    def step(self, action):
        return [0, 0]


def test_a_world_is_not_drawn_from_what_is_no_distribution():
    """PyMDP's agents take any D, and one of its notebooks has one that is zero."""
    nowhere = {"D": [jnp.zeros(3), jnp.ones(2) / 2]}
    with pytest.raises(ScenarioError, match=r"D0 is not normalised.* Return an environment beside"):
        population(lambda: readme(**nowhere)).grow(1)
    population(lambda: (readme(**nowhere), Still())).grow(1)
