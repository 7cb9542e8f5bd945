"""The ledger of a real worker names all that real agents hold, in whatever way they hold it."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import COMMAND, run_command
from tests.ways import OF_A_TABLE, TABLE_BYTES, WITH_A_COPY

CASE = """
name: case
model: {kind: factory, callable: 'holders:make'}
agents: 4
steps: 1
passes: []
repeats: 1
"""
FILES = Path(__file__).parents[1]
OF_THE_PROGRAM = (
    "holders.REGISTRY",
    "holders.NOTES",
    "holders.remembers",
    "Holder.tables",
    "Holder.remembered",
)


@pytest.fixture(scope="module")
def ledger(tmp_path_factory):
    folder = tmp_path_factory.mktemp("holders")
    for name in ("ways.py", "holders.py"):
        shutil.copy(FILES / name, folder)
    (folder / "case.yaml").write_text(CASE)
    # Not in a fork: that would have the tracker of shared memory of the process that it is of.
    words = [*COMMAND, "profile", "case.yaml", "-q", "--instruments", "none"]
    run = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    report = json.loads((folder / "reports" / "case.json").read_text())
    return report["variants"]["before"]["ledger"]


@pytest.fixture(scope="module")
def rows(ledger):
    return {row["component"]: row for row in ledger["rows"]}


@pytest.mark.parametrize("way", {**OF_A_TABLE, **WITH_A_COPY})
def test_each_way_of_holding_an_array_has_a_row_with_all_of_it(ledger, rows, way):
    row = rows[f"Holder.{way.replace(' ', '_')}"]
    each = row["private_resident_bytes"] / ledger["agents"]
    assert each == pytest.approx(TABLE_BYTES, rel=0.02)
    assert row["shared_nominal_bytes"] < 0.03 * TABLE_BYTES


@pytest.mark.parametrize("name", OF_THE_PROGRAM)
def test_what_the_program_keeps_of_agents_has_a_row_and_is_no_agents_alone(ledger, rows, name):
    row = rows[name]
    assert row["shared_resident_bytes"] / ledger["agents"] == pytest.approx(TABLE_BYTES, rel=0.02)
    assert row["private_nominal_bytes"] == 0


def test_next_to_nothing_is_unexplained(ledger):
    assert abs(ledger["unexplained_bytes"]) < 0.02 * ledger["growth_bytes"]
    assert ledger["growth_bytes"] > len(OF_A_TABLE) * TABLE_BYTES * ledger["agents"]


INDEXED = """
from scipy.spatial import cKDTree
import numpy as np
from holders import Agent, model

class Indexed(Agent):
    def __init__(self, **arguments):
        super().__init__(**arguments)
        self.index = cKDTree(np.random.rand(5_000, 3), leafsize=1)

def make():
    return Indexed(**model())
"""


def test_what_cannot_be_looked_into_is_named_beside_what_is_unexplained(tmp_path):
    for name in ("ways.py", "holders.py"):
        shutil.copy(FILES / name, tmp_path)
    (tmp_path / "indexed.py").write_text(INDEXED)
    (tmp_path / "case.yaml").write_text(CASE.replace("holders:make", "indexed:make"))
    run = run_command(tmp_path, "profile", "case.yaml", "-q", "--instruments", "none")
    assert run.code == 0, run.err
    said = {each["kind"]: each["evidence"] for each in run.report()["warnings"]}
    assert "scipy.spatial._ckdtree.cKDTree may hold native memory" in said["unexplained"]
