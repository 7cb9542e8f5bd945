"""Factories that return agents which the user's own code built."""

import numpy as np
import pytest

from memprof.errors import ScenarioError
from memprof.instruments import Stopwatch
from memprof.instruments.walker import walk
from memprof.populations.numpy_agents import NumpyPopulation
from memprof.scenario import load_scenario
from tests.conftest import digests_of

OWN = """
import functools
import numpy as np
from pymdp.legacy.agent import Agent

def model(cells=60):
    A, B, D = (np.empty(1, dtype=object) for _ in range(3))
    A[0] = np.full((cells, cells), 0.1 / (cells - 1))
    np.fill_diagonal(A[0], 0.9)
    B[0] = np.stack([np.roll(np.eye(cells), way, axis=0) for way in (-1, 0, 1)], axis=2)
    D[0] = np.full(cells, 1 / cells)
    return {"A": A, "B": B, "D": D}

class Forager(Agent):
    '''An agent with a copy of A, a count of visits, and a diary.'''

    def __init__(self, **arguments):
        super().__init__(**arguments)
        self.memory = self.A[0] * np.random.random()
        self.diary = []
        self.steps = 0
        self.name = "forager"

    def infer_states(self, observation):
        beliefs = super().infer_states(observation)
        self.steps += 1
        self.diary = [*self.diary, int(np.argmax(beliefs[0]))][-4:]
        return beliefs

class World:
    def reset(self):
        return 0

    def step(self, action):
        return int(action[0])

def keywords():
    return model()

def plain():
    return Agent(**model())

def forager():
    return Forager(**model())

def experienced():
    agent = forager()
    for observation in (1, 2):
        agent.infer_states([observation])
        agent.infer_policies()
        agent.sample_action()
    return agent

def with_world():
    return forager(), World()

def learner():
    return Forager(**model(), pA=np.array([10 * model()["A"][0], None], dtype=object)[:1])

def half():
    agent = plain()
    agent.A[0] = agent.A[0] * 0.5
    return agent

@functools.cache
def the_same():
    return plain()

@functools.cache
def one_each(agent):
    return plain()

class Counter(Agent):
    def infer_states(self, observation):
        self.visits[observation[0]] += 1
        return super().infer_states(observation)

def counter():
    agent = Counter(**model())
    agent.visits = np.zeros(60)
    return agent

class Mirror(Agent):
    def infer_states(self, observation):
        return self.itself.calm(observation)

    def calm(self, observation):
        return super().infer_states(observation)

def mirror():
    agent = Mirror(**model())
    agent.itself = agent
    return agent

class Fickle(Agent):
    def infer_policies(self):
        self.C[0][1] = 3.0
        return super().infer_policies()

def fickle():
    return Fickle(**model())

friends = []

class Friend(Agent):
    def infer_states(self, observation):
        friends[-1].curr_timestep
        return super().infer_states(observation)

def friend():
    friends.append(Friend(**model()))
    return friends[-1]

MMP = {"inference_algo": "MMP", "inference_horizon": 3, "save_belief_hist": True}

def looks_back():
    return {**model(), **MMP}

def looks_back_ready():
    return Agent(**model(), **MMP)

def looks_back_later(agent):
    return {**model(), **MMP, "save_belief_hist": agent == 1}

def looks_back_apart():
    return {**model(), **MMP, "policy_sep_prior": True, "use_BMA": False}

def looks_back_its_own_way():
    return Forager(**model(), **MMP)

def explodes():
    agent = forager()
    agent.infer_policies = None
    return agent
"""


@pytest.fixture
def own(scenario, tmp_path, monkeypatch):
    """A scenario of agents from a function in `OWN`."""
    import sys

    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "own.py").write_text(OWN)

    def write(function, **fields):
        model = {"kind": "factory", "callable": f"own:{function}", **fields.pop("model", {})}
        return scenario(model=model, **fields)

    yield write
    sys.modules.pop("own", None)


def lived(path, passes=(), steps=3):
    """A population of three agents that have lived."""
    population = NumpyPopulation(load_scenario(path).spec(passes), Stopwatch())
    for _ in population.live(population.grow(3), range(steps)):
        pass
    return population


def test_a_ready_agent_lives_as_one_from_the_same_keyword_arguments(own):
    assert digests_of(own("plain"), (), 3, 4) == digests_of(own("keywords"), (), 3, 4)


