"""Policies as a tree: pool's posterior over policies and choice of actions have PyMDP's bits."""

from types import SimpleNamespace
from unittest.mock import Mock, patch

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from memprof import upstream
from memprof.optimise import planning, policies
from memprof.optimise.kernels import Kernels
from memprof.storage.constants import constant
from tests.integration.test_pool_kernels import (
    STRUCTURES,
    belief,
    bits,
    checked,
    dirty,
    matrix,
    never,
    objects,
    quiet,  # noqa: F401
    same_as_pymdp,
    seeds,
)

control = upstream.load("control")
FACTORIZED = "update_posterior_policies_factorized"
PLANS = FACTORIZED if hasattr(control, FACTORIZED) else "update_posterior_policies"
NEW = PLANS == FACTORIZED


def policies_of(controls, steps):
    return [constant(np.array(each)) for each in control.construct_policies(
        controls, controls, policy_len=steps
    )]  # fmt: skip


def arguments_of(random, states, outcomes, controls, steps, structure, *, dirt=False, paths=False,
                 gains=None):  # fmt: skip
    """An agent's model, its beliefs and its policies, as PyMDP's agent passes them."""
    factors = range(len(states))
    A_factors = [sorted(random.permutation(len(states))[: 1 + m % len(states)].tolist())
                 for m in range(len(outcomes))]  # fmt: skip
    B_factors = [[f, *([(f + 1) % len(states)] if f % 2 else [])] for f in factors]
    if not NEW:
        A_factors, B_factors = [list(factors)] * len(outcomes), [[f] for f in factors]
    A = objects(*(
        constant(matrix(random, (size, *(states[f] for f in on)), structure))
        for size, on in zip(outcomes, A_factors, strict=True)
    ))  # fmt: skip
    B = objects(*(
        constant(np.stack([
            matrix(random, (states[f], *(states[each] for each in B_factors[f])), structure)
            for _ in range(controls[f])
        ], -1))
        for f in factors
    ))  # fmt: skip
    C = objects(*(constant(3 * random.random(size)) for size in outcomes))
    qs = objects(*(belief(random, size, dirt) for size in states))
    gains = gains or (bool(random.integers(4)), bool(random.integers(4)))
    E = None if random.integers(2) else random.random(int(np.prod(controls)) ** steps)
    found = (qs, A, B, C, *((A_factors, B_factors) if NEW else ()), policies_of(controls, steps),
             *gains, False, None, None, E)  # fmt: skip
    if not NEW:
        return found
    I = objects(*((random.random((4, size)) < 0.4).astype(float) for size in states))  # noqa: E741
    return (*found, I if paths else None)


few = st.lists(st.integers(1, 5), min_size=1, max_size=3)


@checked
@given(seeds, few, few, st.integers(1, 3), st.sampled_from(STRUCTURES), dirty, st.booleans())
def test_the_posterior_over_policies(random, states, outcomes, steps, structure, dirt, paths):
    controls = [1 + int(random.integers(3)) for _ in states]
    assume(np.prod(controls) ** steps <= 64)
    arguments = arguments_of(
        random, states, outcomes, controls, steps, structure, dirt=dirt, paths=paths
    )
    with patch.object(policies, "_BLOCK", random.choice([1, 20, policies._BLOCK])):
        same_as_pymdp(Kernels(), PLANS, *arguments)


@checked
@given(seeds, st.lists(st.integers(1, 4), min_size=1, max_size=3), st.integers(1, 2),
       st.sampled_from(["deterministic", "stochastic"]))  # fmt: skip
def test_the_choice_of_an_action_and_what_it_draws(random, controls, steps, selection):
    given_policies = policies_of(controls, steps)
    q_pi = 0.1 + random.random(len(given_policies)).round(int(random.integers(1, 4)))  # ties, too
    kernels, seed = Kernels(), int(random.integers(2**32))
    found = []
    for choose in (kernels._own.sample_action, *[kernels.sample_action] * 2):
        np.random.seed(seed)
        chosen = [bits(choose(q_pi, given_policies, controls, selection, 4.0)) for _ in range(3)]
        found.append((chosen, np.random.random()))
    assert found[0] == found[1] == found[2]
    assert all(case.proven for case in kernels.facts.kinds._known.values())


