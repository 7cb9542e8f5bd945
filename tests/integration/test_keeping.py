"""`save` and `copy`: the same agents once more, in a folder or in memory."""

import copy
import os
import pickle
import signal

import numpy as np
import pytest

import memprof
from memprof.errors import StoreError, UsageError
from memprof.models import model_builder
from memprof.populations import step_seed
from memprof.storage.disk_records import DiskRecords
from memprof.upstream.numpy_agent import Agent, utils
from tests.conftest import ROOT


def model(kind="grid_world", **parameters):
    return model_builder({"kind": kind, **parameters}, str(ROOT))(0).arguments


class Diarist(Agent):
    """A user's class: a slot, one object in several places, views, arrays small and large."""

    __slots__ = ("__mood",)

    def __init__(self, **arguments):
        super().__init__(**arguments)
        self.__mood = {"calm": 1.0}
        self.diary = []
        self.alias, self.pages = self.diary, [[self.diary] * 2]
        self.counts = np.zeros(200)
        self.half = self.counts[::2]
        self.large = np.zeros((100, 100))
        self.noise = np.random.default_rng(0).random(10_000)
        self.plan = np.arange(3)
        self.plan.flags.writeable = False

    def live(self, observation, learning=()):
        self.infer_states(observation)
        if learning:
            self.update_A(observation)
        self.infer_policies()
        action = self.sample_action()
        self.alias.append(action)
        self.__mood["calm"] *= 0.5
        self.half[len(self.diary)] += 1
        self.counts[3] = -0.0
        self.large = self.large.copy()
        self.large[len(self.diary)] = 0.1
        self.noise = self.noise.copy()
        self.noise[:2] += 1
        return action


PLANS = {
    "chosen": ("auto", {}),
    "keeping little": ("auto", {"keep": ("qs",)}),
    "in place": (["share", "policies", "history"], {}),
    "rounded": (["float32", "share", "belief", "history"], {}),
    "sparse": (["sparse"], {}),
    "mixed storage": (["history", "pool", "template", "working_set"], {"working_set": "40 KiB"}),
    "in files": (["history", "mmap"], {}),
    "in a store": (["history", "pool", "mmap", "working_set"], {"working_set": "40 KiB"}),
}


def made(plan, tmp_path, agents=6, arguments=None, learning=(), kind=Diarist):
    """A population of agents that have lived, of which two have left."""
    passes, options = PLANS[plan]
    if plan == "in a store":
        options = {**options, "store": tmp_path / "original"}
    arguments = arguments or model(size=5)
    population = memprof.optimize((kind(**arguments) for _ in range(agents)), passes, **options)
    population.remove(0)
    live(population, range(3), learning)
    population.remove(3)
    return population


def live(population, steps, learning=()):
    """What the agents do, each with its own seed."""
    done = []
    for step in steps:
        for index in sorted(population.in_turn()):
            np.random.seed(step_seed(0, index, step))
            with population.activate(index) as agent:
                observation = [int(np.random.randint(size)) for size in agent.num_obs]
                done.append(agent.live(observation, learning).tobytes())
    return done


def everything(population):
    """The whole state of each agent, to the bit, with what is one object."""
    found = {}
    for index in sorted(population.in_turn()):
        with population.activate(index) as agent:
            found[index] = state_of(agent)
    return found


def state_of(agent):
    seen = {}
    state = {name: described(value, seen) for name, value in vars(agent).items()}
    mood = described(agent._Diarist__mood, seen) if isinstance(agent, Diarist) else None
    own = [agent.counts, agent.half, agent.plan] if isinstance(agent, Diarist) else []
    return type(agent), mood, state, [array.flags.writeable for array in own]


def described(value, seen):
    if isinstance(value, list | tuple | dict | np.ndarray):
        if id(value) in seen:
            return seen[id(value)][0]
        seen[id(value)] = len(seen), value
    if isinstance(value, np.ndarray) and value.dtype != object:
        return value.dtype.str, value.shape, value.strides, value.tobytes()
    if isinstance(value, dict):
        return [(key, described(each, seen)) for key, each in value.items()]
    if isinstance(value, list | tuple | np.ndarray):
        kind = "list" if isinstance(value, list) else type(value).__name__
        return kind, [described(each, seen) for each in value]
    return type(value).__name__, repr(value)


@pytest.mark.parametrize("plan", PLANS)
def test_a_saved_population_is_opened_as_it_was_and_the_first_goes_on(plan, tmp_path):
    with made(plan, tmp_path) as population, made(plan, tmp_path / "twin") as untouched:
        if "working_set" in population.passes:
            population.flush()
        before = population.memory().nominal_bytes
        population.save(tmp_path / "saved")
        assert population.memory().nominal_bytes == before, "agents rest as before"
        with memprof.reopen(tmp_path / "saved", Diarist, readonly=True) as saved:
            assert len(saved) == len(population) == 4
            assert everything(saved) == everything(population)
            for gone in (0, 3):
                with pytest.raises(IndexError, match="has left"), saved.activate(gone):
                    pass
        expected = live(untouched, range(3, 6))
        assert live(population, range(3, 6)) == expected, "the original is what it was"
        assert everything(population) == everything(untouched)
    with memprof.reopen(tmp_path / "saved", Diarist) as saved:
        if plan != "rounded":  # beliefs are rounded no more
            assert live(saved, range(3, 6)) == expected
        assert saved.add(Diarist(**model(size=5))) == 6
    assert {*os.listdir(tmp_path)} <= {"saved", "twin", "original"}


