"""Pass `batch`: agents whose models are equal take their turns together, as in a loop over PyMDP's
own agents, and all others as ever."""

import gc
import weakref

import numpy as np
import pytest

import memprof
from memprof.errors import AgentActive, UsageError
from memprof.models.built_in import grid_world, t_maze
from memprof.optimise import group
from memprof.optimise.sums import BOUND
from memprof.populations import batch_turns
from memprof.populations.seeds import below, uniform, words
from memprof.populations.turn import take_turn
from memprof.storage.company import LEAST
from memprof.upstream.installed import PACKAGE, package_of
from memprof.upstream.numpy_agent import Agent
from tests import property_batch
from tests.property_batch import alone

pytestmark = pytest.mark.skipif(package_of("numpy") == PACKAGE, reason="PyMDP 1.0 and newer")
AGENTS, STEPS = 2 * LEAST + 3, 5
PASSES = ["history", "pool", "batch"]


def grid(**options):
    arguments = grid_world(4, "")(0).arguments
    return lambda: Agent(**{**arguments, "policy_len": 1, **options})


def maze():
    arguments = t_maze(0.9, "")(0).arguments
    return Agent(**arguments, policy_len=2)


MODELS = {
    "ties": grid(),
    "inductive": lambda: Agent(**grid_world(4, "", True)(0).arguments, policy_len=2),
    "stochastic": grid(action_selection="stochastic", policy_len=2),
    "policies sampled": grid(sampling_mode="full", action_selection="stochastic"),
    "several factors": maze,
}


def observed(step, agent, build):
    outcomes = build().num_obs
    return [(7 * step + 3 * agent + modality) % n for modality, n in enumerate(outcomes)]


def lived(build, act, steps=STEPS):
    """Everybody acts, some do, everybody does."""
    np.random.seed(3)
    found = []
    for step in range(steps):
        who = range(AGENTS) if step % 2 == 0 else [9, 2, 17, 4, 0]
        found.extend(act([observed(step, agent, build) for agent in who], [*who]))
    return np.array(found), np.random.random()


def by_hand(agents):
    def act(seen, who):
        turns = zip(who, seen, strict=True)
        return [
            take_turn(agents[i], each, first=agents[i].action is None).action for i, each in turns
        ]

    return act


def together(build, passes=PASSES):
    return memprof.optimize((build() for _ in range(AGENTS)), passes)


@pytest.mark.parametrize("model", MODELS)
def test_all_do_and_believe_what_pymdps_own_do(model):
    build = MODELS[model]
    plain = [build() for _ in range(AGENTS)]
    expected = lived(build, by_hand(plain))
    with together(build) as population:
        found = lived(build, population.act)
        assert np.array_equal(found[0], expected[0])
        assert found[1] == expected[1], "as many random numbers"
        assert alone(population) == {}
        for index in (0, 9, AGENTS - 1):
            with population.activate(index) as agent:
                assert property_batch.unlike(vars(plain[index]), vars(agent)) is None


def test_random_agents_with_random_lives():
    assert property_batch.look_at(count=12, seed=1).differ == 0


def test_who_was_used_alone_acts_with_the_others_again():
    build = MODELS["ties"]
    plain = [build() for _ in range(AGENTS)]
    with together(build) as population:
        for step in range(4):
            np.random.seed(step)
            seen = [observed(step, agent, build) for agent in range(AGENTS)]
            expected = by_hand(plain)(seen, range(AGENTS))
            np.random.seed(step)
            assert np.array_equal(population.act(seen), expected)
            assert alone(population) == {}
            for agent in (plain[step], population.activate(step)):
                if agent is plain[step]:
                    agent.qs[0] = np.roll(agent.qs[0], 1)
                else:
                    with agent as mine:
                        mine.qs[0] = np.roll(mine.qs[0], 1)


