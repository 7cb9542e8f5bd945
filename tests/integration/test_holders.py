"""The ledger of a real worker names all that real agents hold, in whatever way they hold it."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import COMMAND
from tests.ways import OF_A_TABLE, TABLE_BYTES, WITH_A_COPY

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
    (folder / "case.yaml").write_text(
        "name: case\nmodel: {kind: factory, callable: 'holders:make'}\n"
        "agents: 4\nsteps: 1\npasses: []\nrepeats: 1\n"
    )
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