@pytest.mark.parametrize("plan", PLANS)
def test_a_copy_and_its_original_go_on_alone(plan, tmp_path):
    with made(plan, tmp_path) as population, made(plan, tmp_path / "twin") as untouched:
        with population.copy() as second:
            assert (len(second), second.passes[0]) == (4, population.passes[0])
            assert "mmap" not in second.passes
            live(second, range(10, 12))
            for each, value in ((second, "text"), (population, (1, 2.0))):  # records of new kinds
                with each.activate(1) as agent:
                    agent.note = value
                with each.activate(2) as agent:
                    agent.note = [value]
            for each, value in ((second, "text"), (population, (1, 2.0))):
                with each.activate(1) as agent, each.activate(2) as other:
                    assert (agent.note, other.note) == (value, [value])
                    del agent.note, other.note
            assert second.add(Diarist(**model(size=5))) == 6
            for index in sorted(second.in_turn()):
                second.remove(index)
        third = population.copy()
        expected = live(untouched, range(3, 6))
        assert live(population, range(3, 6)) == expected, "the second's life is not the first's"
        assert live(third, range(3, 6)) == expected
        assert everything(third) == everything(population) == everything(untouched)
        third.close()
        assert live(population, range(6, 7)) == live(untouched, range(6, 7))


def test_agents_that_stay_active_because_they_learn_are_saved_and_copied(tmp_path):
    """Such as `optimize` leaves them by itself; what they learn is theirs alone."""
    sizes = {"num_obs": [40, 3], "num_states": [50, 4], "num_controls": [2, 1]}
    arguments = model("random_pomdp", **sizes, seed=0)
    arguments |= {"pA": utils.dirichlet_like(arguments["A"])}
    with made("chosen", tmp_path, 4, arguments, "A") as population:
        assert "stay active" in population.because
        population.save(tmp_path / "saved")
        with memprof.reopen(tmp_path / "saved", Diarist) as saved, population.copy() as second:
            assert second.because == population.because
            assert everything(saved) == everything(second) == everything(population)
            expected = live(population, range(3, 5), "A")
            assert live(second, range(3, 5), "A") == expected
            assert live(saved, range(3, 5), "A") == expected
            second.remove(1)
            assert live(population, range(5, 6), "A") == live(saved, range(5, 6), "A")


def test_a_copy_takes_no_more_than_what_changes(tmp_path):
    """Records are one until they are replaced; so are arrays that `share` has united."""
    for passes in ("auto", ["share"]):
        agents = (Agent(**model(size=10)) for _ in range(20))
        with memprof.optimize(agents, passes) as population, population.copy() as second:
            mine, theirs = population._plan.records, second._plan.records
            if passes == "auto":
                assert all(mine[index] is theirs[index] for index in range(20))
            else:
                assert all(mine[index] is not theirs[index] for index in range(20))
                assert all(mine[index].B[0] is theirs[index].B[0] for index in range(20))
                assert all(mine[index].B is not theirs[index].B for index in range(20))


def test_agents_that_have_no_past_yet_keep_as_many_steps_as_the_others(tmp_path):
    """Wherever they are opened again; a history that has a limit of its own keeps that."""
    agents = [Agent(**model(size=4)) for _ in range(2)]
    with memprof.optimize(agents, history_steps=3) as population:
        population.act({0: [1]})
        population.save(tmp_path / "saved")
        second = population.copy()
    with memprof.reopen(tmp_path / "saved", history_steps=7) as population:
        population.act({0: [1]})
    with memprof.reopen(tmp_path / "saved") as saved:
        saved.save(tmp_path / "again")
        third = saved.copy()
        with second, third, memprof.reopen(tmp_path / "again") as again:
            for population, longest in ((second, 3), (third, 7), (saved, 7), (again, 7)):
                for _ in range(10):
                    population.act([[2], [3]])
                for index, limit in ((0, longest), (1, 3)):
                    with population.activate(index) as agent:
                        assert len(agent.prev_actions) == limit


# --- what cannot be kept


class World:
    """Something that agents know, and that is no value."""


def with_attribute(value):
    agent = Agent(**model(size=3))
    agent.mailbox = value
    return agent


