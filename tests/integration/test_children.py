"""Processes that agents start are in no figure, and every report says so."""

import json

import pytest

from tests.conftest import run_command

FACTORY = """
import subprocess
import sys
import numpy as np

HOLDS = "import sys; held = b'x' * 30_000_000; print(flush=True); sys.stdin.read()"

class World:
    def __init__(self):
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLDS], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self.process.stdout.readline()  # it holds them now

    def reset(self):
        return 0

    def step(self, action):
        return 0

def objects(*arrays):
    found = np.empty(len(arrays), dtype=object)
    found[:] = arrays
    return found

def make(agent):
    here, still = np.eye(4), np.eye(4)[:, :, None]
    model = {"A": objects(here), "B": objects(still), "D": objects(np.full(4, 0.25))}
    return (model, World()) if agent < STARTED else model
"""


@pytest.mark.parametrize(("command", "started"), [("profile", 0), ("profile", 2), ("density", 2)])
def test_processes_that_agents_started_are_counted_and_weighed(tmp_path, command, started):
    (tmp_path / "factory.py").write_text(FACTORY.replace("STARTED", str(started)))
    (tmp_path / "case.yaml").write_text(
        "name: case\nmodel: {kind: factory, callable: 'factory:make'}\n"
        "agents: 3\nsteps: 1\npasses: []\nrepeats: 1\n"
    )
    words = ["--instruments", "none"] if command == "profile" else ["--max-agents", "8"]
    run = run_command(tmp_path, command, "case.yaml", "-q", "--out", "out", *words)
    assert run.code == 0, run.err
    (file,) = (tmp_path / "out").glob("*.json")
    said = {each["kind"]: each["evidence"] for each in json.loads(file.read_text())["warnings"]}
    if not started:
        assert "child_processes" not in said
        return
    assert said["child_processes"].startswith("a worker started 2 processes with its agents")
    assert "1 process before the first one" in said["child_processes"], "of the warm-up"
    assert float(said["child_processes"].split(" MB")[0].split()[-1]) > 2 * 30
