"""`--engine ray`, with agents of known size over two shards of this machine."""

from __future__ import annotations

import os
from pathlib import Path

import psutil
import pytest

EACH = 400_000
# Of each agent's own likelihood; the rest of an agent is less than a tenth of that.
MODEL = f"""
import numpy as np
from memprof.models import object_array

def agent(agent):
    states = 50
    seen = np.random.rand({EACH} // 8 // states, states)
    stays = np.eye(states)[..., None]
    return {{"A": object_array([seen / seen.sum(0)]), "B": object_array([stays])}}
"""


@pytest.fixture
def known(scenario, tmp_path):
    """A scenario of agents of known size."""
    (tmp_path / "known.py").write_text(MODEL)

    def write(**fields) -> Path:
        return scenario(model={"kind": "factory", "callable": "known:agent"}, steps=1, **fields)

    return write


def left_behind(folder: Path) -> list[str]:
    """Processes and folders of Ray that a command with its temporary files in `folder` left."""
    words = [" ".join(each.info["cmdline"] or ()) for each in psutil.process_iter(["cmdline"])]
    return [each for each in words if str(folder) in each] + os.listdir(folder)


def test_a_density_over_shards_tells_the_truth(memprof, known, tmp_path):
    temporary = tmp_path / "t"
    temporary.mkdir()
    how = ("--engine", "ray", "--shards", 2, "--max-agents", 20, "--agents", 120)
    run = memprof("density", known(), *how, "--full", TMPDIR=str(temporary))
    assert run.code == 0, run.err
    assert left_behind(temporary) == []
    report = run.report("case-density")
    alone = report["density"]["points"]
    assert max(row["agents"] for row in alone) < 120, "one process is not grown to them"
    found = report["distributed"]
    assert (found["shards"], found["agents"], found["address"]) == (2, 120, "")
    assert found["per_agent"]["marginal_bytes"] == pytest.approx(
        report["variants"]["before"]["per_agent"]["marginal_bytes"], rel=0.05
    )
    assert EACH < found["per_agent"]["marginal_bytes"] < 1.15 * EACH
    assert found["equivalence"]["verdict"] == "exact"
    assert found["equivalence"]["agents"] == 100
    (node,) = found["nodes"]
    assert (node["shards"], node["agents"]) == (2, 120)
    assert node["shards_bytes"] > 120 * EACH + 2 * 40_000_000
    assert node["ray_bytes"] > 50_000_000
    assert node["ray_processes"] >= 2
    assert found["capacity"] == 120 + node["more"]
    assert found["capacity"] * EACH < node["limit_bytes"]
    assert found["messages_per_step"] == 2 * 2
    assert found["pace"]["shards_per_second"] > 0
    assert "Over 2 shards on 1 node of this machine an agent costs" in run.out
    assert "Ray itself is processes that Ray starts" in run.out
    for noise in ("Started a local Ray instance", "usage stat", "dashboard"):
        assert noise not in run.out + run.err


@pytest.mark.long
def test_a_profile_says_what_the_same_agents_cost_over_shards(memprof, known):
    path = known(agents=30, passes=["template"])
    run = memprof("profile", path, "--engine", "ray", "--shards", 2)
    assert run.code == 0, run.err
    found = run.report()["distributed"]
    assert (found["agents"], found["passes"]) == (30, ["template"])
    assert found["equivalence"]["verdict"] == "exact"
    low, high = found["per_agent"]["ci95_bytes"]
    assert low <= EACH <= high
    assert len(run.out.splitlines()) <= 45


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("127.0.0.1:1", "no cluster answers at 127.0.0.1:1; start one (ray start --head)"),
        ("127.0.0.1:99999", "no cluster answers at 127.0.0.1:99999"),
        ("local", "expected HOST:PORT of a cluster, or auto for the one of this machine; found"),
    ],
)
def test_an_address_at_which_there_is_no_cluster_ends_it_at_once(memprof, known, address, said):
    how = ("--engine", "ray", "--address", address)
    run = memprof("density", known(), *how)
    assert run.code == 2
    assert "memprof: address: " in run.err
    assert said in run.err
    assert not (run.folder / "reports").exists()
