"""What agents may hold at most: a store gives it back, or refuses before the agent is emptied."""

import copy

import numpy as np
import pytest
from pymdp.legacy.agent import Agent

import memprof
from memprof.errors import UsageError
from memprof.models import model_builder
from memprof.storage.history import History


def agent(**attributes):
    made = Agent(**model_builder({"kind": "grid_world", "size": 4}, ".")(0).arguments)
    vars(made).update(copy.deepcopy(attributes))
    return made


def agent_with(extreme):
    """An agent that alone has an attribute."""
    made = agent()
    made.extreme = extreme
    return made


def learned(size):
    """A matrix that is zero but for a few entries."""
    matrix = np.zeros((size, size))
    matrix[np.arange(size), np.arange(size)] = np.linspace(1, 2, size)
    return matrix


def past(steps, limit=None):
    return History(([np.full(3, 1 / 3)] * 5 for _ in range(steps)), limit)


EXTREMES = {
    "a sparse matrix": lambda: learned(900),
    "sparse matrices of 40 MB": lambda: [learned(1300), learned(1301), learned(1302)],
    "small ints": lambda: [7] * 200_000,
    "other ints": lambda: [*range(200_000)],
    "None": lambda: [None] * 90_000,
    "empty lists": lambda: [[] for _ in range(15_000)],
    "lists of one": lambda: [[number % 2 == 0] for number in range(30_000)],
    "pairs": lambda: [(0, 0.0)] * 60_000,
    "words": lambda: ["word"] * 60_000,
    "small arrays": lambda: [np.zeros(1) for _ in range(20_000)],
    "a past that never changed": lambda: past(5_000),
    "the last of a past that never changed": lambda: past(5_000, 2_000),
    "an array many times over": lambda: np.broadcast_to(np.arange(100.0), (5_000, 100)).copy(),
    "a view that repeats": lambda: np.broadcast_to(np.arange(100.0), (5_000, 100)),
    "a dict": lambda: {f"key {number}": None for number in range(20_000)},
    "a large int": lambda: [1 << 100_000] * 10,
}


def same(found, given):
    if isinstance(given, np.ndarray):
        alike = found.dtype == given.dtype and found.shape == given.shape
        return alike and found.strides == given.strides and found.tobytes() == given.tobytes()
    if isinstance(given, list) and given and isinstance(given[0], list | np.ndarray):
        return len(found) == len(given) and all(map(same, found, given))
    return type(found) is type(given) and found == given


@pytest.mark.parametrize("in_template", [True, False])
@pytest.mark.parametrize("name", EXTREMES)
def test_an_extreme_agent_comes_back(tmp_path, name, in_template):
    agents = [agent_with(EXTREMES[name]()) if in_template else agent()]
    agents.append(agent_with(EXTREMES[name]()))
    with memprof.optimize(agents, ["mmap"], store=tmp_path / "store") as population:
        del agents
        for _ in range(2):
            with population.activate(1) as woken:
                assert same(woken.extreme, EXTREMES[name]())
    with memprof.reopen(tmp_path / "store", Agent) as population:
        with population.activate(1) as woken:
            assert same(woken.extreme, EXTREMES[name]())
        with population.activate(1) as woken:
            assert same(woken.extreme, EXTREMES[name]())


def test_an_agent_with_500_attributes_comes_back(tmp_path):
    many = {
        f"attribute{number}": [number, str(number), np.full(2, number)] for number in range(500)
    }
    with memprof.optimize([agent(), agent(**many)], ["mmap"], store=tmp_path / "store"):
        pass
    with (
        memprof.reopen(tmp_path / "store", Agent) as population,
        population.activate(1) as woken,
    ):
        assert all(same(getattr(woken, name)[2], value[2]) for name, value in many.items())


@pytest.mark.parametrize(
    "value",
    [
        lambda: [None] * 200_000,
        lambda: [[] for _ in range(60_000)],
        lambda: np.broadcast_to(np.arange(100.0), (50_000, 100)),
        lambda: [*range(2**63, 2**63 + 200_000)],
    ],
    ids=["None", "empty lists", "a view of 40 MB", "large ints"],
)
@pytest.mark.parametrize("first", [0, 1])
def test_what_could_not_be_read_again_is_refused_and_stays(tmp_path, value, first):
    agents = [agent(), agent()]
    agents[first].extreme = value()
    with pytest.raises(UsageError, match="leave mmap out"):
        memprof.optimize(agents, ["mmap"], store=tmp_path / "store")
    assert len(agents[first].extreme) == len(value())
    assert agents[0].A is not None
    assert not (tmp_path / "store").exists()
