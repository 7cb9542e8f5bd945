"""The parts of the observer of a program, alone."""

import importlib.util
import sys
from functools import partial

import numpy as np
import pytest

from memprof.storage.template import LargeRecord
from memprof.upstream.numpy_agent import Agent
from memprof.watching.imports import Imports
from memprof.watching.looks import Living, _cost
from memprof.watching.registry import Built, Crowd
from memprof.watching.rounds import Rounds
from memprof.watching.savings import _is_same, saving_of


class Process:
    """One whose memory is what it is set to."""

    size = 0

    def __call__(self):
        return self.size


def lived(steps, each, look_at=(), look=0, agents=3, active=None):
    """The growth of a process that gains so much in each step of its agents, and more in a look."""
    process = Process()
    rounds = Rounds(process)
    for step in range(steps):
        for agent in range(active or agents):
            process.size += each // (active or agents)
            rounds.act(agent, agents, lambda: agents)
        if step in look_at:
            with rounds.without():
                process.size += look
                rounds.act(0, agents, lambda: agents)  # another thread's
    return rounds.growth()


def test_a_look_is_no_step_and_what_it_takes_is_no_growth():
    """It came at any time, and what it left was a jump that hid a leak, or was one."""
    found = lived(60, 48_000, look_at=(20, 57), look=10**6)
    assert (found.verdict, found.bytes_per_step) == ("leak", 48_000)
    assert found.last_step == 58, "the steps amid looks are not known"
    assert lived(60, 0, look_at=(20, 57), look=10**6).verdict == "clean"


def test_agents_that_are_idle_make_no_step_longer():
    found = lived(60, 48_000, agents=5, active=3)
    assert (found.agents, found.last_step) == (5, 59), "the last is not over"
    assert found.bytes_per_step == 48_000


def test_growth_is_of_the_longest_stretch_of_as_many_agents():
    process = Process()
    rounds = Rounds(process)
    for agents, steps in ((2, 9), (5, 30), (4, 8)):
        for act in range(steps * agents):
            rounds.act(act % agents, agents, partial(int, agents))
    found = rounds.growth()
    assert (found.agents, found.last_step, found.verdict) == (5, 30, "clean")
    assert lived(500, 6_000).bytes_per_step == 6_000, "readings are thinned out"
    assert lived(3, 6_000).verdict is None
    assert Rounds(process).growth() is None


def test_readings_of_constructions_stay_few_and_spread():
    built = Built()
    for agents in range(1, 100_001):
        built.take(agents, lambda: 7)
    assert 32 <= len(built.agents) < 64
    steps = {after - before for before, after in zip(built.agents, built.agents[1:], strict=False)}
    assert steps == {built.stride}


def test_a_module_is_told_of_when_it_is_imported_and_is_as_it_would_be(tmp_path, monkeypatch):
    (tmp_path / "told_of.py").write_text("value = 3\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    told = []
    imports = Imports({"told_of": told.append, "sys": told.append})
    imports.start()
    assert told == [sys]
    try:
        module = importlib.import_module("told_of")
    finally:
        imports.stop()
        sys.modules.pop("told_of", None)
    assert told == [sys, module]
    assert module.value == 3
    assert type(module.__spec__.loader).__name__ == "SourceFileLoader"
    assert module.__loader__ is module.__spec__.loader
    assert imports not in sys.meta_path


def test_a_module_that_was_only_looked_for_or_is_loaded_anew_is_told_of(tmp_path, monkeypatch):
    """As programs do that ask what is installed before they import it."""
    (tmp_path / "looked_for.py").write_text("value = 3\n")
    (tmp_path / "broken_once.py").write_text("import sys\nsys.once.pop()\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "once", [], raising=False)
    told = []
    imports = Imports({"looked_for": told.append, "broken_once": told.append})
    imports.start()
    try:
        spec = importlib.util.find_spec("looked_for")
        assert spec.loader.get_source("looked_for") == "value = 3\n"
        assert told == []
        module = importlib.import_module("looked_for")
        importlib.reload(module)
        with pytest.raises(IndexError):
            importlib.import_module("broken_once")
        sys.once.append(1)
        broken = importlib.import_module("broken_once")
    finally:
        imports.stop()
        for name in ("looked_for", "broken_once"):
            sys.modules.pop(name, None)
    assert told == [module, module, broken]
    assert type(module.__spec__.loader).__name__ == "SourceFileLoader"


class Diary:
    """What an agent has of one's own, and what no record can hold."""

    def __init__(self):
        self.pages = [0.5]


def test_agents_that_keep_a_thing_of_ones_own_come_back_the_same():
    """It stays whole, so that both hold it for a moment, which is no difference."""
    eye = np.eye(6)
    moves = np.stack([eye, np.roll(eye, 1, 0)], 2)
    agents = [Agent(A=eye, B=moves) for _ in range(4)]
    for agent in agents:
        agent.infer_states([0])
        agent.infer_policies()
        agent.sample_action()
        agent.diary = Diary()
    found = saving_of(agents)
    assert (found.agents, found.refused, found.exact) == (3, "", True)
    records = [LargeRecord(b"", (), {"diary": each.diary}) for each in agents[:2]]
    assert not _is_same(*records), "another's is one"


def test_the_cost_of_batches_in_a_loop_is_that_of_one_agent():
    crowd = Crowd("jax", Agent, None)
    for batches in range(1, 30):
        crowd.longest.take(batches, partial(int, batches * 10 * 50_000))
    batch = object()
    cost = _cost(Living([batch] * 29, [10] * 29, crowd), 49_000.0)
    assert (cost.how, cost.bytes) == ("slope", pytest.approx(50_000))
    assert cost.ci95_bytes[0] <= cost.bytes <= cost.ci95_bytes[1]
    mixed = _cost(Living([batch] * 29, [10] * 28 + [3], crowd), 49_000.0)
    assert (mixed.how, mixed.bytes) == ("ledger", 49_000)
