"""`pool` replaces functions of PyMDP's that it knows by their source, and no others."""

import functools
import threading
from unittest.mock import patch

import numpy as np
import pytest

import memprof
from memprof.instruments import Stopwatch
from memprof.optimise.kernels import Kernels
from memprof.optimise.pool import Pool
from memprof.optimise.replacements import REPLACED, beneath
from memprof.populations.numpy_agents import NumpyPopulation
from memprof.scenario import load_scenario
from memprof.upstream import load
from memprof.upstream.functions import KNOWN, name_of, read, rests_on
from memprof.upstream.installed import package_of
from memprof.upstream.numpy_agent import Agent, maths, utils
from memprof.upstream.steps import METHODS, PymdpsTurn
from tests.conftest import SCENARIOS

control, learning = load("control"), load("learning")
PYMDP = package_of("numpy")
LEARN_B = next(name for _, name in REPLACED if name.startswith("update_state"))


@pytest.fixture(autouse=True)
def pymdp_stays_as_it_was():
    before = [{**vars(module)} for module in (maths, control, learning, utils)]
    yield
    after = [vars(module) for module in (maths, control, learning, utils)]
    assert before == after


LEARNED_B = getattr(learning, LEARN_B)


def forgetting(pB, *arguments, own=LEARNED_B, **more):
    """The rule of another release."""
    posterior = own(pB, *arguments, **more)
    for factor in range(len(posterior)):
        posterior[factor] = 0.9 * posterior[factor]
    return posterior


def sharper(dist, own=maths.softmax):
    return own(2 * dist)


def learner():
    np.random.seed(0)
    A, B = utils.random_A_matrix([3], [4]), utils.random_B_matrix([4], [3])
    C = utils.to_obj_array(np.array([0.0, 1.0, 2.0]))
    return Agent(A=A, B=B, C=C, pB=utils.dirichlet_like(B))


def live(agent, steps=4):
    """What there is to see of an agent, to the bit."""
    np.random.seed(1)
    seen, previous = [], None
    for step in range(steps):
        beliefs = agent.infer_states([step % 3])
        seen += [agent.infer_policies()[0].tobytes(), agent.sample_action().tobytes()]
        if previous is not None:
            seen.append(agent.update_B(previous)[0].tobytes())
        previous = beliefs
    return seen


PATCHES = {
    "another learning rule": (learning, LEARN_B, forgetting),
    "a softmax": (maths, "softmax", sharper),
    "a softmax, in the module that calls it": (
        control, "softmax_obj_arr", lambda arrays: maths.softmax_obj_arr(2 * arrays)
    ),
    "a number": (maths, "EPS_VAL", 1e-3),
}  # fmt: skip
patches = pytest.mark.parametrize("where", PATCHES.values(), ids=PATCHES)


def test_all_that_the_kernels_rest_on_is_known_and_the_table_has_nothing_else():
    kernels = Kernels()
    assert kernels._own.spm_dot is maths.spm_dot
    assert [basis.unknown for basis in kernels._rests_on.values()] == [None] * len(REPLACED)
    places = [place for own in vars(kernels._own).values() for place in rests_on(own)[1]]
    turn = PymdpsTurn(beneath)  # which `batch` rests on, from 1.0 on
    methods = set()
    if PYMDP.endswith("legacy"):
        assert turn.unknown is None
        places += turn.places
        methods = {f"{PYMDP}.agent.Agent.{name}" for name in METHODS}
    called = {name_of(place.value) for place in places if name_of(place.value) in KNOWN}
    others = "pymdp.legacy." if PYMDP == "pymdp" else "-"
    here = {n for n in KNOWN if n.startswith(f"{PYMDP}.") and not n.startswith(others)}
    assert called | methods | {name_of(own) for own in vars(kernels._own).values()} == here
    assert {"maths.softmax", "maths.EPS_VAL", "utils.obj_array", "control.softmax_obj_arr"} <= {
        str(place).removeprefix(f"{PYMDP}.") for place in places
    }


@patches
def test_what_is_not_pymdps_own_runs_and_is_named(where):
    home, name, theirs = where
    with patch.object(home, name, theirs):
        expected = live(learner())
        with memprof.optimize([learner()]) as population:
            with population.activate(0) as agent:
                assert live(agent) == expected
            assert getattr(home, name) is theirs
            memory = population.memory()
            assert memory.not_replaced
            assert "not replaced by pool: " in str(memory)
    assert expected != live(learner()), "the change can be seen"


@patches
def test_what_is_changed_during_use_counts_from_then_on_and_until_it_is_put_back(where):
    home, name, theirs = where
    with memprof.optimize([learner() for _ in range(3)]) as population:
        with population.activate(0) as agent:
            assert live(agent) == live(learner())
        assert population.memory().not_replaced == {}
        with patch.object(home, name, theirs):
            with population.activate(1) as agent:
                assert live(agent) == live(learner())
            assert population.memory().not_replaced
        assert population.memory().not_replaced == {}
        with population.activate(2) as agent:
            assert live(agent) == live(learner())


