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

from tests.conftest import ROOT, SCENARIOS, run_command

PAGE = (ROOT / "docs" / "architecture.md").read_text()
KINDS = ("model", "pass", "instrument", "format")
MOST_LINES = 40

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
    applied at the only place that it fits."""
    for name, language, lines in blocks(kind):
        file = package.parent / name
        if language == "python":
            assert not file.exists(), f"{name} is there already"
            file.write_text("\n".join(lines) + "\n")
            continue
        assert language == "diff"
        was, becomes = (
            "".join(f"{line[1:]}\n" for line in lines if line[0] in signs) for signs in (" -", " +")
        )
        text = file.read_text()
        assert text.count(was) == 1, f"{name} has no such place, or several:\n{was}"
        file.write_text(text.replace(was, becomes))


def copy_to(folder: Path) -> Path:
    """A copy of the package, with what checks it."""
    shutil.copy(ROOT / "pyproject.toml", folder)
    return Path(
        shutil.copytree(
            ROOT / "memprof", folder / "memprof", ignore=shutil.ignore_patterns("__pycache__")
        )
    )


@pytest.fixture(scope="module")
def extended(tmp_path_factory):
    """A copy of the package with all four examples."""
    folder = tmp_path_factory.mktemp("extended")
    package = copy_to(folder)
    for kind in KINDS:
        add(kind, package)
    return folder


@pytest.fixture
def memprof(extended, tmp_path):
    """Run `memprof ARGUMENTS` of that copy in an empty folder."""

    def run(*arguments):
        return run_command(tmp_path, *arguments, PYTHONPATH=str(extended))

    return run


def checked(folder, *command):
    """Run a tool on the copy of the package in `folder`."""
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_page_names_every_room():
    tree = PAGE[PAGE.index("```\nmemprof/") : PAGE.index("`scenarios/` has")]
    rooms = {
        f"{path.name}/" if path.is_dir() else path.name
        for path in (ROOT / "memprof").iterdir()
        if not path.name.startswith("_")
    }
    assert rooms == set(re.findall(r"\w+(?:\.py|/)(?=[\s,;:])", tree)) - {
        "memprof/", "spawn.py", "jobs.py", "jax/", "html/",
    }  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_each_takes_less_than_forty_lines(kind):
    found = blocks(kind)
    assert [language for _, language, _ in found] == ["python", "diff"]
    assert sum(len(lines) for _, _, lines in found) < MOST_LINES


def test_the_checks_are_content(extended):
    touched = {extended / name for kind in KINDS for name, *_ in blocks(kind)}
    ruff = [sys.executable, "-m", "ruff"]
    checked(extended, *ruff, "check", "--no-cache", *touched)
    checked(extended, *ruff, "format", "--no-cache", "--check", *touched)
    checked(extended, Path(sys.executable).with_name("lint-imports"), "--no-cache")


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("models", "bandit\n    A bandit with many arms, one of them best; "),
        ("schema", '"const": "bandit"'),
        ("passes", "recompute\n    numpy: A, B and D of agents that learn are computed anew "),
        (
            "instruments",
            "mapped_files\n    resident pages of the files that the process ",
        ),
        ("formats", "openmetrics\n    NAME.prom: for Prometheus\n"),
    ],
)
def test_it_is_listed(memprof, command, words):
    assert words in memprof(command).out


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
