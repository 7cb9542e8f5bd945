"""More agents than memory has room for: records in memory do not fit, records on disk do."""

import pytest
from msgspec.structs import replace

from memprof.errors import MemoryLimitReached
from memprof.launch.spawn import run_worker
from memprof.posix import Limits
from memprof.scenario import load_scenario
from memprof.values.requests import Trace

LIMIT = Limits(None, 170 * 10**6)  # the imports take some 100 MB of it


def traced(spec, file, compare, limits):
    request = Trace(spec, file=str(file), compare=compare)
    return run_worker(request, limits, lambda mark: None).value


def test_agents_that_memory_has_no_room_for_live_as_ever_on_disk(scenario, tmp_path, monkeypatch):
    """What an agent learns of its 400 states is 2.6 MB that nothing makes smaller."""
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")  # each thread's buffers count
    model = {"kind": "random_pomdp", "num_obs": 16, "num_states": 400, "num_controls": 2}
    loaded = load_scenario(scenario(model=model, agents=42, steps=2, learning=["B"]))
    plain, file = loaded.spec(()), tmp_path / "trace"
    traced(plain, file, False, Limits())

    in_memory = replace(plain, passes=("lean_imports", "template"))
    with pytest.raises(MemoryLimitReached) as caught:
        traced(in_memory, file, True, LIMIT)
    assert caught.value.exit_code == 3
    assert "does not fit in the memory limit of 170 MB" in str(caught.value)

    on_disk = ("lean_imports", "mmap", "working_set")
    spec = replace(plain, passes=on_disk, options={"working_set": 20 * 10**6})
    found = traced(spec, file, True, LIMIT)
    assert (found.agents, found.actions_compared, found.actions_equal) == (42, 84, 84)
    assert found.first_difference is None, "beliefs, policies and actions are bit-identical"