def test_what_a_user_puts_in_place_during_use_stays_after_it():
    first = memprof.optimize([learner()])
    setattr(learning, LEARN_B, forgetting)
    try:
        with memprof.optimize([learner()]) as second:
            assert second.memory().not_replaced == {LEARN_B: f"{__name__}.forgetting"}
            first.close()
        assert getattr(learning, LEARN_B) is forgetting
    finally:
        setattr(learning, LEARN_B, LEARNED_B)


def test_a_kernel_that_somebody_puts_back_later_is_seen_through():
    own, pool = maths.spm_dot, Pool()
    pool.install()
    late = patch.object(maths, "spm_dot", lambda *_: None)
    late.start()
    pool.close()
    late.stop()
    try:
        assert maths.spm_dot is not own, "a patch puts back what it found"
        pool.install()
        assert pool.not_replaced() == {}
        pool.close()
        assert maths.spm_dot is own
    finally:
        maths.spm_dot = own


def test_the_report_of_a_scenario_names_them():
    spec = load_scenario(SCENARIOS / "grid-5.yaml").spec(("share", "pool"))
    with patch.object(maths, "spm_MDP_G", lambda A, x, own=maths.spm_MDP_G: own(A, x)):
        population = NumpyPopulation(spec, Stopwatch())
        try:
            population.grow(1)
            named = population.facts()["not replaced by pool"]
            assert named.startswith("spm_MDP_G (")
        finally:
            population.close()


# ---------------------------------------------------------------- what is known by its source

SOFTMAX = '''
def softmax(dist):
    """ 
    Computes the softmax function on a set of values
    """

    output = dist - dist.max(axis=0)
    output = np.exp(output)
    output = output / np.sum(output, axis=0)
    return output
'''


def defined(text, path):
    """The function of a file that reads so, as if in PyMDP's module."""
    path.write_text(text)
    names = {**vars(maths)}
    exec(compile(text, path, "exec"), names)
    return names["softmax"]


def known(function):
    return read(function)[0] in KNOWN[f"{PYMDP}.maths.softmax"]


def test_neither_layout_nor_comments_nor_the_docstring_matter(tmp_path):
    path = tmp_path / "maths.py"
    assert known(defined(SOFTMAX, path))
    assert known(
        defined(
            SOFTMAX.replace("dist - dist.max(axis=0)", "(dist-dist.max(axis = 0))  # shifted"), path
        )
    )
    assert known(defined(SOFTMAX.replace("Computes the", "Computes a"), path))
    assert known(defined("import copy\n" + 9 * "\n" + SOFTMAX, path))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("output / np", "output * np"), ("(dist)", "(dist, axis=0)"), ("dist.max", "dist.min"),
        ("return", "print() or"), ("axis=0)\n    output = np.exp", "axis=1)\n    output = np.exp"),
        ("def softmax", "@np.vectorize\ndef softmax"),
    ],
)  # fmt: skip
def test_every_other_change_does(tmp_path, old, new):
    assert old in SOFTMAX
    assert not known(defined(SOFTMAX.replace(old, new), tmp_path / "maths.py"))


def test_other_defaults_are_another_function():
    own = maths.spm_dot.__defaults__
    maths.spm_dot.__defaults__ = ([0],)
    try:
        assert rests_on(maths.spm_dot)[0] == f"{PYMDP}.maths.spm_dot"
    finally:
        maths.spm_dot.__defaults__ = own
    assert rests_on(maths.spm_dot)[0] is None


def test_source_that_cannot_be_read_or_is_not_what_runs_is_not_known(tmp_path):
    path = tmp_path / "maths.py"
    edited = defined(SOFTMAX.replace("output / np", "output * np"), path)
    path.write_text(SOFTMAX)  # put right after the import
    assert not known(edited)
    gone = defined(SOFTMAX + "\n", path)
    path.unlink()
    read.__globals__["_source"].cache_clear()
    assert not known(gone)
    disguised = functools.wraps(maths.softmax)(lambda dist: dist)
    assert name_of(disguised) == name_of(maths.softmax)
    assert not known(disguised)
    for other in (len, np.exp, functools.partial(maths.softmax), maths.softmax.__call__, None):
        assert not known(other)


# ---------------------------------------------------------------- threads


def test_populations_come_and_go_in_threads_and_leave_pymdp_as_it_was():
    failures = []

    def come_and_go(rounds):
        try:
            pools = [Pool(), Pool()]
            for each in range(rounds):
                for pool in pools:
                    pool.install()
                    assert maths.spm_dot.__self__ is pool._kernels
                for pool in pools[:: 1 if each % 2 else -1]:
                    assert maths.spm_dot.__self__ is pool._kernels
                    pool.close()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=come_and_go, args=(20,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
