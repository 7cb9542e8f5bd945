"""What docs/architecture.md says of the package, and its examples: done to a copy, and run."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import LEAN, ROOT, SCENARIOS, run_command

PAGE = (ROOT / "docs" / "architecture.md").read_text()
MOST_LINES = {
    "model": 40,
    "pass": 40,
    "pass with an option": 45,
    "instrument": 40,
    "format": 40,
    "backend": 95,
}

ARMS = 50
STATES, SIGHTS = 200, 2000
MAPPED = f"""
import numpy as np
from pathlib import Path

FILE = Path(__file__).with_name("likelihood.npy")


def make():
    B = np.empty(1, dtype=object)
    B[0] = np.stack([np.eye({STATES}), np.roll(np.eye({STATES}), 1, axis=0)], axis=2)
    A = np.empty(1, dtype=object)
    A[0] = np.load(FILE, mmap_mode="r")
    return {{"A": A, "B": B}}
"""


def blocks(kind: str) -> list[tuple[str, str, list[str]]]:
    """File, language and lines of each block of the section on adding a `kind`."""
    section = re.search(rf"^## An? {kind}\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE)
    found = re.findall(r"^`(memprof/\S+)`:\n\n```(\w+)\n(.*?)^```$", section[1], re.S | re.M)
    return [(file, language, text.splitlines()) for file, language, text in found]


def add(kind: str, package: Path) -> None:
    """Do what the section says to a copy of the package: new files are written whole, a diff is
    applied at the only place that it fits, with what other sections add or without."""
    for name, language, lines in blocks(kind):
        file = package.parent / name
        if language == "python":
            assert not file.exists(), f"{name} is there already"
            file.write_text("\n".join(lines) + "\n")
            continue
        was, becomes = (
            "".join(f"{line[1:]}\n" for line in lines if line[0] in signs) for signs in (" -", " +")
        )
        text = file.read_text()
        for each in (text, (ROOT / name).read_text()):
            assert each.count(was) == 1, f"{name} has no such place, or several:\n{was}"
        file.write_text(text.replace(was, becomes))


def copy_to(folder: Path) -> Path:
    """A copy of the package, with what checks it; compiled modules too, as far as it has them."""
    shutil.copy(ROOT / "pyproject.toml", folder)
    return Path(shutil.copytree(ROOT / "memprof", folder / "memprof"))


@pytest.fixture(scope="module")
def extended(tmp_path_factory):
    """A copy of the package with all examples."""
    folder = tmp_path_factory.mktemp("extended")
    package = copy_to(folder)
    for kind in MOST_LINES:
        add(kind, package)
    return folder


@pytest.fixture
def memprof(extended, tmp_path):
    """Run `memprof ARGUMENTS` of that copy in an empty folder."""

    def run(*arguments):
        path = os.pathsep.join((str(extended), str(LEAN)))
        return run_command(tmp_path, *arguments, PYTHONPATH=path)

    return run


def in_copy(folder, *command):
    """What a command says in the folder of a copy of the package, which has to be content."""
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_page_names_every_room():
    tree = PAGE[PAGE.index("```\nmemprof/") : PAGE.index("`scenarios/` has")]
    rooms = {
        f"{path.name}/" if path.is_dir() else path.name
        for path in (ROOT / "memprof").iterdir()
        if not path.name.startswith("_")
    }
    assert rooms == set(re.findall(r"^  (\w+(?:\.py|/))", tree, re.MULTILINE))


@pytest.mark.parametrize(("kind", "most"), MOST_LINES.items())
def test_each_is_a_short_file_and_an_entry(kind, most):
    found = blocks(kind)
    assert [language for _, language, _ in found] == ["python", "diff"]
    assert found[1][0].startswith("memprof/catalogue/")
    assert sum(len(lines) for _, _, lines in found) <= most


def test_the_checks_are_content(extended):
    files = [extended / name for kind in MOST_LINES for name, _, _ in blocks(kind)]
    ruff = [sys.executable, "-m", "ruff"]
    in_copy(extended, *ruff, "check", "--no-cache", *files)
    in_copy(extended, *ruff, "format", "--no-cache", "--check", *files)
    in_copy(extended, Path(sys.executable).with_name("lint-imports"), "--no-cache")


LISTED = {
    "models": ["bandit\n    A bandit with many arms, one of them best; "],
    "schema": ['"const": "bandit"', '"belief_entries"', '"filter"'],
    "passes": [
        "recompute\n    numpy: A, B and D of agents that learn are recomputed from ",
        "    belief_entries: entries to keep of each belief",
    ],
    "instruments": ["mapped_files\n    resident pages of the files that the process "],
    "formats": ["openmetrics\n    NAME.prom: for Prometheus\n"],
}


@pytest.mark.parametrize("command", LISTED)
def test_it_is_listed(memprof, command):
    listed = memprof(command).out
    assert [words for words in LISTED[command] if words not in listed] == []


def test_the_model_is_profiled_and_the_format_has_its_figures(memprof, scenario):
    model, agent = {"kind": "bandit", "arms": ARMS}, {"use_states_info_gain": False}
    run = memprof("profile", scenario(model=model, agent=agent, steps=1, passes=[]))
    assert run.code == 0, run.err
    before = run.report()["variants"]["before"]
    nominal = {
        row["component"]: row["private_nominal_bytes"] + row["shared_nominal_bytes"]
        for row in before["ledger"]["rows"]
    }
    choices = ARMS + 1
    A, B = 8 * (2 + choices) * ARMS * choices, 8 * (ARMS**2 + choices**3)
    assert nominal["A"] == pytest.approx(before["ledger"]["agents"] * A, rel=0.01)
    assert nominal["B"] == pytest.approx(before["ledger"]["agents"] * B, rel=0.01)
    assert before["per_agent"]["marginal_bytes"] == pytest.approx(A + B, rel=0.05)
    text = (run.folder / "reports" / "case.prom").read_text()
    assert text.endswith("\n# EOF\n")
    again = memprof("report", "reports/case.json", "--format", "openmetrics")
    assert again.out == text
    samples = dict(line.rsplit(" ", 1) for line in text.splitlines() if line[0] != "#")
    variant = '{scenario="case",variant="before"}'
    assert {name: float(value) for name, value in samples.items()} == {
        f"memprof_agent_marginal_bytes{variant}": before["per_agent"]["marginal_bytes"],
        f"memprof_agent_marginal_upper_bytes{variant}": before["per_agent"]["ci95_bytes"][1],
        f"memprof_fixed_bytes{variant}": before["per_agent"]["fixed_bytes"],
        f"memprof_step_seconds{variant}": before["step_seconds"]["median"],
    }


def test_the_pass_saves_B_and_is_proved_exact(memprof):
    short = ["--agents", 5, "--steps", 3, "--repeats", 1, "--instruments", "none"]
    run = memprof("profile", SCENARIOS / "learning-10.yaml", "--passes", "recompute", *short)
    assert run.code == 0, run.err
    report = run.report("learning-10")
    assert report["equivalence"]["verdict"] == "exact"
    assert [each["outcome"] for each in report["passes"]] == ["saves"]
    saved = report["passes"][0]["saved_bytes_per_agent"]
    assert saved == pytest.approx(8 * 5 * 100**2, rel=0.05)  # B
    text = (run.folder / "reports" / "learning-10.prom").read_text()
    figures = re.findall(r'_marginal_bytes\{.*"(.*)"\} (.*)', text)
    assert [name for name, _ in figures] == ["before", "after"]
    assert float(figures[0][1]) - float(figures[1][1]) == pytest.approx(saved)


def test_the_instrument_sees_mapped_files_which_the_process_does_not(memprof, scenario, tmp_path):
    np.save(tmp_path / "likelihood.npy", np.full((SIGHTS, STATES), 1 / SIGHTS))
    (tmp_path / "mapping.py").write_text(MAPPED)
    model = {"kind": "factory", "callable": "mapping:make"}
    run = memprof("profile", scenario(model=model, passes=[], instruments=["mapped_files"]))
    assert run.code == 0, run.err
    found = {each["name"]: each for each in run.report()["variants"]["before"]["instruments"]}
    size = 8 * SIGHTS * STATES
    assert found["mapped_files"]["per_agent_bytes"] == pytest.approx(size, rel=0.05)
    assert found["process"]["per_agent_bytes"] < size / 2
    assert "shared memory" in found["mapped_files"]["sees"]


OPTIMIZE = """
import inspect

