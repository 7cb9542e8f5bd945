"""Every keyword of PyMDP's JAX agent, as a factory may return it: the agents have the values that
they were given, each its own, or the keyword is refused by its name."""

import inspect

import equinox as eqx
import numpy as np
import pytest
from pymdp.agent import Agent

from memprof.errors import ScenarioError
from memprof.instruments import DirectCalls
from memprof.models import object_array
from memprof.populations.jax_agents import JaxPopulation
from memprof.values.population import PopulationSpec

DEFAULTS = {
    name: parameter.default
    for name, parameter in inspect.signature(Agent.__init__).parameters.items()
    if name not in ("self", "batch_size")
}
GIVEN = []  # what the factory returns besides the model, per agent
NUMBERS = {
    "gamma": (1.0, 16.0),
    "alpha": (np.float32(0.5), 4),
    "inductive_threshold": (0.1, np.array(0.5)),
    "inductive_epsilon": (0.01, np.array([0.3])),
}


def columns(*shape, seed):
    array = np.random.default_rng(seed).dirichlet(np.ones(shape[0]), shape[1:])
    return np.moveaxis(array, -1, 0)


def vectors(size, count, seed):
    return [columns(size, seed=seed + index) for index in range(count)]


def seen(observation):
    return observation


def blurred(observation):
    return [0.5 * each + 0.25 for each in observation]


ARRAYS = {
    "A": [object_array([columns(3, 3, seed=seed)]) for seed in (1, 2)],
    "B": [
        object_array([columns(3, 3, 2, seed=seed), columns(3, 3, 3, 2, seed=seed)])
        for seed in (1, 2)
    ],
    "C": [vectors(3, 1, 1), [np.array([0.0, np.nan, 1.0])]],
    "D": [vectors(3, 2, 1), vectors(3, 2, 3)],
    "E": [columns(4, seed=1), columns(4, seed=2)],
    "H": [vectors(3, 2, 1), vectors(3, 2, 3)],
    "pA": [[columns(3, 3, seed=seed) * seed] for seed in (1, 2)],
    "pB": [[columns(3, 3, 2, seed=s), columns(3, 3, 3, 2, seed=s)] for s in (3, 4)],
}
SETTINGS = {
    "A_dependencies": ([[0]], [[1]]),
    "B_dependencies": ([[0], [0, 1]], [[0], [1, 0]]),
    "control_fac_idx": ([0], np.array([1])),
    "policy_len": (1, np.int64(2)),
    "policies": (np.zeros((4, 1, 2), int), np.eye(4, dtype=int)[:, None, :2]),
    "inductive_depth": (1, 2),
    **dict.fromkeys(("use_utility", "use_states_info_gain"), (True, np.False_)),
    **dict.fromkeys(("use_param_info_gain", "use_inductive", "categorical_obs"), (False, True)),
    "preprocess_fn": (seen, blurred),
    "action_selection": ("deterministic", "stochastic"),
    "sampling_mode": ("full", "marginal"),
    "inference_algo": ("fpi", "ovf"),
    "inference_horizon": (2, 3),
    "num_iter": (16, 8),
    "learning_mode": ("online", "offline"),
    **{f"learn_{letter}": (False, True) for letter in "ABCDE"},
}
REFUSED = {
    "I": ([np.zeros((1, 3))] * 2, [np.ones((1, 3))] * 2),
    "num_controls": ([2, 2], [4, 4]),
    "B_action_dependencies": ([[0], [1]], [[0, 1], [1]]),
}
OWN = {**ARRAYS, **NUMBERS}
PLANTED = {**OWN, **SETTINGS, **REFUSED}


# PyMDP plans backwards where factors do not depend on each other.
PLANS_BACKWARDS = {
    "B": object_array([0.7 * np.eye(3)[:, [[1, 0], [2, 1], [2, 2]]] + 0.1] * 2),
    "B_dependencies": None,
    "use_inductive": True,
}


def model():
    """Two factors, the first moves the second; what is seen is the first."""
    return {
        "A": ARRAYS["A"][0],
        "B": ARRAYS["B"][0],
        "C": [np.array([0.0, 1.0, 3.0])],
        "D": ARRAYS["D"][0],
        "A_dependencies": [[0]],
        "B_dependencies": [[0], [0, 1]],
    }


def make(agent):
    found = {**model(), **GIVEN[min(agent, len(GIVEN) - 1)]}
    return {name: value for name, value in found.items() if value is not ...}


def population(*given, passes=(), loop="jit", learning=(), agent=None, agents=2):
    GIVEN[:] = given
    spec = PopulationSpec(
        backend="jax",
        model={"kind": "factory", "callable": f"{__name__}:make", "params": {}},
        private=True,
        differs=False,
        agent=agent or {},
        learning=learning,
        passes=passes,
        options={},
        loop=loop,
        agents=agents,
        steps=2,
        seed=0,
        folder=".",
    )
    found = JaxPopulation(spec, DirectCalls())
    found.grow(agents)
    return found


