"""Allocation stacks of real PyMDP agents, against the sizes of their arrays."""

from __future__ import annotations

import pytest

from memprof.instruments.traced import TracedHeap
from memprof.populations.numpy_agents import NumpyPopulation
from memprof.scenario import load_scenario

STATES, ACTIONS = 100, 5
A, B = 8 * STATES * STATES, 8 * STATES * STATES * ACTIONS


def test_an_agents_arrays_stand_below_the_functions_that_allocate_them(scenario):
    path = scenario(model={"kind": "grid_world", "size": 10}, learning=["B"], steps=3)
    spec = load_scenario(path).spec(())
    with TracedHeap() as heap:
        found = heap.details(NumpyPopulation(spec, heap), spec)
    held = {
        (stack.operation, *(frame.function for frame in stack.frames)): stack.bytes_per_agent
        for stack in reversed(found.stacks)
    }
    grid = ("build", "grid_world.build", "_explorer", "eye")
    counts = ("update_B", "Agent.update_B", "update_state_likelihood_dirichlet_interactions")
    learned = ("update_B", "Agent.update_B", "norm_dist_obj_arr", "norm_dist")
    assert held[grid] == pytest.approx(A, abs=200)
    assert held[(*counts, "deepcopy")] == pytest.approx(B, abs=1000)
    assert held[learned] == pytest.approx(B, abs=200)
    total = sum(stack.bytes_per_agent for stack in found.stacks)
    assert total == pytest.approx(sum(line.bytes_per_agent for line in found.lines), rel=0.01)
    assert total == pytest.approx(A + 2 * B, rel=0.02)
    own = [
        stack.frames
        for stack in found.stacks
        if any(frame.path.startswith("memprof/populations/") for frame in stack.frames)
    ]
    assert all(len(frames) == 1 for frames in own), "only where memprof itself allocated"


def test_what_all_agents_share_after_passes_is_no_part_of_a_further_one(scenario):
    """Passes compare the second agent with the first, and keep what they find about the model."""
    path = scenario(model={"kind": "grid_world", "size": 10}, steps=3)
    spec = load_scenario(path).spec(("share", "pool", "template"))
    with TracedHeap() as heap:
        found = heap.details(NumpyPopulation(spec, heap), spec)
    assert sum(line.bytes_per_agent for line in found.lines) < 3 * found.further_bytes
    assert found.further_bytes < 200
