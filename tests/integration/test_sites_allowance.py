"""A search for sites takes no longer than it may, whatever agents do."""

import pytest
from msgspec.structs import replace

from memprof.launch.spawn import run_worker
from memprof.posix import Limits
from memprof.scenario import load_scenario
from memprof.values.requests import FindSites

AGENTS, STEPS = 2, 2
# A world whose steps allocate hundreds of thousands of objects, notes them in a file, and tells
# there whether they were traced; it keeps one of them.
PLANTED = """
import tracemalloc
from pathlib import Path
import numpy as np
from pymdp.legacy import utils

class Busy:
    def __init__(self):
        self.seen = []

    def reset(self):
        return 0

    def step(self, action):
        with Path(__file__).with_name("steps").open("a") as file:
            file.write("traced\\n" if tracemalloc.is_tracing() else "plain\\n")
        self.seen.append([[number] for number in range(300_000)].pop())
        return 0

def busy(agent):
    A, B = utils.obj_array(1), utils.obj_array(1)
    A[0], B[0] = np.eye(3), np.stack([np.eye(3)] * 2, axis=-1)
    return {"A": A, "B": B}, Busy()
"""
SCENARIO = f"""
name: busy
model: {{kind: factory, callable: busy:busy}}
agents: {AGENTS}
steps: {STEPS}
passes: [lean_imports, history]
history_steps: 2
"""


@pytest.fixture
def search(tmp_path):
    """The sites that are found in so many seconds, and how many steps were lived, and traced."""

    def find(seconds):
        (tmp_path / "busy.py").write_text(PLANTED)
        (tmp_path / "busy.yaml").write_text(SCENARIO)
        scenario = load_scenario(tmp_path / "busy.yaml")
        spec = scenario.spec(scenario.scenario.passes)
        spec = replace(spec, effort=replace(spec.effort, trace_seconds=seconds))
        request = FindSites(spec, mode="steps", warm_up=1, count=6)
        found = run_worker(request, Limits(timeout_seconds=240), lambda mark: None).value
        steps = (tmp_path / "steps").read_text().split()
        (tmp_path / "steps").unlink()
        return found, len(steps), steps.count("traced")

    return find


def test_with_no_time_left_next_to_nothing_is_traced_and_the_holder_is_named_all_the_same(search):
    found, lived, traced = search(0.0)
    first = found.sites[0]
    assert (first.owner, first.lines) == ("Busy.seen", ())
    assert first.objects_per_cycle == AGENTS * STEPS * 2, "a list, and its number"
    assert found.left_out == ("the lines that allocate what stays",)
    cycles = 1 + 3 + 3
    assert lived <= cycles * AGENTS * STEPS, "the warm-up, and twice the fewest that show a leak"
    assert traced <= 1


def test_with_time_enough_all_cycles_are_traced_and_the_line_is_known(search):
    found, lived, traced = search(10_000.0)
    first = found.sites[0]
    assert first.owner == "Busy.seen"
    assert first.lines[0].text.startswith("self.seen.append")
    assert found.left_out == ()
    assert traced == (6 + 1) * AGENTS * STEPS
    assert lived >= traced + 6 * AGENTS * STEPS
