"""Pass `batch` at its limits: what PyMDP computes in another way, refuses, or decides on the last
bits it takes itself, and agents that several threads use stay whole."""

import sys
import threading
from typing import ClassVar

import numpy as np
import pytest

import memprof
from memprof.errors import AgentActive, UsageError
from memprof.models.built_in import grid_world, t_maze
from memprof.populations.turn import take_turn
from memprof.storage.past import Past
from memprof.upstream.installed import PACKAGE, package_of
from memprof.upstream.numpy_agent import Agent
from tests.property_batch import alone, unlike

pytestmark = pytest.mark.skipif(package_of("numpy") == PACKAGE, reason="PyMDP 1.0 and newer")
AGENTS = 10
PASSES = ["history", "pool", "batch"]
GRID = {**grid_world(4, "")(0).arguments, "policy_len": 1}
MAZE = {**t_maze(0.9, "")(0).arguments, "policy_len": 2}
UNREAD = "their observations are no index for each modality"


def objects(*arrays):
    found = np.empty(len(arrays), dtype=object)
    found[:] = [*map(np.asarray, arrays)]
    return found


def distributions(seed, *shape):
    found = np.random.default_rng(seed).random(shape) + 0.05
    return found / found.sum(axis=0)


class Both:
    """Plain agents, and the same in a population, that live the same life."""

    def __init__(self, build):
        self.plain = [build() for _ in range(AGENTS)]
        self.population = memprof.optimize((build() for _ in range(AGENTS)), PASSES)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.population.close()

    def change(self, change, *indices):
        for index in indices or range(AGENTS):
            change(self.plain[index])
            with self.population.activate(index) as agent:
                change(agent)

    def act(self, seen, seed=0):
        """All act; the error that plain agents end with, and ours."""
        np.random.seed(seed)
        theirs, failed = [], None
        for index, (agent, each) in enumerate(zip(self.plain, seen, strict=True)):
            try:
                theirs.append(take_turn(agent, each, first=getattr(agent, "action", 0) is None))
            except Exception as error:
                failed = index, type(error)
                break
        drawn = np.random.random()
        np.random.seed(seed)
        if failed is None:
            ours = self.population.act(seen)
            assert np.array_equal([each.action for each in theirs], ours)
            assert np.random.random() == drawn
        else:
            with pytest.raises(failed[1]) as caught:
                self.population.act(seen)
            assert any(f"agent {failed[0]} of" in note for note in caught.value.__notes__)
        for index, agent in enumerate(self.plain):
            with self.population.activate(index) as mine:
                assert [*vars(agent)] == [*vars(mine)]
                assert failed or unlike(vars(agent), vars(mine)) is None
                assert getattr(agent, "curr_timestep", 0) == getattr(mine, "curr_timestep", 0)

    def seen(self, step):
        outcomes = self.plain[0].num_obs
        return [[(5 * step + 3 * i + m) % n for m, n in enumerate(outcomes)] for i in range(AGENTS)]


def test_indices_and_distributions_may_be_mixed():
    with Both(lambda: Agent(**MAZE)) as both:
        seen = both.seen(0)
        seen[3] = [1, np.full(3, 1 / 3), 0]
        both.act(seen)
        assert alone(both.population) == {UNREAD: 1}


def test_an_array_of_three_dimensions_is_what_pymdp_takes_it_for():
    with Both(lambda: Agent(**GRID)) as both:
        both.act(np.full((AGENTS, 1), 3))
        assert alone(both.population) == {}
        both.act(np.full((AGENTS, 1, 1), 3))
        assert alone(both.population) == {UNREAD: AGENTS}


@pytest.mark.parametrize(
    "change",
    [
        lambda agent: setattr(agent, "E", None),
        lambda agent: setattr(agent, "C", objects(np.zeros(5))),
        lambda agent: setattr(agent, "C", objects()),
        lambda agent: setattr(agent, "A_factor_list", [[0], [0]]),
        lambda agent: setattr(agent, "gamma", None),
        lambda agent: setattr(agent, "curr_timestep", 2**70),
        lambda agent: setattr(agent, "policies", [np.array([[k], [k + 3]]) for k in range(5)]),
        lambda agent: delattr(agent, "action"),
        lambda agent: delattr(agent, "gamma"),
        lambda agent: agent.action.__setitem__(0, -0.0),
        lambda agent: agent.action.__setitem__(0, 7),
    ],
)
def test_what_pymdp_makes_of_odd_attributes_is_what_happens(change):
    with Both(lambda: Agent(**GRID)) as both:
        both.act(both.seen(0))
        both.change(change)
        both.act(both.seen(1))
        assert sum(alone(both.population).values()) >= 1


