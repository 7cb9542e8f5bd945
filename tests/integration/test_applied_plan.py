"""`population.plan`: what each pass has done, in figures that can be counted otherwise."""

import re

import numpy as np
import pytest
import zstandard

import memprof
from memprof.models import model_builder
from memprof.optimise.default import ByAgent
from memprof.storage.graph import held_bytes
from memprof.text import format_size
from memprof.upstream import load
from memprof.upstream.numpy_agent import Agent
from tests.conftest import ROOT

AGENTS, STEPS = 5, 70


def agents(kind="grid_world", **parameters):
    """Each with arrays of its own that are equal to the others'."""
    for _ in range(AGENTS):
        yield Agent(**model_builder({"kind": kind, **parameters}, str(ROOT))(0).arguments)


def lived(passes, steps=STEPS, **options):
    population = memprof.optimize(agents(size=4), passes, **options)
    np.random.seed(0)
    for step in range(steps):
        population.act([[(step + index) % 16] for index in range(AGENTS)])
    return population


def effects(population):
    return {each.name: each.effect for each in population.plan.passes}


def test_the_chosen_plan_says_what_it_does_and_why():
    with lived("auto", history_steps=8) as population:
        plan = population.plan
        assert [each.name for each in plan.passes] == ["history", "pool", "template"]
        assert dict(plan.options) == {"history_steps": 8}
        assert plan.because == population.because != ""
        assert all((each.claim, each.bound) == ("exact", None) for each in plan.passes)
        said = str(population.memory()).splitlines()
        assert f"passes: history, pool, template, because {population.because}" in said
        assert [line for line in said if line.startswith("  history: keeps the last 8 steps")]
        assert str(plan).splitlines()[1] == "  history_steps=8"
        assert {*str(plan).splitlines()[2:]} <= {*said}
        with pytest.raises(TypeError):
            plan.options["history_steps"] = 9


def test_records_are_counted_and_one_agent_is_compared_in_use_and_at_rest():
    with lived("auto") as population:
        records = [population._plan.records[index] for index in range(AGENTS)]
        size = format_size(sum(map(len, records)))
        said = effects(population)["template"]
        assert said.startswith(f"{AGENTS} agents as records of {size}, differences from a template")
        in_use, at_rest = re.search(r"agent 0 takes (.*) in use, (.*) at rest", said).groups()
        assert at_rest == format_size(len(records[0]))
        with population.activate(0) as agent:
            shared = population._plan.storage._exemplars[0].ids
            alone = held_bytes([agent], shared)
        # And what is around an active agent, as the working set counts it.
        assert alone < in_bytes(in_use) < alone + 1500
        population.remove(0)
        assert f"{AGENTS - 1} agents as records" in effects(population)["template"]
        assert "agent 1 takes" in effects(population)["template"]


def in_bytes(text):
    number, unit = text.split()
    return float(number) * {"B": 1, "KB": 1e3, "MB": 1e6}[unit]


def test_shared_arrays_and_packed_histories_are_counted():
    with lived(["share", "policies", "history"]) as population:
        arrays = {}
        for index in range(AGENTS):
            agent = population._plan.records[index]
            for array in (agent.A[0], agent.B[0], agent.C[0], agent.D[0], agent.E):
                arrays[array.shape, array.tobytes()] = array.nbytes
            rows = len(agent.policies)
            entries = len(agent.prev_actions)
        said = effects(population)
        found = re.match(r"(\d+) arrays of models held as (\d+) shared ones, (.*)", said["share"])
        policies = rows * agent.policies[0].nbytes
        assert (int(found[1]), int(found[2])) == (AGENTS * 5, len(arrays))
        assert found[3] == format_size(sum(arrays.values()))
        assert said["policies"] == (
            f"{AGENTS * rows} arrays of policies held as 1 shared one, {format_size(policies)}"
        )
        assert entries == STEPS
        assert said["history"].startswith(f"keeps all past steps: {AGENTS * STEPS} entries, packed")
        history = next(each for each in population.plan.passes if each.name == "history")
        saved = 0
        for index in range(AGENTS):
            for chunk in population._plan.records[index].prev_actions._chunks:
                saved += len(zstandard.ZstdDecompressor().decompress(chunk)) - len(chunk)
        assert history.saves_bytes == saved > 0
        assert f"saves {format_size(saved)}" in str(population.memory())


