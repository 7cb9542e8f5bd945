"""Instrument `device` on real PyMDP populations; each in a worker, as JAX cannot be unloaded."""

import pytest
from msgspec.structs import replace

from memprof.launch.spawn import run_worker
from memprof.posix import Limits
from memprof.scenario import scenario_of
from memprof.values.requests import ReadThrough
from tests.conftest import ROOT

STATES, ACTIONS, AGENTS, FLOAT = 25, 5, 4, 4
SPEC = scenario_of(
    {
        "name": "device",
        "backend": "jax",
        "model": {"kind": "grid_world", "size": 5},
        "agents": AGENTS,
        "steps": 2,
    },
    ROOT / "device.yaml",
).spec(())


def read(**fields):
    request = ReadThrough(replace(SPEC, **fields), instrument="device")
    return run_worker(request, Limits(timeout_seconds=240), lambda mark: None).value


def test_a_compiled_batch_holds_its_arrays_and_traces_nothing_again():
    run = read()
    found = run.details.device
    rows = {row.component: row for row in found.rows}
    private = {name: row.private_bytes for name, row in rows.items()}
    assert private["A"] == AGENTS * STATES * STATES * FLOAT
    assert private["B"] == AGENTS * STATES * STATES * ACTIONS * FLOAT
    assert private["C"] == private["D"] == AGENTS * STATES * FLOAT
    assert private["E"] == AGENTS * ACTIONS * FLOAT
    assert private["beliefs (qs)"] == AGENTS * (STATES * FLOAT + 4)  # and an action of 4 bytes
    assert all(row.shared_bytes == 0 for name, row in rows.items() if len(name) == 1)
    assert sum(row.private_bytes + row.shared_bytes for row in found.rows) == run.readings[-1][1]
    assert found.agents == AGENTS
    per_agent = sum(private[name] for name in "ABCDE") / AGENTS
    (fewest, least), *_, (most, all_of_it) = run.readings
    slope = (all_of_it - least) / (most - fewest)
    assert slope == pytest.approx(per_agent, rel=0.05)
    assert found.first_traces > 0
    assert found.first_compilations > 0
    assert (found.traces_per_step, found.compilations_per_step, found.retraces) == (0, 0, ())
    assert found.steps in (2, 3)
    held = AGENTS * per_agent
    assert held < found.account.program.argument_bytes < 1.1 * held
    assert found.account.program.temporary_bytes > 0
    assert found.no_account == ""
    assert found.caches_bytes > 1_000_000
    assert found.memory_stats == {} or found.memory_stats["bytes_in_use"] > 0


def test_a_shared_template_is_shared():
    shared = read(passes=("share",)).details.device
    rows = {row.component: row for row in shared.rows}
    assert rows["A"].shared_bytes == STATES * STATES * FLOAT
    assert rows["A"].private_bytes == 0
    assert rows["beliefs (qs)"].private_bytes == AGENTS * (STATES * FLOAT + 4)
    assert shared.traces_per_step == 0