def test_others_take_their_turns_in_between():
    """Whose class, model or state is another one, in one order with all the others."""

    class Own(Agent):
        def infer_policies(self):
            np.random.random()
            return super().infer_policies()

    usual, other = MODELS["stochastic"], grid(policy_len=2, gamma=4.0)
    arguments = grid_world(4, "")(0).arguments

    def kinds():
        agents = [usual() for _ in range(AGENTS)]
        agents[3] = Own(**arguments)
        agents[5] = other()
        agents[8] = Agent(**arguments, save_belief_hist=True)
        agents[12].infer_states = agents[12].infer_states
        return agents

    expected = lived(usual, by_hand(kinds()))
    with memprof.optimize(kinds(), PASSES) as population:
        found = lived(usual, population.act)
        assert np.array_equal(found[0], expected[0])
        assert found[1] == expected[1]
        assert alone(population) == {
            "Own has its own infer_policies": 3,
            "fewer than 8 are alike in model and attributes": 3,
            "they keep their past beliefs (save_belief_hist)": 3,
            "Agent has its own infer_states": 3,
        }


def test_what_an_agent_of_the_users_holds_twice_stays_one_object():
    agents = [MODELS["ties"]() for _ in range(AGENTS)]
    agents[11].remembered = agents[11].qs
    with memprof.optimize(agents, PASSES) as population:
        population.act({index: [3] for index in range(AGENTS) if index != 11})
        with population.activate(11) as agent:
            assert agent.remembered is agent.qs
        population.act([3] * AGENTS)
        assert alone(population) == {"others hold what they believe or did": 1}
        with population.activate(11) as agent:
            assert agent.remembered is not agent.qs
            assert np.array_equal(agent.remembered[0], np.full(16, 1 / 16))


def test_names_and_numbers_of_the_users_may_differ(tmp_path):
    odd = [None, True, 1, 1.0, -0.0, float("nan"), 2**80, "", "a\0", "\ud800", b"b\0"]

    def named():
        agents = [MODELS["ties"]() for _ in range(AGENTS)]
        for index, agent in enumerate(agents):
            agent.name, agent.mark = f"agent {index}", odd[index % len(odd)]
        return agents

    def state(agent):
        own = {**vars(agent), "prev_actions": [*agent.prev_actions]}
        return [(name, repr(value)) for name, value in own.items()]

    own = named()
    expected = lived(MODELS["ties"], by_hand(own))
    with memprof.optimize(named(), PASSES) as population:
        found = lived(MODELS["ties"], population.act)
        assert np.array_equal(found[0], expected[0])
        assert alone(population) == {}
        with population.activate(3) as agent:
            agent.name = own[3].name = "another"
            del agent.mark, own[3].mark
        population.remove(5)
        for act in (population.act, by_hand(own)):
            np.random.seed(5)
            act([[3]] * 4, range(4))
        population.save(tmp_path / "agents")
        for several in (population, population.copy(), memprof.reopen(tmp_path / "agents")):
            with several:
                for index in {*range(AGENTS)} - {5}:
                    with several.activate(index) as agent:
                        assert state(agent) == state(own[index])


def test_those_who_act_a_few_at_a_time_find_each_other():
    with together(MODELS["ties"]) as population:
        for first in range(0, 12, 4):
            population.act([3] * 4, range(first, first + 4))
        assert alone(population) == {"fewer than 8 are alike in model and attributes": 4}
        population.act([3] * 4, range(4))
        assert alone(population) == {}


def test_the_ledger_and_the_plan_tell_what_there_is():
    with together(MODELS["ties"]) as population:
        lived(MODELS["ties"], population.act)
        with population.activate(3):
            pass
        memory = population.memory()
        ((records,)) = [row for row in memory.rows if row.component == "records"]
        cohorts = population._plan.records.cohorts()
        assert records.private_bytes > sum(each.nbytes for each in cohorts) > 0
        effect = population.plan.passes[-1].effect
        assert effect.startswith(f"{AGENTS - 1} agents in columns of ")
        assert "1 agent as records of" in effect
        assert f"  batch: {effect}" in str(memory)