def switches(name):
    """The keywords without which PyMDP has no use for this one."""
    needs = {"learn_A": "pA", "use_param_info_gain": "pA", "learn_B": "pB"}
    if name in needs:
        return {needs[name]: ARRAYS[needs[name]][0]}
    return PLANS_BACKWARDS if name == "H" else {}


def held(found, name, row):
    """What PyMDP's agent of this row has for a keyword, whatever form the population has."""
    crowd = found._crowd
    if hasattr(crowd, "_agent"):
        value = getattr(crowd._agent, name)
    else:
        leaves = crowd._stored[0].leaves
        value = leaves.get(name, getattr(crowd._template.whole(), name))
        row = row if name in leaves else 0
    if name == "policies":
        return np.asarray(value.policy_arr)
    if name in ARRAYS and name != "E":
        return [np.asarray(each)[row] for each in value]
    return np.asarray(value)[row] if name in OWN else value


def assert_held(found, name, values):
    for row, value in enumerate(values):
        mine = held(found, name, row)
        if name in OWN:
            listed = name in ARRAYS and name != "E"
            for each, other in zip(*((mine, value) if listed else ([mine], [value])), strict=True):
                expected = np.asarray(other, np.float32).reshape(each.shape)
                np.testing.assert_array_equal(each, expected)
        elif name == "preprocess_fn":
            assert mine is value
        else:
            np.testing.assert_equal(mine, value)


def assert_refused(name, *given, also=(), **options):
    with pytest.raises(ScenarioError) as caught:
        population(*given, **options)
    assert caught.value.exit_code == 2
    assert name in caught.value.problem
    assert caught.value.field == "model.callable"
    for words in also:
        assert words in caught.value.problem


def test_every_keyword_has_its_values_here():
    assert PLANTED.keys() == DEFAULTS.keys()  # but for the number of agents itself


@pytest.mark.parametrize("name", DEFAULTS)
def test_what_differs_is_each_agents_own_or_refused(name):
    values = PLANTED[name]
    given = [{name: value, **switches(name)} for value in values]
    if name not in OWN:
        assert_refused(name, *given, also=("agent 0", "agent 1") if name in SETTINGS else ())
        return
    for passes in ((), ("share",)):
        if (name, passes) != ("H", ("share",)):  # read where B is learned, see below
            assert_held(population(*given, passes=passes), name, values)


@pytest.mark.parametrize("name", DEFAULTS)
def test_what_is_alike_is_handed_on_or_refused(name):
    value = PLANTED[name][1]
    if name in REFUSED:
        assert_refused(name, {name: value})
    else:
        assert_held(population({name: value, **switches(name)}), name, [value, value])


@pytest.mark.parametrize("name", sorted(PLANTED.keys() - model().keys() - REFUSED.keys()))
def test_what_some_agents_are_not_given_is_the_default_or_refused(name):
    value, default = PLANTED[name][1], DEFAULTS[name]
    without, given = switches(name), {**switches(name), name: value}
    for order in (1, -1):
        agents, values = (without, given)[::order], (default, value)[::order]
        if name in NUMBERS or name == "E":
            values = [np.full(4, 0.25) if each is None else each for each in values]
            assert_held(population(*agents), name, values)
        else:
            assert_refused(name, *agents, also=("agent 0", "agent 1"))


@pytest.mark.parametrize("name", DEFAULTS)
def test_none_is_no_value_or_refused(name):
    if DEFAULTS[name] is None:
        fitting = {
            "A_dependencies": {"A": object_array([columns(3, 3, 3, seed=0)])},
            "B_dependencies": {"B": PLANS_BACKWARDS["B"]},
        }.get(name, {})
        given, left_out = (population({**fitting, name: value}) for value in (None, ...))
        assert eqx.tree_equal(given._crowd._agent, left_out._crowd._agent)
    else:
        assert_refused(name, {name: None})


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"gamma": np.array([1.0, 8.0])}, "gamma of agent 0: expected a number, found an array of"),
        ({"gamma": -1.0}, "gamma of agent 0: expected a number, 0 or more, found -1.0"),
        ({"alpha": "high"}, "alpha of agent 0: expected numbers, found 'high'"),
        ({"alpha": np.nan}, "alpha of agent 0: expected a number, 0 or more, found nan"),
        ({"gama": 1.0}, "not a keyword of PyMDP's JAX agent; did you mean 'gamma'?"),
        ({"use_BMA": True}, "use_BMA of agent 0: is not a keyword of PyMDP's JAX agent"),
        ({"pD": [np.ones(3)] * 2}, "pD of agent 0: PyMDP's JAX agent has no pD"),
        ({"A_factor_list": [[0]]}, "A_factor_list of agent 0: is A_dependencies by its NumPy name"),
        ({"B_dependencies": [[0]]}, "B_dependencies of agent 0: expected 2 lists"),
        ({"B_dependencies": [[0], [0]]}, "expected factor 1 among those that B1 depends on"),
        (
            {"A_dependencies": [[2]]},
            "A_dependencies of agent 0: expected 1 lists, one per array of A",
        ),
        ({"C": [np.ones((2, 3))], "policy_len": 3}, "C0 of agent 0: expected shape (3, 3), for 64"),
        ({"C": np.ones(2)}, "C of agent 0: expected shapes [(3,)], as A and B have them"),
        ({"D": [np.ones((2, 3))] * 2}, "D0 of agent 0: expected 1 axis, or a first one more for a"),
        ({"pA": [None]}, "pA0 of agent 0: expected numbers, found None"),
        ({"E": np.ones(1)}, "E of agent 0: expected shape (4,), for 4 policies of 1 steps"),
        ({"policies": [[0, 1]]}, "policies of agent 0: expected one of shape (policies, steps,"),
        ({"inference_algo": "mmp"}, "inference_algo of agent 0: mmp infers over a window of the"),
        ({"inference_algo": "VANILLA"}, "expected 'fpi' or 'vmp' or 'mmp' or 'ovf' or 'exact'"),
    ],
)
def test_what_pymdp_would_misread_is_refused(given, words):
    assert_refused(words, given)


