"""The fixture `memprof` of the pytest plugin as users have it, on PyMDP agents of their own."""

import pytest

from tests.conftest import Session, run_pytest

AGENTS = """
import numpy as np

def model(cells=60):
    A, B = np.empty(1, dtype=object), np.empty(1, dtype=object)
    A[0] = np.eye(cells)
    B[0] = np.stack([np.eye(cells), np.roll(np.eye(cells), 1, axis=0)], axis=2)
    return {"A": A, "B": B}

class World:
    def __init__(self, start):
        self.start = start

    def reset(self):
        return self.start

    def step(self, action):
        return self.start
"""

FORAGERS = """
import numpy as np
from pymdp.legacy.agent import Agent

class Forager(Agent):
    def __init__(self, **arguments):
        super().__init__(**arguments)
        self.memory = self.A[0] * np.random.random()  # a copy of A for each agent
"""

TESTS = """
import pytest
from helpers.agents import World, model
from .foragers import Forager

def forager():
    return Forager(**model())

def lean(agent, cells):
    return model(cells), World(start=agent)

def broken():
    raise RuntimeError("in the user's own code")

SMALL = {"agents": 4, "steps": 1, "effort": "quick"}

def test_planted(memprof):
    memprof(forager, per_agent="100 KB", **SMALL)

@pytest.mark.agent_memory(per_agent="100 KB")
def test_lean(memprof):
    report = memprof(lean, params={"cells": 50}, **SMALL)
    assert report.variants.before.per_agent.marginal_bytes > 60_000
    assert report.variants.after is None
    assert report.scenario.instruments == ()
    assert report.budget.limit_bytes == 100_000

class TestInAClass:
    def test_broken(self, memprof):
        memprof(broken, **SMALL)

    def test_expected(self, memprof):
        from memprof.errors import UsageError
        with pytest.raises(UsageError, match="TestInAClass.test_broken"):
            memprof(TestInAClass.test_broken)

def test_lambda(memprof):
    memprof(lambda: forager(), **SMALL)
"""

MODES = """
def build():
    raise RuntimeError(f"{word} {__name__}")

def test_mode(memprof):
    memprof(build, agents=1)
"""


@pytest.fixture(scope="module")
def session(tmp_path_factory) -> Session:
    """Modules that only a conftest.py's change of the path leads to."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "lib" / "helpers").mkdir(parents=True)
    (folder / "lib" / "helpers" / "agents.py").write_text(AGENTS)
    (folder / "tests").mkdir()
    (folder / "tests" / "__init__.py").touch()
    (folder / "tests" / "foragers.py").write_text(FORAGERS)
    (folder / "tests" / "conftest.py").write_text("import sys\nsys.path.append('lib')\n")
    (folder / "tests" / "test_own.py").write_text(TESTS)
    return run_pytest(folder)


def test_an_attribute_that_copies_a_for_each_agent_fails_the_test_and_is_named(session):
    """60 x 60 cells: A takes 29 KB, B 58 KB, and so does the copy what A takes."""
    assert session.outcomes["test_planted"] == "FAILED", session.out
    lines = session.texts["test_planted"].splitlines()
    assert "forager: an agent costs 1" in lines[0]
    text = "\n".join(lines)
    assert "Marginal cost: 1" in text
    assert "limit: 100 KB" in text
    assert "4 agents, 1 step, no passes, 1 fresh worker." in text
    table = text[text.index("component") :].splitlines()[2:]
    ledger = {row[0]: row[1:] for row in (line.strip().split("  ") for line in table if line)}
    names = list(ledger)
    assert set(names[:3]) == {"B", "A", "Forager.memory"}
    assert "KB" in "".join(ledger["Forager.memory"])
    assert names[-1] == "unexplained"
    assert "0 B" in "".join(ledger["Forager.memory"]), "nothing of it is shared"
    assert "pytest_plugin.py" not in session.out


def test_what_is_within_the_limit_passes_and_gives_the_report(session):
    assert session.outcomes["test_lean"] == "PASSED", session.out


def test_what_cannot_be_measured_is_an_error_in_one_message(session):
    assert session.outcomes["test_broken"] == "ERROR"
    text = session.texts["test_broken"]
    assert "tests/test_own.py: model.callable: " in text
    assert "broken failed for agent 0: RuntimeError: in the user's own code" in text
    assert session.outcomes["test_expected"] == "PASSED", "it is an exception like any other"
    assert session.outcomes["test_lambda"] == "ERROR"
    assert "Write `def build(): ...` outside of any function" in session.texts["test_lambda"]
    summary = session.out.partition("short test summary info")[2]
    assert "FAILED tests/test_own.py::test_planted - Failed: forager: an agent costs" in summary
    assert "1 failed, 2 passed, 2 errors" in summary


def test_workers_find_test_modules_that_no_path_leads_to(tmp_path):
    """In a package with a relative import, and in a folder whose name is none for a module."""
    package, folder = tmp_path / "tests", tmp_path / "3d-tests"
    package.mkdir()
    folder.mkdir()
    (package / "__init__.py").touch()
    (package / "beside.py").write_text("word = 'found'")
    (package / "test_package.py").write_text(f"from .beside import word\n{MODES}")
    (folder / "test-alone.py").write_text(f"word = 'alone'\n{MODES.replace('mode', 'alone')}")
    importlib = ("--import-mode=importlib", "-o", "python_files=test*.py")
    session = run_pytest(tmp_path, *importlib)
    assert session.outcomes == {"test_mode": "ERROR", "test_alone": "ERROR"}, session.out
    assert (
        "failed for agent 0: RuntimeError: found tests.test_package" in session.texts["test_mode"]
    )
    assert (
        "failed for agent 0: RuntimeError: alone _3d_tests.test_alone"
        in session.texts["test_alone"]
    )
