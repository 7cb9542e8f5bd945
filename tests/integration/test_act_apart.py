"""`population.act(..., seeds=...)`: what agents draw depends neither on the order nor on who else
acts, so stripes of a population do what the whole does."""

import numpy as np
import pytest

import memprof
from memprof.api import acting
from memprof.errors import UsageError
from memprof.models.built_in import grid_world, t_maze
from memprof.populations import batch_turns
from memprof.populations.turn import take_turn
from memprof.upstream.installed import PACKAGE, package_of
from memprof.upstream.numpy_agent import Agent, utils
from memprof.values.population import Share

AGENTS, STEPS = 24, 3
BATCH = ["history", "pool", "batch"]
PLANS = {
    "auto": ("auto", {}),
    "none": ([], {}),
    "batch": (BATCH, {}),
    "some active": (["history", "template", "working_set"], {"working_set": "20 KB"}),
}
once = pytest.mark.skipif(package_of("numpy") == PACKAGE, reason="PyMDP 1.0 and newer")


def grid(**options):
    arguments = grid_world(4, "")(0).arguments
    return lambda: Agent(**{**arguments, "policy_len": 1, **options})


def maze():
    return Agent(**t_maze(0.9, "")(0).arguments, policy_len=2)


def learner():
    A, B = utils.random_A_matrix([3, 2], [4, 2]), utils.random_B_matrix([4, 2], [3, 1])
    D = utils.obj_array_uniform([4, 2])
    return Agent(
        A=A, B=B, D=D, pA=utils.dirichlet_like(A), pB=utils.dirichlet_like(B),
        pD=utils.dirichlet_like(D), policy_len=2, action_selection="stochastic",
    )  # fmt: skip


class Whim(Agent):
    """Draws once more, by a method of its own."""

    def infer_policies(self):
        self.whim = np.random.random()
        return super().infer_policies()


MODELS = {
    "ties": (grid(), ()),
    "stochastic": (grid(action_selection="stochastic", policy_len=2), ()),
    "policies sampled": (grid(sampling_mode="full", action_selection="stochastic"), ()),
    "learners": (learner, ("A", "B", "D")),
    "of a class of its own": (lambda: Whim(**grid_world(4, "")(0).arguments), ()),
}


def built(build, share=Share(), agents=AGENTS):  # noqa: B008  # frozen
    """The agents of a share of the whole, all with the same model."""
    for _ in filter(share.__contains__, range(agents)):
        np.random.seed(0)
        yield build()


def observed(step, index, agent_sizes):
    return [(7 * step + 3 * index + n) % size for n, size in enumerate(agent_sizes)]


def seeds_of(step, indices):
    return [(7919 * index + step) * 2654435761 % 2**32 for index in indices]


def of_all(agents, learning=(), steps=STEPS):
    """A loop over PyMDP's own agents, each seeded by hand; what they did and are."""
    done = []
    for step in range(steps):
        row = []
        for index, agent in enumerate(agents):
            np.random.seed(*seeds_of(step, [index]))
            first = getattr(agent, "action", None) is None
            seen = observed(step, index, agent.num_obs)
            row.append(take_turn(agent, seen, learning, first=first).action)
        done.append(row)
    return np.array(done), [held(agent) for agent in agents]


def in_stripes(build, stripes, plan, learning=(), steps=STEPS):
    """The same of populations of which each has a stripe."""
    sizes, done, are = build().num_obs, [None] * AGENTS, [None] * AGENTS
    for first in range(stripes):
        share = Share(first, stripes)
        passes, options = PLANS[plan]
        with memprof.optimize(built(build, share), passes, **options) as population:
            whole = [share.index(own) for own in range(len(population))]
            mine = []
            for step in range(steps):
                seen = [observed(step, index, sizes) for index in whole]
                seeds = seeds_of(step, whole)
                mine.append(population.act(seen, learning=learning, seeds=seeds))
            for own, index in enumerate(whole):
                done[index] = [step[own] for step in mine]
                with population.activate(own) as agent:
                    are[index] = held(agent)
    return np.array(done).swapaxes(0, 1), are


def held(agent):
    """What an agent believes, has learned and drawn."""
    learned = [getattr(agent, name) for name in ("pA", "pB", "pD")]
    arrays = [
        *agent.qs,
        agent.q_pi,
        *(each for given in learned if given is not None for each in given),
    ]
    return [array.tobytes() for array in arrays], getattr(agent, "whim", None)


@once
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("plan", PLANS)
def test_stripes_of_a_population_are_the_population_bit_by_bit(plan, model):
    build, learning = MODELS[model]
    expected = of_all([*built(build)], learning)
    assert len(np.unique(expected[0], axis=1)) > 1, "chance matters"
    for stripes in (1, 2, 7):
        found = in_stripes(build, stripes, plan, learning)
        assert np.array_equal(found[0], expected[0])
        assert found[1] == expected[1]