@pytest.mark.parametrize(
    "made", ["forager", "with_world", "experienced", "plain", "counter", "mirror"]
)
@pytest.mark.parametrize(
    "passes",
    [
        ("share",),
        ("share", "template"),
        ("share", "pool", "policies", "history", "template", "working_set"),
        ("share", "sparse"),
        ("mmap",),
    ],
    ids="+".join,
)
def test_passes_keep_the_behaviour_of_a_users_class(own, made, passes):
    path = own(made)
    assert digests_of(path, passes, 4, 5) == digests_of(path, (), 4, 5)


def test_passes_keep_what_a_users_class_adds(own):
    population = lived(own("forager"), ("share", "template"))
    agent = population._roster.wake(1)
    assert type(agent).__name__ == "Forager"
    assert (agent.steps, agent.name) == (3, "forager")
    assert len(agent.diary) == 3
    ratio = agent.memory / agent.A[0]
    assert ratio.min() == pytest.approx(ratio.max())
    assert 0 < ratio.min() < 1
    population.close()


def test_a_ready_agent_that_has_acted_elsewhere_begins_in_its_world(own):
    """Its last action belongs to another world; only PyMDP itself goes on from there."""
    population = lived(own("experienced"), steps=0)
    first = population._roster.at(0)
    assert first.action is not None
    next(iter(population.live(range(3), range(1))))
    assert first.diary[-1] in range(60)
    assert population._environments._states[0] in range(60)
    np.random.seed(0)
    seen = []
    population._environments.observe = lambda agent, action: seen.append(action) or (0,)
    list(population.live(range(1, 2), range(2)))
    assert seen[0] is None
    assert seen[1] is not None
    population.close()


def test_what_a_users_class_adds_has_its_own_rows_in_the_ledger(own):
    population = lived(own("forager"))
    rows = {row.component: row for row in walk(population.holdings(), 3)[0]}
    matrix = 60 * 60 * 8
    assert matrix * 3 <= rows["Forager.memory"].nominal_bytes <= (matrix + 200) * 3
    assert rows["Forager.memory"].private_resident_bytes >= matrix * 3
    assert rows["Forager.diary"].nominal_bytes > 0
    assert not {"Forager.steps", "Forager.name", "Forager.action", "Forager.mb_dict"} & {*rows}
    assert rows["other agent objects"].nominal_bytes < matrix
    population.close()


def test_the_world_of_a_ready_agent_is_its_own_a_b_and_d(own):
    population = lived(own("forager"))
    world, agent = population._environments._worlds[0], population._roster.at(0)
    assert world.A[0] is agent.A[0]
    assert world.B[0] is agent.B[0]
    assert np.array_equal(world.D[0], agent.D[0])
    population.close()


def test_what_it_has_parameters_for_is_learned(own):
    path = own("learner", learning=["A"])
    population = lived(path)
    agent = population._roster.at(0)
    assert not np.array_equal(agent.A[0], population._environments._first.A[0])
    population.close()
    assert digests_of(path, ("share", "template"), 3, 4) == digests_of(path, (), 3, 4)


@pytest.mark.parametrize(
    ("function", "fields", "field", "words"),
    [
        (
            "forager",
            {"agent": {"policy_len": 2}},
            "agent",
            "no further keyword arguments; found ['policy_len']",
        ),
        ("forager", {"model": {"private": False}}, "model.private", "remove it"),
        ("forager", {"learning": ["B"]}, "learning", "B cannot be learned: own:forager returned a"),
        ("learner", {"learning": ["A", "D"]}, "learning", "without pD"),
        ("half", {}, "model.callable", "A0 is not normalised"),
        ("the_same", {}, "model.callable", "returned the same agent twice"),
        ("explodes", {}, "model.callable", "Forager failed at step 0 of agent 0: TypeError"),
    ],
)
def test_what_contradicts_a_ready_agent_is_named(own, function, fields, field, words):
    with pytest.raises(ScenarioError) as caught:
        lived(own(function, **fields))
    assert caught.value.field == field
    assert words in caught.value.problem


@pytest.mark.parametrize(
    ("function", "agent"), [("looks_back", 0), ("looks_back_ready", 0), ("looks_back_later", 1)]
)
def test_what_pymdps_mmp_cannot_take_together_is_told_before_the_agent_is_there(
    own, function, agent
):
    population = NumpyPopulation(load_scenario(own(function)).spec(()), Stopwatch())
    with pytest.raises(ScenarioError) as caught:
        population.grow(3)
    assert len(population) == agent, "those before it are fine"
    assert caught.value.field == "model.callable"
    assert caught.value.problem.startswith(f"save_belief_hist of agent {agent}: PyMDP cuts")