def test_agents_come_and_go():
    build = MODELS["ties"]
    with together(build) as population:
        seen = [[agent % 16] for agent in range(AGENTS)]
        population.act(seen)
        for index in range(0, AGENTS, 2):
            population.remove(index)
        held = weakref.ref(population._roster._plan.records[1])
        there = [*range(1, AGENTS, 2)]
        population.act({index: [3] for index in there})
        gc.collect()
        assert held() is None, "a cohort of few agents is made anew"
        assert population.add(build()) == AGENTS
        actions = population.act([3] * len(population))
        assert actions.shape == (len(there) + 1, 1)
        with pytest.raises(IndexError, match="removed"):
            population.act({0: [3]})
        for index in (*there, AGENTS):
            population.remove(index)
        assert len(population) == 0
        assert population.act([]).size == 0


def test_a_copy_and_a_folder_hold_the_same(tmp_path):
    build = MODELS["ties"]
    with together(build) as population:
        lived(build, population.act)
        population.save(tmp_path / "agents")
        with population.copy() as other, memprof.reopen(tmp_path / "agents") as third:
            expected = lived(build, population.act)
            for each in (other, third):
                found = lived(build, each.act)
                assert np.array_equal(found[0], expected[0])


def test_a_limit_of_history_holds():
    build = MODELS["ties"]
    agents = (build() for _ in range(AGENTS))
    with memprof.optimize(agents, PASSES, history_steps=3) as population:
        done = [population.act([step % 16] * AGENTS)[0] for step in range(100)]
        with population.activate(0) as agent:
            assert np.array_equal(agent.prev_actions, done[-3:])
            assert agent.curr_timestep == 100
            assert agent.prev_actions[-1] is agent.action


def test_an_error_leaves_those_before_it_as_they_acted():
    build = MODELS["ties"]
    plain = [build() for _ in range(AGENTS)]
    with together(build) as population:
        seen = [[agent % 16] for agent in range(AGENTS)]
        seen[6] = [99]
        with pytest.raises(IndexError) as caught:
            population.act(seen)
        assert "agent 6 of the population, observing [99]" in caught.value.__notes__
        for index, agent in enumerate(plain[:6]):
            agent.infer_states(seen[index])
            agent.infer_policies()
        for index in range(AGENTS):
            with population.activate(index) as agent:
                assert agent.curr_timestep == (1 if index < 6 else 0)
                assert np.array_equal(agent.qs[0], plain[index].qs[0])


def test_observations_as_pymdp_takes_them():
    build = MODELS["ties"]
    distribution = np.full(16, 1 / 16)
    seen = [3] * AGENTS
    seen[1], seen[2], seen[4] = [np.int32(3)], np.array([3]), (3,)
    plain = [build() for _ in range(AGENTS)]
    with together(build) as population:
        population.act(np.array([3] * AGENTS))
        population.act(seen)
        assert alone(population) == {}
        seen[5] = [distribution]
        population.act(seen)
        assert alone(population) == {"their observations are no index for each modality": 1}
        with population.activate(5) as agent:
            for each in ([3], [3], [distribution]):
                take_turn(plain[5], each, first=False)
            assert agent.curr_timestep == 3


def test_an_agent_in_use_does_not_act():
    with together(MODELS["ties"]) as population:
        with population.activate(4), pytest.raises(AgentActive):
            population.act([3] * AGENTS)
        assert population.act([3] * AGENTS).shape == (AGENTS, 1)


@pytest.mark.parametrize("wrong", ["beliefs", "policies", "choice"])
def test_a_turn_that_differs_from_pymdps_is_not_taken_together(monkeypatch, wrong):
    build = MODELS["ties"]
    plain = [build() for _ in range(AGENTS)]
    if wrong == "choice":
        right = group.choose

        def off(*given, **more):
            found = right(*given, **more)
            found.actions[:] = (found.actions + 1) % 5
            found.draws[:] = False
            return found

        monkeypatch.setattr(group, "choose", off)
    else:
        right = group.softmax
        calls = iter(range(10**6))
        which = 0 if wrong == "beliefs" else 1

        def shifted(rows):
            found = right(rows)
            return np.roll(found, 1, axis=1) if next(calls) % 2 == which else found

        monkeypatch.setattr(group, "softmax", shifted)
    expected = lived(build, by_hand(plain))
    with together(build) as population:
        found = lived(build, population.act)
        assert np.array_equal(found[0], expected[0])
        assert alone(population) == {"their turn differs from PyMDP's own": len(found[0])}