def test_other_passes_say_what_they_hold():
    with lived(["float32", "share", "sparse", "belief"], 3) as population:
        said = effects(population)
        single = {}
        for index in range(AGENTS):
            agent = population._plan.records[index]
            single |= {id(each): each.nbytes for each in (agent.A[0], agent.B[0])}
        assert (
            said["float32"]
            == f"{format_size(sum(single.values()))} of matrices in single precision"
        )
        assert [each.bound for each in population.plan.passes] == [1e-5, None, None, 1e-6]
    with lived(["sparse", "gc"], 3) as population:
        packed = [
            value.frame
            for index in range(AGENTS)
            for value in vars(population._plan.records[index]).values()
            if hasattr(value, "frame")
        ]
        said = effects(population)
        size = format_size(sum(map(len, packed)))
        assert said["sparse"] == f"{len(packed)} attributes packed in {size}"
        assert re.fullmatch(r"Python looks for garbage every [\d,]+ new objects", said["gc"])


def test_the_functions_that_are_replaced_are_named(monkeypatch):
    with lived(["pool"], 1) as population:
        replaced = effects(population)["pool"].partition(": ")[2].split(", ")
    assert {"dot_likelihood", "spm_dot"} <= {*replaced}
    maths = load("maths")
    monkeypatch.setattr(maths, "dot_likelihood", lambda A, obs: A[int(np.argmax(obs))])
    with memprof.optimize(agents(size=4), ["pool"]) as population:
        others = effects(population)["pool"].partition(": ")[2].split(", ")
        assert "dot_likelihood" in population.memory().not_replaced
        assert "dot_likelihood" not in others


def test_a_working_set_and_files_are_told_of(tmp_path):
    passes, store = ["history", "mmap", "working_set"], tmp_path / "store"
    with lived(passes, 2, store=store, working_set="1 MiB") as population:
        said = effects(population)
        use = population.working_set()
        assert said["working_set"] == (
            f"5 agents active, {format_size(use.active_bytes)} of at most {format_size(1 << 20)}; "
            "5 of 10 uses found theirs active"
        )
        assert said["mmap"].startswith(f"5 agents in files of {format_size(file_bytes(store))}, ")


def file_bytes(folder):
    return sum(path.stat().st_blocks * 512 for path in folder.iterdir())


@pytest.mark.parametrize("passes", ["auto", ["mmap"], ["share", "history", "gc"]])
def test_asking_changes_nothing_and_an_empty_population_has_summaries(passes):
    with memprof.optimize([], passes) as population:
        for each in population.plan.passes:
            assert str(each) == f"{each.name}: {each.effect or each.summary}"
        assert "template:" not in effects(population)
        assert "saves" not in str(population.memory())
    made = [*agents(size=4)]
    for number, agent in enumerate(made):
        agent.map = np.zeros(10_000)  # large: lent while the agent is in use
        agent.map[number] = 1
    with memprof.optimize(made, passes) as population:
        del made, agent
        population.remove(0)  # which is the template's
        before = held_by_agents(population)
        assert held_by_agents(population) == before


def held_by_agents(population):
    """Without what the process keeps to decompress records with."""
    rows = population.memory().rows
    return {row.component: row.nominal_bytes for row in rows if row.component != "passes"}


def test_agents_that_stay_active_are_counted(monkeypatch):
    monkeypatch.setattr("memprof.optimise.default.MOST_DENSE_BYTES", 8)
    made = [Agent(**model_builder({"kind": "grid_world", "size": 4}, str(ROOT))(0).arguments)]
    made[0].pA = made[0].A.copy()
    made[0].pA[0] = np.ones((16, 16))
    made[0].A = made[0].pA
    with memprof.optimize([*made, *agents(size=4)]) as population:
        assert isinstance(population._plan.storage, ByAgent)
        assert effects(population)["template"].endswith("; 1 agent stays active")
