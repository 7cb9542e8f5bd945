"""Pass `pool` on whole agents, and on PyMDP's modules before, during and after its use."""

import sys

import pytest
from pymdp.legacy import control, inference, learning, maths
from pymdp.legacy.algos import fpi, mmp

from memprof.instruments import Stopwatch
from memprof.instruments.held import reachable
from memprof.optimise.pool import Pool
from memprof.populations.numpy_agents import NumpyPopulation
from memprof.scenario import load_scenario
from tests.conftest import SCENARIOS, digests_of

REPLACED = {
    "dot_likelihood": (maths, fpi),
    "spm_dot": (maths, fpi, mmp, control),
    "spm_MDP_G": (maths, control),
    "calc_expected_utility": (control,),
    "update_posterior_policies_factorized": (control,),
    "sample_action": (control,),
    "update_obs_likelihood_dirichlet_factorized": (learning,),
    "update_state_likelihood_dirichlet_interactions": (learning,),
}


def everything():
    """Every name in PyMDP's modules, by the identity of what it stands for."""
    modules = (control, inference, learning, maths, fpi, mmp)
    return {(m.__name__, name): id(value) for m in modules for name, value in vars(m).items()}


def test_functions_are_replaced_wherever_they_are_known_and_put_back():
    before = everything()
    first, second = Pool(), Pool()
    first.install()
    during = everything()
    changed = {key for key in before if before[key] != during[key]}
    assert changed == {(m.__name__, name) for name, homes in REPLACED.items() for m in homes}
    second.install()
    assert everything() == during
    first.close()
    assert everything() == during, "the second still uses them"
    first.install()
    second.close()
    assert everything() == during
    first.close()
    assert everything() == before


def test_a_module_imported_in_between_is_put_right_too():
    sys.modules.pop("pymdp.legacy.algos.mmp_old", None)
    own, pool = maths.spm_dot, Pool()
    pool.install()
    from pymdp.legacy.algos import mmp_old

    assert mmp_old.spm_dot is maths.spm_dot
    assert mmp_old.spm_dot is not own
    pool.close()
    assert mmp_old.spm_dot is own


def test_a_function_that_somebody_else_replaced_meanwhile_stays_theirs():
    pool, theirs = Pool(), lambda *_: None
    pool.install()
    fpi.spm_dot = theirs
    pool.close()
    found, fpi.spm_dot = fpi.spm_dot, maths.spm_dot
    assert found is theirs


def test_what_it_remembers_is_on_the_ledger():
    spec = load_scenario(SCENARIOS / "grid-5.yaml").spec(("share", "pool"))
    population = NumpyPopulation(spec, Stopwatch())
    try:
        list(population.live(population.grow(1), range(2)))
        held = [held for _, component, held in population.holdings() if component == "passes"]
        kept = sum(getattr(each, "nbytes", 0) for each in reachable(held))
        assert 5 * 25 * 16 < kept < 10_000, "two indices for each move, and little more"
    finally:
        population.close()


@pytest.mark.parametrize(
    ("name", "passes", "steps"),
    [
        ("grid-5", ("share", "pool"), 30),
        ("t-maze", ("share", "pool"), 20),
        ("learning-10", ("share", "pool"), 30),
        ("factory", ("share", "pool"), 30),
        ("mmp", ("share", "pool"), 6),
        ("grid-10", ("pool",), 20),
        ("learning-10", ("pool",), 20),
    ],
)
def test_agents_behave_exactly_as_without_it(name, passes, steps):
    path = SCENARIOS / f"{name}.yaml"
    assert digests_of(path, passes, 4, steps) == digests_of(path, (), 4, steps)


FACTORS = {"num_obs": [4, 3], "num_states": [3, 5], "num_controls": [2, 1]}
AGENTS = {
    "sophisticated": {"agent": {"sophisticated": True, "si_horizon": 2}},
    "information about parameters": {
        "agent": {"use_param_info_gain": True},
        "learning": ["A", "B"],
    },
    "stochastic": {
        "agent": {"action_selection": "stochastic", "sampling_mode": "full", "policy_len": 2}
    },
    "several factors": {"model": {"kind": "random_pomdp", **FACTORS}},
}


@pytest.mark.parametrize("fields", AGENTS.values(), ids=AGENTS)
def test_every_kind_of_agent_behaves_exactly(scenario, fields):
    path = scenario(**fields)
    assert digests_of(path, ("share", "pool"), 4, 12) == digests_of(path, (), 4, 12)
