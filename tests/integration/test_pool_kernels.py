"""Pool's forms of PyMDP's functions give the same bits as PyMDP's, or are not used."""

import copy
import gc
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memprof.optimise import facts, learning
from memprof.optimise import kernels as module
from memprof.optimise.kernels import Kernels
from memprof.optimise.pool import Surprise, gathered, in_range, settle
from memprof.storage.constants import adopt, constant

SPECIAL = (-0.0, 0.0, 1.0, -1.0, 0.5, 2.0, 5e-324, 1e308, np.inf, np.nan)
STRUCTURES = (
    "one-hot", "two ones", "three ones", "two values", "scaled", "mixed", "dense", "dirt", "zero",
)  # fmt: skip


@pytest.fixture(autouse=True, scope="module")
def quiet():
    """Overflows and the like are what these tests are about."""
    with np.errstate(all="ignore"):
        yield


checked = settings(max_examples=300, deadline=None)


def bits(result):
    """Everything that PyMDP can see of a result."""
    if isinstance(result, np.ndarray) and result.dtype == object:
        return [bits(each) for each in result]
    array = np.asarray(result)
    assert not isinstance(result, np.ndarray) or result.flags.writeable
    strides = [s for s, n in zip(array.strides, array.shape, strict=True) if n > 1]
    return type(result), array.dtype, array.shape, strides, array.tobytes()


def outcome_of(function, *arguments):
    try:
        return bits(function(*arguments))
    except Exception as error:
        return type(error)


def same_as_pymdp(kernels, name, *arguments):
    """Twice: the first time the kernel compares, and must not find a difference."""
    own = outcome_of(getattr(kernels._own, name), *arguments)
    with patch.object(module, "settle", strictly), patch.object(learning, "settle", strictly):
        for _ in range(2):
            assert outcome_of(getattr(kernels, name), *arguments) == own


def strictly(cases, result, expected):
    assert bits(result) == bits(expected)
    return settle(cases, result, expected)


def objects(*arrays):
    container = np.empty(len(arrays), dtype=object)
    for position, array in enumerate(arrays):
        container[position] = array
    return container


def matrix(random, shape, structure, dtype=np.float64):
    rows, rest = shape[0], int(np.prod(shape[1:]))
    out = np.zeros((rows, rest))
    if structure == "one-hot":
        out[random.integers(rows, size=rest), np.arange(rest)] = 1.0
    if structure in ("two ones", "mixed", "two values", "three ones"):
        for row in out:
            row[random.integers(rest, size=3 if structure == "three ones" else 2)] = 1.0
    if structure == "two values":
        out *= random.random(out.shape)
    if structure in ("scaled", "mixed"):
        out[0] = 0.0
        out[0, random.integers(rest)] = random.random()
    if structure == "scaled":
        for row in out:
            row[random.integers(rest)] = 3 * random.random() * (not row.any())
    if structure in ("dense", "dirt"):
        out = random.random((rows, rest))
    if structure == "dirt":
        out[random.random(out.shape) < 0.2] = random.choice(SPECIAL)
    return out.reshape(shape).astype(dtype)


def laid_out(array, layout):
    if layout == "F":
        return np.asfortranarray(array)
    if layout == "strided":
        wide = np.zeros((*array.shape[:-1], 2 * array.shape[-1]), array.dtype)
        wide[..., ::2] = array
        return wide[..., ::2]
    return array


def belief(random, size, dirty=False):
    q = random.random(size)
    q[random.random(size) < 0.3] = 0.0
    if dirty:
        q[random.integers(size)] = random.choice(SPECIAL)
    return q / q.sum() if q.sum() and not dirty else q


seeds = st.integers(0, 2**32).map(np.random.default_rng)
sizes = st.integers(1, 12)
structures = st.sampled_from(STRUCTURES)
layouts = st.sampled_from(["C", "F", "strided"])
dtypes = st.sampled_from([np.float64, np.float64, np.float32])
dirty = st.integers(0, 3).map(lambda n: n == 0)


@checked
@given(
    seeds,
    st.lists(sizes, min_size=1, max_size=4),
    structures,
    layouts,
    dtypes,
    dirty,
    st.booleans(),
)
def test_the_likelihood_of_an_outcome(random, shape, structure, layout, dtype, dirt, interned):
    A = laid_out(matrix(random, tuple(shape), structure, dtype), layout)
    obs = np.eye(len(A))[random.integers(len(A))]
    if dirt:
        obs[random.integers(len(obs))] = random.choice(SPECIAL)
    same_as_pymdp(Kernels(), "dot_likelihood", constant(A) if interned else A, obs)


