"""Where Python has no `resource` and no `fcntl`, as on Windows: what works, and what says so."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

# What other packages import of them is not the question.
WINDOWS = """
for name in ("killpg", "sched_getaffinity", "sysconf"):
    delattr(os, name)
sys.modules["resource"] = sys.modules["fcntl"] = None  # an import fails
"""
COMMANDS = f"""
import json, os, sys
import psutil, pydantic, rich.console, typer, yaml
{WINDOWS}
from memprof.cli.app import main
found = dict()
for arguments in json.loads(sys.stdin.read()):
    sys.argv[1:] = arguments
    try:
        main()
    except SystemExit as end:
        found[" ".join(arguments)] = end.code or 0
print("\\0" + json.dumps(found))
"""
POPULATION = f"""
import os, sys
import psutil, pymdp.legacy.agent
{WINDOWS}
sys.path.insert(0, {str(ROOT)!r})
import memprof
from memprof.errors import StoreError
from tests.quirks import make, step

def live(agent):
    step(agent, 1)
    return agent.qs[0].tolist()

plain = live(make())
population = memprof.optimize([make(), make()])
with population.activate(1) as agent:
    assert live(agent) == plain
with population.activate(1) as agent:
    assert agent.qs[0].tolist() == plain
assert population.memory().agents == 2
agent = make()
try:
    memprof.optimize([agent], passes=("template", "mmap"), store="store")
except StoreError as error:
    print(error)
assert agent.A is not None
"""


def run(script: str, folder: Path, given: str = "") -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", script],
        input=given,
        capture_output=True,
        text=True,
        cwd=folder,
        check=False,
    )


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, int], str]:
    """The exit code of each command, and what they said on standard error."""
    example = str(ROOT / "reports/examples/grid-29.json")
    scenario = str(ROOT / "scenarios/grid-10.yaml")
    every = [
        ["report", example, "--format", "csv"],
        ["compare", example, example],
        *([name, scenario] for name in ("profile", "density", "leak", "gate")),
        ["gate", scenario, "--update"],
    ]
    done = run(COMMANDS, tmp_path_factory.mktemp("without"), json.dumps(every))
    assert "Traceback" not in done.stderr, done.stderr
    return json.loads(done.stdout.rpartition("\0")[2]), done.stderr


def test_reports_are_shown_and_compared(commands: tuple[dict[str, int], str]):
    codes, _ = commands
    assert [code for name, code in codes.items() if name.startswith(("report", "compare"))] == [
        0
    ] * 2


def test_what_measures_says_in_one_message_what_it_takes(commands: tuple[dict[str, int], str]):
    codes, said = commands
    measuring = {name: code for name, code in codes.items() if "grid-10" in name}
    assert set(measuring.values()) == {3}
    lines = said.splitlines()
    assert len(lines) == len(measuring)
    assert all("no module 'resource'" in line and "Linux" in line for line in lines)


def test_agents_are_optimised_in_memory_and_a_store_on_disk_is_refused(tmp_path: Path):
    done = run(POPULATION, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "no module 'fcntl'" in done.stdout
    assert "leave mmap out of passes" in done.stdout
    assert not any(tmp_path.iterdir())
