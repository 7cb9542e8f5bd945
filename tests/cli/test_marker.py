"""The marker `agent_memory` as users have it: pytest in a subprocess, on agents of known size."""

import subprocess
import sys
import tomllib

import pytest
import yaml

from tests.conftest import ROOT, Session, run_pytest

SCENARIOS = {
    "small": {},
    "budgeted": {"budget": {"per_agent": "50 KB"}},
    "halved": {"passes": ["fake-half"], "budget": {"per_agent": "150 KB"}},
    "breaks": {"passes": ["fake-break"]},
    "dies": {"model": {"kind": "buffer", "fault": "die"}},
    "wrong": {"agents": "many"},
}

TESTS = """
import pytest

marked = pytest.mark.agent_memory

@marked(per_agent="300 KB", scenario="team/small.yaml")
def test_kept():
    pass

@marked(per_agent="300 KB", scenario="team/small.yaml")
def test_kept_again():
    pass

@marked(per_agent=64_000, scenario="team/small.yaml")
def test_over():
    print("the body ran")

@marked(scenario="team/budgeted.yaml")
def test_own_budget():
    pass

@marked(per_agent="1 GB", scenario="team/budgeted.yaml")
def test_own_budget_holds_too():
    pass

@marked(scenario="team/halved.yaml")
def test_after_the_passes():
    pass

@marked(per_agent="1 GB", scenario="team/breaks.yaml")
def test_diverged():
    pass

@marked(per_agent="300 KB", scenario="team/small.yaml")
def test_body_fails():
    assert "mine" == "yours"

@marked(per_agent="1 KB", scenario="team/small.yaml")
@pytest.mark.skip
def test_skipped():
    pass

@marked(per_agent="64 KB", scenario="team/small.yaml")
@pytest.mark.xfail
def test_expected():
    pass

@marked(per_agent="64 KB", scenario="team/dies.yaml")
def test_dies():
    pass

@marked(per_agent="64 KB", scenario="team/wrong.yaml")
def test_wrong():
    pass

@marked(per_agent="64 KB", scenario="small.yaml")
def test_no_file():
    pass

@marked(scenario="team/small.yaml")
def test_no_size():
    pass

@marked(per_agent="64 KB")
def test_nothing():
    pass

@marked
def test_bare():
    pass

@marked(per_agent="64 KB")
def test_never_called(memprof):
    pass

@marked(per_agent="64 sheep", scenario="team/small.yaml")
def test_no_number():
    pass

@marked("64 KB", scenario="team/small.yaml")
def test_positional():
    pass

@marked(per_agnet="64 KB", scenario="team/small.yaml")
def test_misspelt():
    pass

@marked(per_agent="64 KB", scenario="team/small.yaml")
@marked(per_agent="65 KB", scenario="team/small.yaml")
def test_twice():
    pass

def test_file(memprof):
    report = memprof("team/small.yaml", agents=4)
    assert report.scenario.agents == 4
    assert 190_000 < report.variants.before.per_agent.marginal_bytes < 230_000

def test_file_over(memprof):
    memprof("team/small.yaml", per_agent="64 KB")

def test_file_field(memprof):
    memprof("team/small.yaml", agents="many")

def test_file_params(memprof):
    memprof("team/small.yaml", params={"size": 1})

def test_file_dies(memprof):
    memprof("team/dies.yaml")
"""

COUNTING = """
from memprof.profile import run

measured = []

def counted(loaded, *others, real=run.check):
    measured.append(f"{loaded.scenario.name}:per_agent={loaded.scenario.limit_bytes}")
    return real(loaded, *others)

run.check = counted

def pytest_terminal_summary(terminalreporter):
    terminalreporter.write_line("measured " + ", ".join(measured))
"""


def write(folder):
    (folder / "team").mkdir()
    base = {"backend": "fake", "agents": 3, "steps": 1, "repeats": 1, "passes": []}
    for name, fields in SCENARIOS.items():
        model = {"kind": "buffer", "size": "200 KB"}
        text = yaml.safe_dump({"name": name, **base, "model": model, **fields}, sort_keys=False)
        (folder / "team" / f"{name}.yaml").write_text(text)
    (folder / "test_team.py").write_text(TESTS)


@pytest.fixture(scope="module")
def session(tmp_path_factory) -> Session:
    folder = tmp_path_factory.mktemp("marked")
    write(folder)
    (folder / "conftest.py").write_text(COUNTING)
    return run_pytest(folder)