@checked
@given(seeds, sizes, st.integers(1, 40), structures, layouts, dtypes, dirty, st.booleans())
def test_products_with_a_matrix(random, rows, columns, structure, layout, dtype, dirt, interned):
    M = laid_out(matrix(random, (rows, columns), structure, dtype), layout)
    q = objects(belief(random, columns, dirt).astype(random.choice([np.float64, dtype])))
    same_as_pymdp(Kernels(), "spm_dot", constant(M) if interned else M, q)


@checked
@given(seeds, sizes, st.integers(1, 4), structures, dirty)
def test_products_with_one_action_of_a_constant(random, states, actions, structure, dirt):
    B = constant(
        np.stack([matrix(random, (states, states), structure) for _ in range(actions)], -1)
    )
    q, kernels = objects(belief(random, states, dirt)), Kernels()
    for view in (*(B[..., action] for action in range(actions)), B[..., 0].T, B[::-1, :, 0]):
        same_as_pymdp(kernels, "spm_dot", view, q)


@checked
@given(seeds, st.lists(sizes, min_size=1, max_size=3), sizes, st.data())
def test_products_with_several_factors_and_dimensions_kept(random, states, outcomes, data):
    X = matrix(random, (outcomes, *states), "dense")
    qs, kernels = objects(*(belief(random, size) for size in states)), Kernels()
    same_as_pymdp(kernels, "spm_dot", X, qs)
    kept = data.draw(st.integers(0, len(states) - 1))
    same_as_pymdp(kernels, "spm_dot", X[0], qs, [kept])
    same_as_pymdp(kernels, "spm_dot", X, qs[0])


@checked
@given(
    seeds, sizes, st.lists(st.integers(1, 5), min_size=1, max_size=3), structures, layouts, dtypes,
    dirty,
)  # fmt: skip
def test_surprise(random, outcomes, states, structure, layout, dtype, dirt):
    A = constant(laid_out(matrix(random, (outcomes, *states), structure, dtype), layout))
    kernels = Kernels()
    for _ in range(3):
        qs = objects(*(belief(random, size, dirt) for size in states))
        same_as_pymdp(kernels, "spm_MDP_G", A, qs)


@checked
@given(seeds, st.lists(sizes, min_size=1, max_size=3), st.integers(1, 4), dtypes, dirty)
def test_expected_utility(random, outcomes, steps, dtype, dirt):
    C = objects(*(constant(belief(random, size, dirt).astype(dtype) * 9) for size in outcomes))
    kernels = Kernels()
    for horizon in (steps, 1):
        qo = [objects(*(belief(random, size) for size in outcomes)) for _ in range(horizon)]
        same_as_pymdp(kernels, "calc_expected_utility", qo, C)
        varied = objects(*(constant(random.random((size, steps))) for size in outcomes))
        same_as_pymdp(kernels, "calc_expected_utility", qo, varied)
        same_as_pymdp(kernels, "calc_expected_utility", qo, copy.deepcopy(C))


@checked
@given(seeds, st.lists(sizes, min_size=1, max_size=2), structures, layouts, dirty, dirty)
def test_learning(random, states, structure, layout, dirt, dirty_belief):
    lr = random.choice([1.0, 0.3, 0.0, -1.0, np.inf, np.nan]) if dirt else 1.0
    now, then = (objects(*(belief(random, s, dirty_belief) for s in states)) for _ in range(2))
    kernels, parents = Kernels(), [[f] for f in range(len(states))]
    parents[0] = list(range(len(states)))[::-1]
    B = objects(
        *(
            matrix(random, (states[f], *(states[p] for p in parents[f]), 2), structure)
            for f in range(len(states))
        )
    )
    pB = objects(*(laid_out(2 * b, layout) for b in B))
    factors = random.choice(["all", "first"])
    same_as_pymdp(
        kernels, "update_state_likelihood_dirichlet_interactions",
        pB, B, np.ones(len(states)), now, then, parents, lr, "all" if factors == "all" else [0],
    )  # fmt: skip
    A = objects(*(matrix(random, (3, *states), structure) for _ in range(2)))
    pA = objects(*(laid_out(2 * a, layout) for a in A))
    every = [list(range(len(states)))] * 2
    same_as_pymdp(
        kernels, "update_obs_likelihood_dirichlet_factorized", pA, A, (1, 2), now, every, lr
    )


def test_learning_matrices_larger_than_a_block():
    random, states = np.random.default_rng(0), 150
    now, then = (objects(belief(random, states)) for _ in range(2))
    B = objects(matrix(random, (states, states, 3), "one-hot"))
    kernels = Kernels()
    name = "update_state_likelihood_dirichlet_interactions"
    same_as_pymdp(kernels, name, B, B, np.array([2.0]), now, then, [[0]], 0.7)
    shared = objects(*[constant(B[0])] * 2)
    same_as_pymdp(
        kernels, name, shared, shared, np.array([2.0, 1.0]),
        objects(now[0], then[0]), objects(then[0], now[0]), [[0], [1]],
    )  # fmt: skip


