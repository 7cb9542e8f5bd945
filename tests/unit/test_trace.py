import io

import numpy as np
import pytest

from memprof.populations import Behaviour, step_seed
from memprof.populations.trace import DigestTrace, ValueTrace
from memprof.stats.equivalence import Parting, parting


def objects(*arrays):
    out = np.empty(len(arrays), dtype=object)
    for position, array in enumerate(arrays):
        out[position] = array
    return out


def behaviour(beliefs=0.25, policies=0.5, action=1.0):
    """As PyMDP gives it, MMP's nesting and its empty entries included."""
    nested = objects(objects(np.array([beliefs, 1 - beliefs]), None), np.array([0.5]))
    return Behaviour(nested, np.array([policies]), np.array([action]))


def digests(*steps):
    trace = DigestTrace(agents=2, steps=len(steps))
    for step, values in enumerate(steps):
        trace.record(0, step, values)
    return trace.per_agent()


def test_equal_behaviour_has_equal_digests():
    assert digests(behaviour(), behaviour(0.5)) == digests(behaviour(), behaviour(0.5))


@pytest.mark.parametrize(
    "other",
    [
        behaviour(beliefs=np.nextafter(0.25, 1)),
        behaviour(policies=np.nextafter(0.5, 1)),
        behaviour(action=2.0),
        behaviour(beliefs=np.nan),
    ],
)
def test_one_bit_in_beliefs_policies_or_action_changes_the_digest(other):
    assert digests(behaviour(), behaviour()) != digests(behaviour(), other)
    assert digests(other, behaviour()) != digests(behaviour(), other), "steps have their place"


def test_agents_and_steps_beyond_the_reserved_are_left_out():
    trace = DigestTrace(agents=1, steps=1)
    trace.record(0, 0, behaviour())
    before = trace.per_agent()
    trace.record(1, 0, behaviour(0.9))
    trace.record(0, 1, behaviour(0.9))
    assert trace.per_agent() == before


def test_the_agents_of_a_step_may_come_in_another_order():
    """A working set takes those that are active first."""
    file = io.BytesIO()
    writer = ValueTrace(file, compare=False)
    for step in range(2):
        for agent in range(3):
            writer.record(agent, step, behaviour(action=float(10 * step + agent)))
    for wrong, agreed in ((0.0, 6), (1.0, 5)):
        file.seek(0)
        reader = ValueTrace(file, compare=True)
        for step, order in enumerate(([2, 0, 1], [1, 2, 0])):
            for agent in order:
                changed = wrong if (agent, step) == (2, 1) else 0.0
                reader.record(agent, step, behaviour(action=float(10 * step + agent) + changed))
        found = reader.comparison()
        assert (found.agents, found.actions_equal) == (3, agreed)
        assert found.first_difference == ((2, 1) if wrong else None)


def compared(first, second):
    file = io.BytesIO()
    writer = ValueTrace(file, compare=False)
    for step, values in enumerate(first):
        writer.record(0, step, values)
    file.seek(0)
    reader = ValueTrace(file, compare=True)
    for step, values in enumerate(second):
        reader.record(0, step, values)
    return reader.comparison()


def test_values_tell_how_far_apart_and_from_which_step_on():
    plain = [behaviour(), behaviour(), behaviour()]
    assert compared(plain, plain).first_difference is None
    found = compared(plain, [behaviour(), behaviour(0.35), behaviour(0.3, action=3.0)])
    assert found.first_difference == (0, 1)
    assert found.max_abs_belief_error == pytest.approx(0.1)
    assert (found.actions_equal, found.actions_compared) == (2, 3)


def test_whoever_perceives_something_else_behaves_differently():
    """Where it is known what they perceive."""
    plain = [behaviour()._replace(observation=seen) for seen in ([0], [1], [2])]
    found = compared(plain, [plain[0], plain[1]._replace(observation=[2]), plain[2]])
    assert found.first_difference == (0, 1)
    assert found.max_abs_belief_error == 0
    assert compared(plain, [behaviour()] * 3).first_difference is None
    assert digests(*plain) != digests(*[behaviour()] * 3)


def test_nan_or_another_shape_is_never_a_small_difference():
    plain = [behaviour()]
    assert compared(plain, [behaviour(beliefs=np.nan)]).max_abs_belief_error is None
    reshaped = Behaviour(np.ones(7), np.ones(1), np.ones(1))
    assert compared(plain, [reshaped]).max_abs_belief_error is None
    assert compared(plain, [reshaped]).max_divergence_nats is None


def test_the_divergence_is_that_of_one_posterior_not_of_all_of_them_together():
    def beliefs(first, second):
        vectors = objects(np.array([first, 1 - first]), np.array([second, 1 - second]))
        return Behaviour(vectors, np.array([0.5, 0.5]), np.array([1.0]))

    def nats(q, p):
        return q * np.log(q / p) + (1 - q) * np.log((1 - q) / (1 - p))

    found = compared([beliefs(0.5, 0.5)] * 2, [beliefs(0.6, 0.5), beliefs(0.6, 0.9)])
    assert found.max_divergence_nats == pytest.approx(nats(0.9, 0.5))
    assert compared([beliefs(0.5, 0.5)], [beliefs(0.5, 0.5)]).max_divergence_nats == 0
    pruned = compared([beliefs(1e-9, 0.5)], [beliefs(0.0, 0.5)])
    assert 0 < pruned.max_divergence_nats < 1e-8, "rounded to zero costs next to nothing"
    assert compared([beliefs(0.0, 0.5)], [beliefs(0.1, 0.5)]).max_divergence_nats is None
    assert compared([beliefs(np.nan, 0.5)], [beliefs(0.1, 0.6)]).max_divergence_nats == (
        pytest.approx(nats(0.6, 0.5))
    )


def test_each_row_of_a_batch_is_a_posterior():
    plain, other = np.array([[0.5, 0.5], [0.5, 0.5]]), np.array([[0.6, 0.4], [0.9, 0.1]])
    found = compared(*([Behaviour(each, np.ones(1), np.ones(1))] for each in (plain, other)))
    assert found.max_divergence_nats == pytest.approx(0.9 * np.log(1.8) + 0.1 * np.log(0.2))


def test_seeds_depend_on_run_agent_and_step_and_on_nothing_else():
    seeds = {step_seed(s, a, t) for s in range(3) for a in range(30) for t in range(-1, 30)}
    assert len(seeds) == 3 * 30 * 31
    assert all(0 <= seed < 2**32 for seed in seeds)
    assert step_seed(0, 1, 2) == step_seed(0, 1, 2)


def course(*steps):
    trace = DigestTrace(agents=2, steps=len(steps))
    for step, values in enumerate(steps):
        trace.record(1, step, values)
    return trace.course()


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({}, None),
        ({"observation": [3], "beliefs": 0.5}, Parting(1, by_world=True)),
        ({"observation": [3]}, Parting(1, by_world=True)),
        ({"beliefs": 0.5}, Parting(1, by_world=False)),
    ],
)
def test_two_courses_part_where_the_world_or_the_agents_first_do_otherwise(changes, found):
    def lived(observation=(1,), **believed):
        return behaviour(**believed)._replace(observation=observation)

    plain, later = [lived(), lived(), lived()], lived(beliefs=0.75, observation=[2])
    other = [lived(), lived(**changes), later if changes else lived()]
    assert parting([course(*plain), course(*plain), course(*other)]) == found


def test_what_is_not_known_of_observations_blames_nobody():
    assert parting([course(behaviour()), course(behaviour(0.5))]) == Parting(0, None)
    assert "the plain population itself" in Parting(0, None).words