def test_one_odd_agent_fails_in_its_turn():
    """Its last action is one of another factor's."""
    with Both(lambda: Agent(**MAZE)) as both:
        both.act(both.seen(0))
        both.change(lambda agent: agent.action.__setitem__(1, 3), 5)
        both.act(both.seen(1))
        assert both.plain[4].curr_timestep == 2


def test_a_factor_of_one_state_fails_as_in_pymdp():
    A, B = objects(np.array([[0.5], [0.5]])), objects(np.ones((1, 1, 2)))
    with Both(lambda: Agent(A=A, B=B)) as both:
        both.act(both.seen(0))


def test_factors_in_another_order_are_left_to_pymdp():
    """Its free energy takes a likelihood's axes for those of ascending factors, which decides after
    how many iterations it stops."""
    A = objects(distributions(0, 3, 4, 4), distributions(1, 2, 4, 4))
    B = objects(distributions(2, 4, 4, 2), distributions(3, 4, 4, 2))
    with Both(lambda: Agent(A=A, B=B, A_factor_list=[[0, 1], [1, 0]])) as both:
        for step in range(2):
            both.act(both.seen(step))
        ((why, turns),) = alone(both.population).items()
        assert "ascending" in why
        assert turns == 2 * AGENTS


def test_the_likeliest_of_states_that_are_equal_is_pymdps():
    """Inductive costs go by it, and sums of several states differ in the last bits."""
    row = np.random.default_rng(4).random(6)
    row /= row.sum()
    by_action = [np.stack([np.roll(row, k + a) for k in range(6)], axis=1) for a in range(3)]
    B = objects(np.stack(by_action, axis=-1), np.stack(by_action, axis=-1))
    goals = objects(np.eye(6)[2], np.eye(6)[4])
    both = Both(
        lambda: Agent(
            A=objects(np.full((2, 6, 6), 0.5)), B=B, H=goals, ii_threshold=0.2, ii_depth=4
        )
    )
    with both:
        for step in range(4):
            both.act(both.seen(step), step)
        assert alone(both.population) == {"PyMDP decides on the last bits": 4 * AGENTS}


@pytest.mark.parametrize("large", [{"gamma": 1e6}, {"alpha": 1e9}, {"alpha": np.inf}])
def test_a_precision_that_makes_much_of_the_last_bits_is_left_to_pymdp(large):
    A = objects(distributions(0, 3, 4, 3), distributions(1, 4, 3))
    B = objects(distributions(2, 4, 4, 3), distributions(3, 3, 3, 2))
    options = {"A_factor_list": [[0, 1], [1]], "action_selection": "stochastic", **large}
    with Both(lambda: Agent(A=A, B=B, **options)) as both:
        both.act(both.seen(0))
        (why,) = alone(both.population)
        assert "so large" in why


def test_nothing_is_proven_by_agents_that_were_not_compared(monkeypatch):
    from memprof.optimise import group

    right = group.Group.turn

    def off(self, observations, beliefs, actions):
        found = right(self, observations, beliefs, actions)
        found.doubtful[:] = np.arange(AGENTS) != 4
        found.energies[:] += 1
        return found

    monkeypatch.setattr(group.Group, "turn", off)
    with Both(lambda: Agent(**GRID)) as both:
        both.act(both.seen(0))
        assert alone(both.population) == {"their turn differs from PyMDP's own": AGENTS}


def test_a_function_of_numpys_that_somebody_replaced_is_called(monkeypatch):
    with Both(lambda: Agent(**GRID)) as both:
        with memprof.thread_random():
            both.act([[0]] * AGENTS)
        assert alone(both.population) == {}
        monkeypatch.setattr(np.random, "choice", lambda count: count - 1)
        both.act([[0]] * AGENTS)
        assert alone(both.population) == {"np.random.choice is not NumPy's": AGENTS}