def test_a_learned_prior_is_new_and_the_old_one_as_it_was():
    random, kernels = np.random.default_rng(0), Kernels()
    prior = objects(constant(np.ones((4, 4, 2))))
    arguments = (np.array([1.0]), objects(belief(random, 4)), objects(belief(random, 4)), [[0]])
    update = kernels.update_state_likelihood_dirichlet_interactions(prior, prior, *arguments)
    assert not np.shares_memory(update[0], prior[0])
    assert prior[0].sum() == 32


def never(*_):
    raise AssertionError("PyMDP's own function should not be needed any more")


def test_what_is_proven_needs_pymdp_no_more_and_counts_from_structure():
    random, kernels = np.random.default_rng(0), Kernels()
    A, C = constant(np.eye(9)), constant(np.arange(9.0))
    B = constant(np.stack([matrix(random, (9, 9), "two ones")] * 2, -1))
    calls = {
        "dot_likelihood": (A, np.eye(9)[3]),
        "spm_dot": (B[..., 1], objects(belief(random, 9))),
        "spm_MDP_G": (A, objects(belief(random, 9))),
        "calc_expected_utility": ([objects(belief(random, 9))], objects(C)),
    }
    for name, arguments in calls.items():
        expected = bits(getattr(kernels, name)(*arguments))
        setattr(kernels._own, name, never)
        assert bits(getattr(kernels, name)(*arguments)) == expected
    learning = {
        "update_state_likelihood_dirichlet_interactions": (
            objects(B), objects(B), [0], objects(belief(random, 9)), objects(belief(random, 9)),
            [[0]],
        ),
        "update_obs_likelihood_dirichlet_factorized": (
            objects(A), objects(A), (3,), objects(belief(random, 9)), [[0]],
        ),
    }  # fmt: skip
    own = {
        "dot_likelihood": (np.eye(9), np.eye(9)[3]),
        "spm_dot": (random.random((2, 9, 9)), objects(belief(random, 9), belief(random, 9))),
    }
    for name, arguments in (*learning.items(), *own.items()):
        fresh = Kernels()
        expected = bits(getattr(fresh._own, name)(*arguments))
        with patch.object(fresh._own, name, wraps=getattr(fresh._own, name)) as pymdps:
            assert bits(getattr(fresh, name)(*arguments)) == expected
            assert pymdps.called, "a kind of call is compared the first time"
        setattr(fresh._own, name, never)
        assert bits(getattr(fresh, name)(*arguments)) == expected