@pytest.mark.parametrize("passes", ["auto", ["share"], ["mmap"]])
def test_what_a_folder_or_a_copy_cannot_keep_is_named(tmp_path, passes):
    mailbox = ["a letter"]
    for value, what in ((World(), "World"), (mailbox, "list, held elsewhere too")):
        with memprof.optimize([with_attribute(value)], passes) as population:
            del value
            with pytest.raises(UsageError, match=rf"mailbox \({what}\).*in memory$"):
                population.save(tmp_path / "saved")
            assert not [*tmp_path.iterdir()]
            with pytest.raises(UsageError, match=rf"mailbox \({what}\): a copy would share it"):
                population.copy()
            with population.activate(0) as agent:
                assert agent.mailbox is mailbox or type(agent.mailbox) is World
    assert mailbox == ["a letter"]


@pytest.mark.parametrize("passes", ["auto", ["share"]])
def test_a_copy_shares_functions_and_has_its_own_random_numbers(passes):
    with memprof.optimize([with_attribute(np.random.default_rng(7))], passes) as population:
        with population.activate(0) as agent:
            agent.mailbox.random()
            agent.greet = print
        with population.copy() as second:
            with second.activate(0) as other:
                drawn = [other.mailbox.random() for _ in range(3)]
                assert other.greet is print
            with population.activate(0) as agent:
                assert [agent.mailbox.random() for _ in range(3)] == drawn
    generator = np.random.default_rng(7)
    with (
        memprof.optimize([with_attribute(generator)], passes) as population,
        pytest.raises(UsageError, match=r"mailbox \(Generator\): a copy would share it"),
    ):
        population.copy()


def test_two_classes_an_empty_population_and_active_agents(tmp_path):
    agents = [Agent(**model(size=3)), Diarist(**model(size=3))]
    with memprof.optimize(agents) as population:
        with pytest.raises(UsageError, match=r"expected one class .* a population for each class"):
            population.save(tmp_path / "saved")
        with population.copy() as second:
            assert everything(second) == everything(population)
            assert [kind for kind, *_ in everything(second).values()] == [Agent, Diarist]
        for attempt in (lambda: population.save(tmp_path / "saved"), population.copy):
            with (
                population.activate(1),
                pytest.raises(UsageError, match="agent 1 is active; leave its"),
            ):
                attempt()
        population.remove(0)
        population.save(tmp_path / "saved")
        population.remove(1)
        with pytest.raises(UsageError, match="there is no agent"):
            population.save(tmp_path / "none")
        assert len(population.copy()) == 0
    with memprof.reopen(tmp_path / "saved", Diarist) as saved:
        assert [*everything(saved)] == [1]


# --- all or nothing


def test_a_save_that_fails_or_dies_leaves_nothing_that_opens(tmp_path, monkeypatch):
    with made("chosen", tmp_path) as population:
        append = DiskRecords.append

        def failing(error):
            def fail(self, record):
                if len(self) == 4:
                    if error is None:
                        os.kill(os.getpid(), signal.SIGKILL)
                    raise error
                return append(self, record)

            return fail

        for error in (KeyboardInterrupt(), StoreError("no room"), ValueError("a bug")):
            with monkeypatch.context() as patch:
                patch.setattr(DiskRecords, "append", failing(error))
                with pytest.raises(type(error)):
                    population.save(tmp_path / "saved")
            assert not [*tmp_path.iterdir()]
        child = os.fork()
        if child == 0:
            DiskRecords.append = failing(None)
            population.save(tmp_path / "saved")
            os._exit(1)
        assert os.waitpid(child, 0)[1] == signal.SIGKILL
        (left,) = tmp_path.iterdir()
        assert left.name.startswith(".saved.")
        for folder in (left, tmp_path / "saved"):
            with pytest.raises(StoreError):
                memprof.reopen(folder, Diarist)
        expected = everything(population)
        population.save(tmp_path / "saved")
    with memprof.reopen(tmp_path / "saved", Diarist) as saved:
        assert everything(saved) == expected


def test_a_folder_with_something_in_it_is_refused(tmp_path):
    (tmp_path / "mine").write_text("mine")
    with made("chosen", tmp_path / "other") as population:
        with pytest.raises(StoreError, match="it needs a new or empty folder"):
            population.save(tmp_path)
        assert (tmp_path / "mine").read_text() == "mine"
        (tmp_path / "empty").mkdir()
        population.save(str(tmp_path / "empty"))
    assert len(memprof.reopen(tmp_path / "empty", Diarist)) == 4


def test_a_store_that_is_open_to_read_is_saved_and_copied(tmp_path):
    made("in a store", tmp_path).close()
    with memprof.reopen(tmp_path / "original", Diarist, readonly=True) as reader:
        reader.save(tmp_path / "saved")
        with reader.copy() as second, memprof.reopen(tmp_path / "saved", Diarist) as saved:
            assert live(second, range(3, 4)) == live(saved, range(3, 4))
            assert everything(second) == everything(saved) != everything(reader)


@pytest.mark.parametrize("attempt", [pickle.dumps, copy.copy, copy.deepcopy])
def test_what_python_would_copy_wrongly_names_the_remedy(attempt):
    with (
        memprof.optimize([Agent(**model(size=3))]) as population,
        pytest.raises(TypeError, match=r"population\.save\(folder\).*population\.copy\(\)"),
    ):
        attempt(population)