def test_what_is_proven_needs_pymdp_no_more_and_counts_every_beginning_once():
    random, kernels = np.random.default_rng(0), Kernels()
    arguments = arguments_of(random, [9], [9], [4], 3, "one-hot")
    tree = kernels.facts.tree(arguments[6 if NEW else 4])
    assert [len(depth.parents) for depth in tree.depths] == [4, 16, 64]
    expected = [bits(each) for each in getattr(kernels, PLANS)(*arguments)]
    setattr(kernels._own, PLANS, never)
    assert [bits(each) for each in getattr(kernels, PLANS)(*arguments)] == expected


def test_matrices_without_structure_are_rolled_out_once_for_each_beginning():
    """With no more calls of PyMDP's product than there are beginnings, and PyMDP's bits."""
    random, kernels = np.random.default_rng(0), Kernels()
    arguments = arguments_of(random, [5, 4], [6], [2, 3], 3, "dense", gains=(True, True))
    same_as_pymdp(kernels, PLANS, *arguments)
    product = Mock(wraps=planning.maths.spm_dot)
    counted = SimpleNamespace(**{**vars(planning.maths), "spm_dot": product})
    with patch.object(planning, "maths", counted):
        getattr(kernels, PLANS)(*arguments)
    of_states = 2 if NEW else 0  # until 0.0.7.1 by NumPy's own
    assert product.call_count == (1 + of_states) * (6 + 36 + 216)


def test_policies_that_are_no_constants_or_changed_are_pymdps():
    kernels, all_of_them = Kernels(), policies_of([3], 2)
    assert kernels.facts.tree([each.copy() for each in all_of_them]) is None
    assert kernels.facts.tree(all_of_them).is_of(all_of_them)
    other = [*all_of_them[:4], constant(np.array([[7], [7]])), *all_of_them[5:]]
    assert kernels.facts.tree(other).is_of(other), "with the first and the last in common"
    assert not kernels.facts.tree(all_of_them).is_of(other)
    assert kernels.facts.tree(all_of_them[:-1]).is_of(all_of_them[:-1])
    assert policies.Tree.of([constant(np.zeros((2, 1))), constant(np.zeros((1, 1)))]) is None


@pytest.mark.parametrize("wrong", ["utility", "states", "gain"])
def test_a_tree_that_is_wrong_is_caught_and_not_used(monkeypatch, wrong):
    random, kernels = np.random.default_rng(1), Kernels()
    arguments = arguments_of(random, [6], [6], [3], 2, "one-hot")
    name = {"utility": "dots", "states": "_after", "gain": "free_energies"}[wrong]
    home = planning if wrong == "gain" else policies
    right = getattr(home, name)

    def off(*given):
        found = right(*given)
        if isinstance(found, list):
            return [0.5 * each for each in found]
        return (found.T + np.arange(len(found))).T

    monkeypatch.setattr(home, name, off)
    expected = [bits(each) for each in getattr(kernels._own, PLANS)(*arguments)]
    for _ in range(3):
        assert [bits(each) for each in getattr(kernels, PLANS)(*arguments)] == expected


def test_a_module_of_pymdps_that_changes_ends_it():
    random, kernels = np.random.default_rng(2), Kernels()
    arguments = arguments_of(random, [4], [4], [3], 2, "one-hot")
    kernels.install()
    try:
        getattr(kernels, PLANS)(*arguments)
        with patch.object(control, "calc_states_info_gain_factorized" if NEW else
                          "calc_states_info_gain", lambda *_: 7.0):  # fmt: skip
            expected = bits(getattr(kernels._own, PLANS)(*arguments)[1])
            assert bits(getattr(control, PLANS)(*arguments)[1]) == expected
    finally:
        kernels.remove()
