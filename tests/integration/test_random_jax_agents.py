"""Random JAX agents, in all forms of PyMDP's arguments, are what PyMDP makes of them, and live as
its own do; and what memprof would lose of them is found."""

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from memprof.populations import jax_models
from memprof.populations.jax_arguments import Arguments
from tests.property_jax import REFUSED, Crowd, crowds, difference

PLAIN = Crowd(
    seed=1,
    agents=2,
    states=(3, 2),
    observations=(3, 2),
    controls=(2, 2),
    seen_by=None,
    moved_by=None,
    actions=None,
    extras=frozenset(("C", "D", "pA")),
    keywords=(("policy_len", 2), ("learn_A", True), ("num_iter", 2)),
    apart=frozenset(("gamma",)),
    form="list",
    batched=True,
    given_as="keywords",
    learning=(),
    loop="jit",
)


@settings(
    max_examples=8,
    deadline=None,
    derandomize=True,  # `make random-jax` draws many more
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(crowds())
def test_random_agents_are_pymdps_own_or_refused_by_name(crowd):
    found = difference(crowd)
    assert found in (None, REFUSED), found


def lost(name):
    """Rows without what an argument says."""
    row = Arguments.row

    def without(self, index):
        found = row(self, index)
        return found._replace(leaves={n: v for n, v in found.leaves.items() if n != name})

    return Arguments, "row", without


def not_learned():
    learn = Arguments._learn

    def forgetful(self):
        self.learning = ()
        self.settings["learn_A"] = False
        learn(self)

    return Arguments, "_learn", forgetful


def the_first_ones():
    """Everybody has what the first agent has."""

    def alike(left, right):
        return True

    return jax_models, "alike", alike


FAULTS = {
    "gamma is lost": (lost("gamma"), "gamma"),
    "agents are taken for the first one": (the_first_ones(), "gamma"),
    "learning is lost": (not_learned(), "learn_A"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_would_be_lost_is_found(monkeypatch, fault):
    place, named = FAULTS[fault]
    monkeypatch.setattr(*place)
    assert named in str(difference(PLAIN))


def test_agents_without_a_fault_are_alike_and_one_that_differs_in_a_setting_is_refused():
    assert difference(PLAIN) is None
    assert difference(replace(PLAIN, spoiled="policy_len")) == REFUSED
    assert difference(replace(PLAIN, spoiled="shape")) == REFUSED
