"""JAX agents that act with keys of their own: stripes of a population do what the whole does."""

import jax
import numpy as np
import pytest
from jax import random as jr

import memprof
from memprof.errors import UsageError
from memprof.values.population import Share
from tests.integration.jax_models import World, agents

AGENTS, STEPS = 11, 3


def of_all(model, seen, chunk, key, **keywords):
    """What all do with a key, and what they believe; and each step's keys, one for each."""
    with memprof.optimize(agents(model, AGENTS, **keywords), chunk=chunk) as population:
        done, keys = [], []
        for observed in seen:
            keys.append(jr.split(key, AGENTS + 1)[1:])
            did, key = population.act(observed, key)
            done.append(did)
        return done, keys, population.beliefs(), population.whole()


@pytest.mark.parametrize("typed", [False, True], ids=["raw keys", "typed keys"])
def test_stripes_of_a_population_do_what_the_whole_does(typed):
    key = jr.key(3) if typed else jr.PRNGKey(3)
    world, keywords = World("t-maze", AGENTS), {"learn_A": True}
    seen = [world.observe() for _ in range(STEPS)]
    expected, keys, beliefs, whole = of_all("t-maze", seen, 4, key, **keywords)
    assert len({*map(tuple, expected[0])}) > 1, "chance matters"
    for stripes in (1, 2, 7):
        for first in range(stripes):
            share = Share(first, stripes)
            mine = [index for index in range(AGENTS) if index in share]
            batch = agents("t-maze", len(mine), **keywords)
            with memprof.optimize(batch, chunk=4) as population:
                for step, observed in enumerate(seen):
                    did, following = population.act(
                        [each[mine] for each in observed], keys=keys[step][np.array(mine)]
                    )
                    assert following is None
                    assert np.array_equal(did, expected[step][mine])
                for own, theirs in zip(population.beliefs(), beliefs, strict=True):
                    assert own.tobytes() == theirs[mine].tobytes()
                learned = population.whole().pA
            for own, theirs in zip(learned, whole.pA, strict=True):
                assert np.asarray(own).tobytes() == np.asarray(theirs)[mine].tobytes()


def test_chunks_of_other_sizes_do_the_same():
    world = World("t-maze", AGENTS)
    seen = [world.observe() for _ in range(STEPS)]
    expected, keys, beliefs, _ = of_all("t-maze", seen, 4, jr.PRNGKey(3))
    with memprof.optimize(agents("t-maze", AGENTS)) as population:
        order = np.random.default_rng(1).permutation(AGENTS)
        for step, observed in enumerate(seen):
            mine = [each[order] for each in observed]
            did, _ = population.act(mine, indices=order, keys=keys[step][order])
            assert np.array_equal(did, expected[step][order])
        for own, theirs in zip(population.beliefs(), beliefs, strict=True):
            assert np.abs(own - theirs).max() <= 1e-6


def test_there_is_one_key_or_one_for_each():
    observed = World("coins", 3).observe()
    with memprof.optimize(agents("coins", 3)) as population:
        keys = jr.split(jr.PRNGKey(0), 3)
        for given, said in (
            ({}, "key: expected a key, or keys.* found neither"),
            ({"key": keys[0], "keys": keys}, "key: expected .* found both"),
            ({"keys": keys[:2]}, "keys: expected a key for each of 3 agents"),
        ):
            with pytest.raises(UsageError, match=said):
                population.act(observed, **given)
        assert (population.actions() == -1).all()
        empty = [each[:0] for each in observed]
        assert population.act(empty, indices=[], keys=keys[:0])[0].shape == (0, 1)
        assert jax.numpy.array_equal(population.act(empty, keys[0], [])[1], jr.split(keys[0], 1)[0])