def test_a_method_of_pymdps_that_somebody_replaced_is_called(monkeypatch):
    build, calls = MODELS["ties"], []
    right = Agent.infer_policies
    with together(build) as population:
        population.act([3] * AGENTS)
        monkeypatch.setattr(Agent, "infer_policies", lambda self: calls.append(1) or right(self))
        population.act([3] * AGENTS)
        assert len(calls) == AGENTS
        ((why, agents),) = alone(population).items()
        assert "is not known" in why
        assert agents == AGENTS
        monkeypatch.undo()
        population.act([3] * AGENTS)
        assert alone(population) == {}


def test_what_the_last_bits_decide_pymdp_decides():
    """Two goals that are equally far: beliefs of several factors are summed in another order."""
    from memprof.optimise.sums import AllAtOnce

    sums = AllAtOnce(None, np.zeros(3, bool))
    numbers = np.array([[0.1], [0.5 + 1e-13], [0.9]])
    sums.doubt(numbers, 0.5)
    assert not sums.doubtful.any(), "exact so far"
    sums.product(np.eye(2), [np.eye(2)])
    sums.doubt(numbers, 0.5)
    assert sums.doubtful.tolist() == [False, True, False]
    assert BOUND < 1e-11


def test_what_it_does_not_go_with():
    for other in ("float32", "belief", "sparse", "mmap"):
        with pytest.raises(UsageError, match=f"'batch' and '{other}' exclude each other"):
            memprof.optimize([], [other, "batch"])


def test_seeds_draw_what_numpy_draws():
    seeds = [0, 1, 2**32 - 1, *np.random.default_rng(0).integers(0, 2**32, 200).tolist()]
    drawn, limits = words(seeds, 20), np.random.default_rng(1).integers(1, 8, (len(seeds), 2))
    found, enough = below(drawn[6:], limits)
    assert enough.mean() > 0.9
    for place, seed in enumerate(seeds):
        np.random.seed(seed)
        assert np.array_equal(np.random.random_sample(3), uniform(drawn[:6])[:, place])
        expected = [np.random.choice(limit) if limit > 1 else 0 for limit in limits[place]]
        assert not enough[place] or found[place].tolist() == expected


@pytest.mark.parametrize("passes", ["auto", PASSES])
def test_all_cohorts_of_a_model_are_told_what_the_first_one_finds(monkeypatch, passes):
    """That its sums have no exact order, or that its turn is not PyMDP's."""
    monkeypatch.setattr(batch_turns, "_MOST", 8)
    build = MODELS["several factors"]
    if passes is PASSES:
        monkeypatch.setattr(batch_turns.Turns, "_agrees", lambda *_: False)
    plain = [build() for _ in range(AGENTS)]
    expected = lived(build, by_hand(plain), 3)
    with memprof.optimize((build() for _ in range(AGENTS)), passes) as population:
        found = lived(build, population.act, 3)
        assert np.array_equal(found[0], expected[0])
        ((why, turns),) = alone(population).items()
        assert "another order" in why or "differs" in why
        assert turns == len(expected[0])


def test_by_default_turns_are_taken_together_where_they_have_pymdps_bits():
    for model, reordered in (("ties", False), ("several factors", True)):
        build = MODELS[model]
        plain = [build() for _ in range(AGENTS)]
        expected = lived(build, by_hand(plain))
        with memprof.optimize(build() for _ in range(AGENTS)) as population:
            found = lived(build, population.act)
            assert np.array_equal(found[0], expected[0])
            assert any("in another order" in why for why in alone(population)) is reordered
            assert (population._plan.storage.company.together > 0) is not reordered
            for index in (0, 9, AGENTS - 1):
                with population.activate(index) as agent:
                    assert property_batch.unlike(vars(plain[index]), vars(agent), bound=0) is None