def test_sizes_that_differ_are_refused_with_the_backend_that_takes_them():
    larger = {"A": object_array([columns(4, 3, seed=1)]), "C": [np.ones(4)]}
    words = ("agent 1", "agent 0", "[(4, 3)]", "[(3, 3)]", "Use backend: numpy")
    assert_refused("A has shape", {}, larger, also=words)


def test_learning_is_what_the_agents_or_the_scenario_say():
    told = {"learn_A": np.True_, "learn_B": False, "pA": ARRAYS["pA"][0], "batch_size": 1}
    for learning in ((), ("A",)):
        agent = population(told, learning=learning)._crowd._agent
        assert (agent.learn_A, agent.learn_B) == (True, False)
    words = (
        "expected True, as the scenario's learning: [A] says, found False",
        "leave A out of it",
    )
    assert_refused("learn_A of agent 0", {"learn_A": False}, learning=("A",), also=words)
    words = ("expected False, as the scenario's learning: [B] says, found True", "add A to it")
    assert_refused("learn_A of agent 0", told | {"learn_B": True}, learning=("B",), also=words)
    words = ("learn_A needs it; return it, or use the scenario's learning: [A]",)
    assert_refused("pA of agent 0", {"learn_A": True}, also=words)
    assert_refused("learn_A is False for agent 0 and True for agent 1", {"pA": told["pA"]}, told)


@pytest.mark.parametrize("passes", [(), ("share",), ("template",)])
def test_agents_that_ask_for_learning_themselves_learn_as_those_of_the_scenario(passes):
    prior = {"pA": model()["A"]}
    asked = population({**prior, "learn_A": True}, passes=passes)
    told = lived(population(prior, learning=("A",)))
    np.testing.assert_allclose(lived(asked), told, atol=1e-5)
    assert not np.allclose(told, lived(population(prior)), atol=1e-3)


def test_the_scenario_has_the_last_word():
    found = population({"gamma": 1.0}, {"gamma": 8.0}, agent={"gamma": 2.0})
    assert_held(found, "gamma", [2.0, 2.0])


def lived(found):
    """Beliefs, posteriors over policies and actions of two agents."""
    steps = [[], []]
    for first in range(0, 2, found.stride):
        for agent, _, done in found.live(range(2), range(first, first + found.stride)):
            steps[agent].append(
                np.concatenate([np.ravel(q) for q in (*done.beliefs, done.policies, done.action)])
            )
    return [np.array(each) for each in steps]


GOALS = {
    "H": [np.array([0.0, 0.0, 1.0]), np.array([0.0, 1.0, 0.0])],
    **PLANS_BACKWARDS,
    "inductive_depth": 2,
    "action_selection": "stochastic",
}


@pytest.mark.parametrize(
    ("loop", "passes"),
    [
        ("jit", ()),
        ("eager", ()),
        ("rollout", ()),
        ("jit", ("share",)),
        ("jit", ("template",)),
        ("jit", ("belief", "template")),
        ("rollout", ("share",)),
    ],
)
def test_agents_with_numbers_of_their_own_do_as_among_others_like_them(loop, passes):
    own = [{**GOALS, **{name: pair[row] for name, pair in NUMBERS.items()}} for row in range(2)]
    mixed = lived(population(*own, loop=loop, passes=passes))
    alike = lived(population(own[1], loop=loop, passes=passes))
    np.testing.assert_allclose(mixed[1], alike[1], atol=1e-5)
    assert not np.allclose(mixed[0], alike[0], atol=1e-2), "the numbers matter"


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("inductive_threshold", NUMBERS["inductive_threshold"]),
        ("H", [GOALS["H"], GOALS["H"][::-1]]),
    ],
)
def test_goals_are_reached_from_what_is_each_agents_own(name, values):
    """PyMDP makes I of H, B and the threshold, and makes it again when B is learned."""
    own = [{**GOALS, name: value} for value in values]
    plain = lived(population(*own, learning=("B",)))
    shared = population(*own, learning=("B",), passes=("share",))
    np.testing.assert_allclose(lived(shared), plain, atol=1e-5)
    assert_held(shared, name, values)
    first, second = np.asarray(shared._crowd._stored[0].leaves["I"][0])
    assert not np.array_equal(first, second)