@once
@pytest.mark.parametrize("model", ["ties", "stochastic"])
def test_neither_the_order_nor_the_parts_matter_in_which_turns_are_taken(model, monkeypatch):
    build, _ = MODELS[model]
    sizes, who = build().num_obs, [*range(AGENTS)]
    expected, are = of_all([*built(build)])
    for part in (batch_turns.TOGETHER, 9):
        for module in (acting, batch_turns):
            monkeypatch.setattr(module, "TOGETHER", part)
        with memprof.optimize(built(build), BATCH) as population:
            for step in range(STEPS):
                order = np.random.default_rng(step).permutation(who).tolist()
                half = len(order) // 2
                for some in (order[:half], order[half:]):
                    seen = {index: observed(step, index, sizes) for index in some}
                    did = population.act(seen, seeds=np.array(seeds_of(step, some)))
                    assert np.array_equal(did, expected[step][some])
            assert "taken together" in str(population.plan)
            for index in who:
                with population.activate(index) as agent:
                    assert held(agent) == are[index]


@once
def test_sums_in_another_order_leave_actions_what_they_are():
    """Under the pass `batch`, which adds up as arrays where there is company."""
    expected, _ = of_all([*built(maze)])
    for stripes in (1, 2, 7):
        assert np.array_equal(in_stripes(maze, stripes, "batch")[0], expected)
        found = in_stripes(maze, stripes, "auto")
        assert found[1] == of_all([*built(maze)])[1], "where PyMDP adds up"


@pytest.mark.parametrize("plan", PLANS)
def test_the_users_random_numbers_go_on_as_if_nobody_had_drawn(plan):
    build, _ = MODELS["of a class of its own"]
    passes, options = PLANS[plan]
    with memprof.optimize(built(build, agents=12), passes, **options) as population:
        np.random.seed(5)
        expected = np.random.random(3)
        np.random.seed(5)
        found = [np.random.random()]
        population.act([[1]] * 12, seeds=range(12))
        found.append(np.random.random())
        with pytest.raises(IndexError) as failed:
            population.act([[1]] * 11 + [[99]], seeds=range(12))
        assert failed.value.__notes__ == ["agent 11 of the population, observing [99]"]
        found.append(np.random.random())
        assert found == expected.tolist()


@once
def test_who_acts_in_the_turn_of_another_draws_from_its_own_seed():
    build = MODELS["stochastic"][0]

    class Host(Agent):
        def infer_policies(self):
            self.guests = population.act({2: [1], 3: [1]}, seeds=[8, 9])
            self.next = np.random.random()
            return super().infer_policies()

    with memprof.optimize([Host(**grid_world(4, "")(0).arguments)], BATCH) as population:
        for _ in range(11):
            population.add(build())
        population.act({0: [1], 1: [1]}, seeds=[4, 5])
        with population.activate(0) as agent:
            guests, then = agent.guests, agent.next
    for seed, did in zip((8, 9), guests, strict=True):
        np.random.seed(seed)
        assert np.array_equal(take_turn(build(), [1], first=True).action, did)
    np.random.seed(4)
    assert np.random.random() == then, "its own numbers go on"


def test_seeds_that_are_none_are_refused_before_anybody_acts():
    with memprof.optimize(built(grid(), agents=3)) as population:
        for seeds, said in (
            ([1, 2], r"seeds: expected one for each of 3 agents, found \[1, 2\]"),
            ([1, 2, 2**32], r"seeds: expected whole numbers below 2\*\*32.*4294967296"),
            ([1, -2, 3], r"seeds: expected whole numbers .*-2"),
            ([1, 2.5, 3], r"seeds: expected whole numbers .*2\.5"),
            ([True, False, True], r"seeds: expected whole numbers .*True"),
        ):
            with pytest.raises(UsageError, match=said):
                population.act([[1]] * 3, seeds=seeds)
        with population.activate(0) as agent:
            assert agent.action is None
        assert population.act([], [], seeds=[]).shape == (0,)


def look(agent, observation):
    agent.infer_states([observation])
    agent.seen = [*getattr(agent, "seen", []), observation]
    return observation, len(agent.seen)


@pytest.mark.parametrize("plan", PLANS)
def test_a_step_of_the_users_own_is_taken_agent_by_agent(plan):
    passes, options = PLANS[plan]
    with memprof.optimize(built(grid(), agents=4), passes, **options) as population:
        population.remove(1)
        assert population.map(look, [5, 6, 7]) == [(5, 1), (6, 1), (7, 1)]
        assert population.map(look, {3: 1, 0: 2}) == [(1, 2), (2, 2)]
        assert population.map(look, (each for each in [3]), [2]) == [(3, 2)]
        assert population.map(look, [], []) == []
        for index, seen in ((0, [5, 2]), (2, [6, 3]), (3, [7, 1])):
            with population.activate(index) as agent:
                assert agent.seen == seen
        own = grid()()
        own.infer_states([6])
        own.infer_states([3])
        with population.activate(2) as agent:
            assert agent.qs[0].tobytes() == own.qs[0].tobytes()
        with pytest.raises(IndexError) as failed:
            population.map(look, {0: 1, 2: 99, 3: 4})
        assert failed.value.__notes__ == ["agent 2 of the population, observing 99"]
        for index, seen in ((0, [5, 2, 1]), (2, [6, 3]), (3, [7, 1])):
            with population.activate(index) as agent:
                assert agent.seen == seen, "those before it have taken their steps"
        with pytest.raises(UsageError, match="expected one for each of 3 agents, found 2"):
            population.map(look, [1, 2])
        with pytest.raises(IndexError, match="agent 1 was removed"):
            population.map(look, {1: 0})
    with pytest.raises(UsageError, match="closed"):
        population.map(look, [])
