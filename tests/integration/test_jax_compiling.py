"""Workers of a JAX population find what the first one of their plan compiled, and a report has
both: what an agent costs, and what compiling takes and leaves."""

import gc
import os
import tempfile

import pytest

from memprof.launch.runner import Observer
from memprof.launch.spawn import run_worker
from memprof.posix import Limits
from memprof.profile.passes import cost_of
from memprof.profile.run import profile
from memprof.scenario import load_scenario
from memprof.values.requests import Measure

CACHE = "JAX_COMPILATION_CACHE_DIR"
FLOATS = 2000
REMEMBERING = f"""
import numpy as np


class World:
    def __init__(self):
        self.memory = [float(number) for number in range({FLOATS})]

    def reset(self):
        return [0]

    step = lambda self, action: [0]


def make(agent):
    move = np.stack([np.eye(3), np.roll(np.eye(3), 1, axis=0)], axis=2)
    return {{"A": [np.eye(3)], "B": [move], "D": [np.eye(3)[0]]}}, World()
"""
AGENTS = 6


class Told(Observer):
    def __init__(self):
        self.workers, self.folders = [], set()

    def worker(self, title, number, total, left_seconds):
        self.workers.append((title, number, total))

    def phase(self, title, mark):
        self.folders.update(os.listdir(tempfile.gettempdir()))


@pytest.fixture
def profiled(scenario, tmp_path, monkeypatch, users_compiler):
    """A JAX population of which nobody has compiled anything, profiled in two workers each."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    monkeypatch.delenv(CACHE)
    path = scenario(backend="jax", agents=AGENTS, passes=[], repeats=2)
    told = Told()
    report = profile(load_scenario(path), Limits(), told).report
    gc.collect()
    assert told.folders
    assert list(temporary.iterdir()) == []
    return report, told


def test_one_worker_of_each_plan_compiles_and_the_others_find_it_compiled(profiled):
    report, told = profiled
    assert [title for title, *_ in told.workers] == [
        "no passes, compiling",
        "before, repeat 1 of 2",
        "before, repeat 2 of 2",
    ]
    assert told.workers[-1][1:] == (3, 3), "as many as were told"
    assert report.environment.backend["programs kept by"] == "none"
    variant = report.variants.before
    cost, samples = variant.per_agent, variant.samples
    # Not by USS, in which pages of libraries count only while nobody else has them.
    most = max(each.at_n.reading.rss_bytes for each in samples)
    assert variant.rss_bytes > most + 2e6, "as a user has it, who compiles"
    assert variant.peak_bytes > max(each.peak_rss_bytes for each in samples) + 2e7
    assert cost.fixed_bytes + AGENTS * cost.marginal_bytes == pytest.approx(cost.at_n_bytes)
    first, second = ([(p.agents, p.reading.heap_bytes) for p in each.points] for each in samples)
    for (agents, size), (as_many, other) in zip(first, second, strict=True):
        assert agents == as_many
        # Above the smallest: how much was free before is filled, and not the same in both.
        assert size - first[0][1] == pytest.approx(other - second[0][1], abs=5e5)


def test_programs_that_the_user_keeps_are_used_as_they_are(scenario, monkeypatch, tmp_path):
    monkeypatch.setenv(CACHE, str(tmp_path / "kept"))
    path, told = scenario(backend="jax", agents=AGENTS, passes=[]), Told()
    report = profile(load_scenario(path), Limits(), told).report
    assert report.environment.backend["programs kept by"] == CACHE, (
        "no gate compares it with others"
    )
    assert [title for title, *_ in told.workers] == ["before, repeat 1 of 1"]
    assert list((tmp_path / "kept").iterdir())


def test_plain_objects_of_agents_who_are_built_anew_are_in_their_cost(scenario, tmp_path):
    """They find room where those before them were: nothing more is taken for them."""
    (tmp_path / "remembering.py").write_text(REMEMBERING)
    model = {"kind": "factory", "callable": "remembering:make"}
    loaded = load_scenario(scenario(backend="jax", agents=AGENTS, passes=[], model=model))
    request = Measure(loaded.spec(()), resolve=1, most=60)
    found = run_worker(request, Limits(timeout_seconds=240), lambda mark: None).value
    each = FLOATS * (32 + 8)
    cost = cost_of([found])
    assert found.ledger.mean_agent_bytes == pytest.approx(each, rel=0.1)
    assert cost.growth.value == pytest.approx(each, rel=0.15)