@pytest.mark.parametrize(
    ("test", "outcome", "words"),
    [
        ("kept", "PASSED", ()),
        ("over", "FAILED", ("small: an agent costs 20", "KB, more than 64.0 KB", "limit: 64.0 KB")),
        ("over", "FAILED", ("3 agents, 1 step, no passes, 1 fresh worker.",)),
        ("own_budget", "FAILED", ("budgeted: an agent costs", "more than 50.0 KB")),
        ("own_budget_holds_too", "FAILED", ("more than 50.0 KB",)),
        ("after_the_passes", "PASSED", ()),
        ("diverged", "FAILED", ("breaks: passes fake-break changed the agents' behaviour",)),
        ("body_fails", "FAILED", ("assert 'mine' == 'yours'",)),
        ("skipped", "SKIPPED", ("unconditional skip",)),
        ("expected", "XFAIL", ()),
        ("dies", "ERROR", ("the worker was killed (SIGKILL) in phase",)),
        ("wrong", "ERROR", ("team/wrong.yaml:", "agents: expected a whole number")),
        ("no_file", "ERROR", ("no such scenario file", "relative paths start at pytest's rootdir")),
        ("no_size", "ERROR", ("agent_memory: no size", "since team/small.yaml has no budget")),
        ("nothing", "ERROR", ("agent_memory: nothing to check; give it scenario='path.yaml'",)),
        ("bare", "ERROR", ("agent_memory: nothing to check",)),
        ("never_called", "ERROR", ("requested the fixture memprof but never called it",)),
        ("no_number", "ERROR", ("per_agent: expected a size such as 64 KB", "'64 sheep'")),
        ("positional", "ERROR", ("agent_memory: expected keyword arguments", "'64 KB'")),
        ("misspelt", "ERROR", ("unknown argument 'per_agnet'; did you mean 'per_agent'?",)),
        ("twice", "ERROR", ("agent_memory: duplicate marker",)),
        ("file", "PASSED", ()),
        ("file_over", "FAILED", ("small: an agent costs", "other agent objects")),
        ("file_field", "ERROR", ("agents: expected a whole number, found 'many'",)),
        ("file_params", "ERROR", ("params: only apply to a function",)),
        ("file_dies", "ERROR", ("the worker was killed (SIGKILL)",)),
    ],
)
def test_what_becomes_of_a_test(session, test, outcome, words):
    assert session.outcomes[f"test_{test}"] == outcome, session.out
    text = session.texts[f"test_{test}"]
    for each in words:
        assert each in text
    assert test == "body_fails" or "pytest_plugin.py" not in text, "no traceback through memprof"


def test_the_run_fails_and_says_so_in_its_summary(session):
    assert session.code == 1
    summary = session.out.partition("short test summary info")[2]
    assert "FAILED test_team.py::test_over - Failed: small: an agent costs 20" in summary
    assert "ERROR test_team.py::test_dies - memprof.errors.WorkerDied: the worker" in summary
    assert "ERROR at call of test_file_dies" in session.out
    assert "--file-field" not in session.out
    assert "--agents: " not in session.out, "there is no command line to put right"


def test_a_scenario_is_measured_once_for_a_limit(session):
    (line,) = (each for each in session.out.splitlines() if each.startswith("measured "))
    measured = line.removeprefix("measured ").split(", ")
    assert measured.count("small:per_agent=300000") == 1, "two tests, and one whose body fails"
    assert measured.count("small:per_agent=64000") == 2, "by the markers once, and by the fixture"


def test_under_xdist_it_is_the_same(tmp_path):
    write(tmp_path)
    chosen = "test_over or test_file_dies or test_kept_again or test_wrong"
    session = run_pytest(tmp_path, "-p", "xdist", "-n", 2, "-k", chosen)
    assert "1 failed, 1 passed, 2 errors" in session.out
    assert "ERROR at setup of test_wrong" in session.out
    assert "ERROR at call of test_file_dies" in session.out
    assert "small: an agent costs 20" in session.out
    assert "other agent objects" in session.out


def test_a_run_that_does_not_use_it_imports_nothing_else():
    program = (
        "import sys, pytest; before = {*sys.modules}; import memprof.pytest_plugin;"
        "print(*sorted({*sys.modules} - before))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["memprof", "memprof.pytest_plugin"]


def test_an_installed_memprof_is_a_plugin_without_being_asked_for():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["pytest11"] == {project["name"]: "memprof.pytest_plugin"}


def test_the_marker_and_the_fixture_are_listed(tmp_path):
    listed = run_pytest(tmp_path, "--markers").out
    assert "@pytest.mark.agent_memory(*, per_agent=None, scenario=None): fail the test" in listed
    assert 'memprof(build, agents=20, per_agent="64 KB")' in run_pytest(tmp_path, "--fixtures").out