@pytest.mark.parametrize("function", ["looks_back_apart", "looks_back_its_own_way"])
def test_what_goes_together_is_not_refused(own, function):
    population = NumpyPopulation(load_scenario(own(function)).spec(()), Stopwatch())
    assert len(population.grow(3)) == 3


def test_learning_from_beliefs_that_pymdps_mmp_has_not_is_told_of_a_factory(own):
    path = own("looks_back_apart", learning=["B"])
    with pytest.raises(ScenarioError) as caught:
        NumpyPopulation(load_scenario(path).spec(()), Stopwatch()).grow(1)
    assert caught.value.field == "learning"
    assert "VANILLA beliefs only; found MMP" in caught.value.problem


def test_an_agent_of_another_population_is_not_taken_again(own):
    """Workers build a population to warm up, and then the one that they measure."""
    path = own("one_each")
    lived(path).close()
    with pytest.raises(ScenarioError, match="returned the same agent twice"):
        lived(path)


@pytest.mark.parametrize(
    ("function", "passes", "words"),
    [
        ("fickle", ("share",), "Fickle failed at step 0 of agent 0: ValueError: assignment dest"),
        ("fickle", ("template",), "its own copy first, agent.C[0] = agent.C[0].copy();"),
        (
            "friend",
            ("template",),
            "and cannot be used by others in the meantime. Leave the pass out",
        ),
    ],
)
def test_a_pass_that_the_users_class_cannot_live_with_is_named(own, function, passes, words):
    lived(own(function)).close()
    with pytest.raises(ScenarioError) as caught:
        lived(own(function), passes)
    assert caught.value.field == "passes"
    assert words in caught.value.problem


def test_the_command_points_to_the_line_that_contradicts_a_ready_agent(memprof, own):
    run = memprof("profile", own("forager", agent={"gamma": 2.0}), "-q")
    assert run.code == 2
    assert "case.yaml:10: agent: own:forager returned a ready agent" in run.err


def test_jax_agents_are_not_built_of_a_ready_numpy_agent(memprof, own):
    run = memprof("profile", own("plain", backend="jax", passes=[]), "-q")
    assert run.code == 2
    assert "backend: own:plain returned a ready NumPy agent" in run.err


PLAIN = """
import numpy as np

class Blurred:
    def reset(self):
        return [np.array([0.5, 0.3, 0.2])]

    def step(self, action):
        return [np.array([0.1, 0.1, 0.8])]

def make():
    moves = np.stack([np.eye(3), np.roll(np.eye(3), 1, axis=0)], axis=2)
    return {"A": np.eye(3) * 0.7 + 0.1, "B": moves, "C": np.arange(3.0), "D": np.full(3, 1 / 3)}

def blurred():
    return make(), Blurred()

def wrapped():
    from pymdp.legacy.agent import Agent
    class Runner:
        agent = Agent(**make())
    return Runner()
"""


@pytest.fixture
def plain(scenario, tmp_path, monkeypatch):
    """A scenario of agents from a function in `PLAIN`."""
    import sys

    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "plain.py").write_text(PLAIN)
    yield lambda function, **fields: scenario(
        model={"kind": "factory", "callable": f"plain:{function}"}, **fields
    )
    sys.modules.pop("plain", None)


@pytest.mark.parametrize("passes", [("share",), ("share", "template")])
@pytest.mark.parametrize("function", ["make", "blurred"])
def test_plain_arrays_and_distributions_over_outcomes_are_as_pymdp_takes_them(
    plain, function, passes
):
    path = plain(function, learning=["A"])
    assert digests_of(path, passes, 3, 4) == digests_of(path, (), 3, 4)


def test_what_is_perceived_as_a_distribution_is_believed_as_one(plain):
    beliefs = {}
    for function in ("make", "blurred"):
        population = NumpyPopulation(load_scenario(plain(function)).spec(()), Stopwatch())
        found = next(iter(population.live(population.grow(1), range(1)))).behaviour
        beliefs[function] = np.asarray(found.beliefs[0])
        population.close()
    seen = np.array([0.5, 0.3, 0.2]) @ np.log(np.eye(3) * 0.7 + 0.1)
    assert beliefs["blurred"] == pytest.approx(np.exp(seen) / np.exp(seen).sum(), abs=0.05)


def test_a_class_that_holds_a_numpy_agent_is_told_what_to_return(plain):
    with pytest.raises(ScenarioError, match="whose own methods memprof does not call; return its"):
        NumpyPopulation(load_scenario(plain("wrapped")).spec(()), Stopwatch()).grow(1)