class Nosy(Agent):
    """One of others that it has act, or uses, while it infers."""

    def infer_states(self, observation, distr_obs=False):
        while asked:
            asked.pop()()
        return super().infer_states(observation, distr_obs)


asked: list = []


def test_an_agent_whose_turn_is_in_the_making_is_in_use():
    agents = [Agent(**GRID) for _ in range(3 * AGENTS)]
    agents[5] = Nosy(**GRID)
    with memprof.optimize(agents, PASSES) as population:
        population.act([3] * len(agents))
        met = []

        def meet(index):
            try:
                with population.activate(index) as agent:
                    met.append(agent.curr_timestep)
            except AgentActive:
                met.append("in use")

        several = [*range(20, 3 * AGENTS)]
        asked[:] = [lambda: meet(0), lambda: meet(25), lambda: population.act([3] * 10, several)]
        population.act([3] * 20, range(20))
        assert met == [2, "in use"]
        for index in range(3 * AGENTS):
            with population.activate(index) as agent:
                assert len(agent.prev_actions) == agent.curr_timestep == 2


def test_a_population_whose_agents_act_is_not_closed():
    agents = [Agent(**GRID) for _ in range(2 * AGENTS)]
    agents[5] = Nosy(**GRID)
    met = []

    def close():
        with pytest.raises(UsageError, match=r"agents 0, 1, 2, .*, [.]{3} are active"):
            population.close()
        met.append("refused")

    with memprof.optimize(agents, PASSES) as population:
        asked.append(close)
        population.act([3] * len(agents))
        assert met == ["refused"]


def test_threads_whose_agents_rest_in_one_cohort():
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    count, rounds, errors = 60, 40, []
    try:
        with memprof.optimize((Agent(**GRID) for _ in range(count)), PASSES) as population:
            population.act([3] * count)

            def act(who):
                try:
                    for _ in range(rounds):
                        population.act([3] * len(who), who)
                except BaseException as error:
                    errors.append(error)

            def use(who):
                try:
                    for index in [*who] * (rounds // 4):
                        with population.activate(index) as agent:
                            take_turn(agent, [3], first=False)
                except BaseException as error:
                    errors.append(error)

            lives = [(act, range(20)), (act, range(20, 40)), (use, range(40, 60, 5))]
            threads = [threading.Thread(target=live, args=(who,)) for live, who in lives]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert not errors
            for index in range(count):
                with population.activate(index) as agent:
                    turns = rounds if index < 40 else 0 if index % 5 else rounds // 4
                    assert len(agent.prev_actions) == agent.curr_timestep == turns + 1
    finally:
        sys.setswitchinterval(interval)


def test_a_class_that_somebody_changes_is_asked_from_then_on(monkeypatch):
    class Forager(Agent):
        pass

    calls = []
    with memprof.optimize((Forager(**GRID) for _ in range(AGENTS)), PASSES) as population:
        population.act([3] * AGENTS)
        assert alone(population) == {}
        Forager.step_time = lambda self: calls.append(1) or Agent.step_time(self)
        population.act([3] * AGENTS)
        assert len(calls) == AGENTS
        assert alone(population) == {"Forager has its own step_time": AGENTS}


def test_a_history_that_is_its_classs_is_appended_to():
    class Forager(Agent):
        qs_hist: ClassVar[list] = []

    with memprof.optimize((Forager(**GRID) for _ in range(AGENTS)), PASSES) as population:
        population.act([3] * AGENTS)
        assert len(Forager.qs_hist) == AGENTS


def test_one_who_sleeps_does_not_let_the_others_histories_grow():
    past, did = Past(3, 1, 5, 4), [[], [], []]
    sizes = []
    for step in range(600):
        rows = [0, 1] if step % 100 else [0, 1, 2]
        actions = np.array([[(step + row) % 5] for row in rows])
        past.append(np.array(rows), actions)
        for row, action in zip(rows, actions, strict=True):
            did[row].append(action)
        sizes.append(past.nbytes)
    assert max(sizes[300:]) <= 1.2 * max(sizes[:300])
    for row, found in enumerate(past.histories()):
        assert np.array_equal(found, did[row][-4:])
        assert np.array_equal(past.row(row), found)