import numpy as np
from pymdp.legacy import utils
from pymdp.legacy.agent import Agent

import memprof

assert "belief_entries" in inspect.signature(memprof.optimize).parameters
A, B = utils.random_A_matrix([9], [9]), utils.random_B_matrix([9], [2])
with memprof.optimize([Agent(A=A, B=B)], passes=["peaks"], belief_entries=4) as population:
    with population.activate(0) as agent:
        agent.infer_states([0])
    with population.activate(0) as agent:
        print(np.count_nonzero(agent.qs[0]))
"""


def test_the_option_of_the_pass_is_a_field_an_option_and_a_keyword(memprof, scenario, extended):
    def told(**fields):
        return scenario(model={"kind": "grid_world", "size": 10}, steps=2, **fields)

    entries = 2
    run = memprof("profile", told(), "--passes", "peaks", "--belief-entries", entries)
    assert run.code == 0, run.err
    report = run.report()
    assert report["scenario"]["belief_entries"] == entries
    assert report["equivalence"]["verdict"] == "bounded"
    before, after = (
        row["private_nominal_bytes"]
        for variant in ("before", "after")
        for row in report["variants"][variant]["ledger"]["rows"]
        if row["component"] == "beliefs (qs)"
    )
    assert before - after > 4 * 8 * 10**2 / 2  # four agents' beliefs, which are one-hot
    for fields, problem in (
        ({"passes": ["peaks"], "belief_entries": 0}, "belief_entries"),
        ({"passes": ["share"], "belief_entries": 2}, "takes effect under the pass peaks only"),
    ):
        refused = memprof("profile", told(**fields))
        assert refused.code == 2
        assert problem in refused.err
    assert in_copy(extended, sys.executable, "-c", OPTIMIZE) == "4\n"


def test_the_backend_is_profiled_and_costs_the_model_and_a_belief(memprof, scenario):
    states, actions = 100, 5
    model = {"kind": "grid_world", "size": 10}
    run = memprof("profile", scenario(backend="filter", model=model, agents=20, effort="normal"))
    assert run.code == 0, run.err
    before = run.report()["variants"]["before"]
    size = 8 * (states**2 + states**2 * actions + states)
    assert before["per_agent"]["marginal_bytes"] == pytest.approx(size, rel=0.05)
    rows = {row["component"]: row for row in before["ledger"]["rows"]}
    assert rows["belief"]["private_nominal_bytes"] == pytest.approx(
        before["ledger"]["agents"] * (8 * states), rel=0.2
    )
    refused = memprof("profile", scenario(backend="filter", model={"kind": "t_maze"}))
    assert refused.code == 2
    assert "3 modalities and 2 factors" in refused.err