MIRROR = np.eye(6)[::-1]
FAULTS = {
    "dot_likelihood": (module, "_observed", lambda obs: 1),
    "spm_dot": (facts, "gathered", lambda _: gathered(MIRROR)),
    "spm_MDP_G": (
        Surprise,
        "of",
        lambda _: Surprise(gathered(MIRROR), np.ones(6), np.arange(7), single=True),
    ),
    "calc_expected_utility": (facts, "_log_preferences", lambda C, n_steps: [C] * n_steps),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_kernel_that_is_wrong_for_a_constant_is_caught_and_not_used(monkeypatch, name):
    monkeypatch.setattr(*FAULTS[name])
    kernels, q = Kernels(), objects(np.arange(6.0) / 15)
    arguments = {
        "dot_likelihood": (constant(np.eye(6)), np.eye(6)[0]),
        "spm_dot": (constant(np.eye(6)), q),
        "spm_MDP_G": (constant(np.eye(6)), q),
        "calc_expected_utility": ([q], objects(constant(np.arange(6.0)))),
    }[name]
    expected = bits(getattr(kernels._own, name)(*arguments))
    for _ in range(3):
        assert bits(getattr(kernels, name)(*arguments)) == expected


def of_a_kind(random):
    """Calls that are compared once for their kind."""
    B, q = matrix(random, (4, 4, 2), "dense"), objects(belief(random, 4))
    return {
        "dot_likelihood": (random.random((3, 4)), np.eye(3)[1]),
        "spm_dot": (random.random((3, 4, 4)), objects(q[0], q[0])),
        "update_state_likelihood_dirichlet_interactions": (
            objects(B), objects(B), [1], q, q, [[0]]
        ),
        "update_obs_likelihood_dirichlet_factorized": (
            objects(B[..., 0]), objects(B[..., 0]), (3,), q, [[0]]
        ),
    }  # fmt: skip


@pytest.mark.parametrize("name", of_a_kind(np.random.default_rng(0)))
def test_a_kernel_is_not_used_where_pymdps_own_gives_other_bits(name):
    random, kernels = np.random.default_rng(0), Kernels()
    pymdps = getattr(kernels._own, name)
    setattr(kernels._own, name, lambda *arguments: 0.9 * pymdps(*arguments))
    for _ in range(3):
        arguments = of_a_kind(random)[name]
        found = getattr(kernels, name)(*arguments)
        assert bits(found) == bits(0.9 * pymdps(*arguments))


def test_learned_priors_that_are_one_array_are_two_afterwards_as_in_pymdp():
    kernels, q, prior = Kernels(), objects(np.array([0.25, 0.75])), np.ones((2, 2))
    arguments = (objects(prior, prior, prior), objects(*[np.eye(2)] * 3), (0, 1, 1), q, [[0]] * 3)
    name = "update_obs_likelihood_dirichlet_factorized"
    for modalities in ("all", [0]):
        same_as_pymdp(kernels, name, *arguments, 1.0, modalities)
        own, ours = (getattr(k, name)(*arguments, 1.0, modalities) for k in (kernels._own, kernels))
        assert [a is b for a in own for b in own] == [a is b for a in ours for b in ours]


def mapped(array, folder):
    np.save(folder / "array.npy", array)
    return np.load(folder / "array.npy", mmap_mode="r")


FOREIGN = {
    "a memory map": mapped,
    "a view of a memory map": lambda array, folder: mapped(array, folder)[:],
    "bytes": lambda array, _: np.frombuffer(array.tobytes()).reshape(array.shape),
    "an array of another class": lambda array, _: array.view(np.recarray)[...].view(np.ndarray),
    "a class of arrays": lambda array, _: array.view(np.recarray),
    "masked": lambda array, _: np.ma.masked_array(array, mask=np.eye(len(array))),
}


@pytest.mark.parametrize("interned", [False, True])
@pytest.mark.parametrize("kind", FOREIGN)
def test_arrays_whose_memory_is_not_numpys_or_of_other_classes(tmp_path, kind, interned):
    kernels, q = Kernels(), objects(np.full(5, 0.2))
    A = FOREIGN[kind](np.eye(5), tmp_path)
    A = constant(A) if interned and kind != "masked" else A
    for view in (A, A[:], A.T):
        same_as_pymdp(kernels, "spm_dot", view, q)
        same_as_pymdp(kernels, "dot_likelihood", view, np.eye(5)[1])
        same_as_pymdp(kernels, "spm_MDP_G", view, q)


def test_a_constant_in_memory_that_is_not_numpys_and_views_of_it_are_known():
    kernels, q, A = Kernels(), objects(np.full(5, 0.2)), np.eye(5)
    found = adopt(np.ndarray(A.shape, buffer=A.tobytes()))
    same_as_pymdp(kernels, "spm_dot", found, q)
    same_as_pymdp(kernels, "spm_dot", found[::-1], q)
    assert len(kernels.facts.gathered._known[id(found)][1]) == 2


def test_facts_go_with_their_constants():
    kernels, q = Kernels(), objects(np.full(5, 0.2))
    for size in range(20):
        A = constant(np.eye(5) * (1 + size / 40))
        kernels.spm_dot(A, q)
        kernels.spm_MDP_G(A, q)
        kernels.dot_likelihood(A, np.eye(5)[1])
    assert len(kernels.facts.gathered._known) == 1
    del A
    gc.collect()
    assert not any(
        cases._known
        for cases in (kernels.facts.gathered, kernels.facts.surprise, kernels.facts.readable)
    )


def test_arrays_that_may_change_are_looked_at_every_time():
    kernels, A, q = Kernels(), np.eye(5), objects(np.full(5, 0.2))
    reading = A.view()
    reading.flags.writeable = False
    for change in (1.0, np.nan, -1.0, 0.25):
        A[2, 2] = change
        for array in (A, reading):
            same_as_pymdp(kernels, "dot_likelihood", array, np.eye(5)[1])
            same_as_pymdp(kernels, "spm_dot", array, q)
            same_as_pymdp(kernels, "spm_MDP_G", array, q)


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (0.0, True), (5e-324, True), (1.0, True), (np.nextafter(2, 0), True),
        (-0.0, False), (2.0, False), (-5e-324, False), (-1.0, False),
        (np.inf, False), (-np.inf, False), (np.nan, False), (-np.nan, False),
    ],
)  # fmt: skip
def test_numbers_in_range_are_told_by_their_bits(number, expected):
    array = np.full((3, 4, 2), 0.5)
    array[1, 2, 1] = number
    assert in_range(array) == in_range(array[..., 1]) == in_range(array.T) == expected
    assert not in_range(array.astype(">f8"))
    assert not in_range(array.astype(int))
    assert not in_range(array[:0])
