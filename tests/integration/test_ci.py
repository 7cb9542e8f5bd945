"""What docs/ci.md shows runs as written: the workflow for GitHub, and the script for others."""

import json
import re
import subprocess
from xml.etree import ElementTree

import jsonschema
import pytest
import yaml

from memprof.cli.init import template
from memprof.values.gate import DEFAULTS, parse_tolerance
from tests.conftest import COMMAND, ROOT
from tests.github_runner import Runner, ci_environment, evaluate, git

DOCS = (ROOT / "docs" / "ci.md").read_text()
BASELINE = "memprof-baseline.json"

# Small agents that a factory builds, so that a change of the code can make them heavier.
AGENTS = """\
import numpy as np
from pymdp.legacy.agent import Agent


class Forager(Agent):
    def __init__(self, **arguments):
        super().__init__(**arguments)


def make(size):
    A, B = np.empty(1, dtype=object), np.empty(1, dtype=object)
    A[0] = np.eye(size)
    B[0] = np.stack([np.eye(size), np.roll(np.eye(size), 1, axis=0)], axis=2)
    return Forager(A=A, B=B, policy_len=1)
"""
HEAVIER = AGENTS.replace(
    "(**arguments)\n\n", "(**arguments)\n        self.memory = np.ones(10**5)\n\n"
)
SMALL = {
    "model": {"kind": "factory", "callable": "agents:make", "params": {"size": 40}},
    "agent": {},
    "agents": 4,
    "steps": 3,
    "passes": [],
    "repeats": 2,
    "effort": "quick",
    "budget": {"per_agent": "10 MB"},  # so that the regression is one of the baseline
    "tolerances": {"step_ratio": "2000%"},  # other tests run beside this one
}


def block(name):
    """The block of docs/ci.md below the line that ends with the file's name."""
    return re.search(rf"`{re.escape(name)}`[^`]*:\n\n```\w+\n(.*?)```", DOCS, re.DOTALL)[1]


def make_repository(folder):
    """A bare repository of a project made by `memprof init --github`, whose agents are small."""
    project, origin = folder / "project", folder / "origin.git"
    subprocess.run([*COMMAND, "init", str(project), "--github"], check=True, capture_output=True)
    starter = project / "scenarios/starter.yaml"
    starter.write_text(yaml.safe_dump({**yaml.safe_load(starter.read_text()), **SMALL}))
    (project / "scenarios/agents.py").write_text(AGENTS)
    git("init", "--quiet", "--initial-branch", "main", str(project))
    commit(project)
    git("clone", "--quiet", "--bare", str(project), str(origin))
    return project, origin


def commit(project):
    git("add", ".", cwd=project)
    git("commit", "--quiet", "--message", "Change", cwd=project)


def test_the_workflow_runs_as_it_is_written(tmp_path):
    project, origin = make_repository(tmp_path)
    runner = Runner(block(".github/workflows/memprof.yml"), origin, tmp_path / "runs")

    before = runner.run("push", "main")
    assert set(before) == {"measure"}
    assert before["measure"].codes["Install memprof"] == 0, before["measure"].output
    assert before["measure"].codes["Gate"] == 3, "there is no baseline yet"
    assert "there is no baseline memprof-baseline.json" in before["measure"].output

    made = runner.run("workflow_dispatch", "main", force=False)
    assert made["measure"].codes["Gate"] is None
    assert [job.result for job in made.values()] == ["success"] * 2, made["measure"].output
    assert git("show", "--format=%an: %s", "--name-only", "main", cwd=origin).split("\n") == [
        "github-actions[bot]: New memory baseline", "", BASELINE, "",
    ]  # fmt: skip
    assert "starter" in json.loads(git("show", f"main:{BASELINE}", cwd=origin))["scenarios"]

    same = runner.run("push", "main")
    assert set(same) == {"measure"}, "only a run that makes a baseline may write"
    assert same["measure"].result == "success", same["measure"].output
    assert "::error" not in same["measure"].output
    assert "No metric changed" in same["measure"].summary
    kept = ElementTree.parse(runner.artifacts / "memprof/reports/memprof.xml").getroot()
    assert (kept.get("failures"), kept.get("errors")) == ("0", "0")

    git("pull", "--quiet", str(origin), "main", cwd=project)
    git("checkout", "--quiet", "-b", "change", cwd=project)
    (project / "scenarios/agents.py").write_text(HEAVIER)
    commit(project)
    git("push", "--quiet", str(origin), "change", cwd=project)
    worse = runner.run("pull_request", "change")["measure"]
    assert (worse.codes["Gate"], worse.codes["Keep the reports"]) == (1, 0), worse.output
    (error,) = [
        line
        for line in worse.output.splitlines()
        if line.startswith("::error ") and "marginal_bytes" in line
    ]
    assert error.startswith("::error file=scenarios/starter.yaml,title=memprof")
    assert "Forager.memory" in error
    assert re.search(r"(?s)marginal\\_bytes worse by .*Forager\.memory", worse.summary)
    report = json.loads((runner.artifacts / "memprof/reports/gate.json").read_text())
    assert report["scenarios"][0]["components"][0]["component"] == "Forager.memory"
    kept = ElementTree.parse(runner.artifacts / "memprof/reports/memprof.xml").getroot()
    assert int(kept.get("failures")) >= 1


def test_the_pipeline_for_other_servers_runs_as_it_is_written(tmp_path):
    project, _ = make_repository(tmp_path)
    (project / "ci").mkdir()
    (project / "ci/memprof.sh").write_text(block("ci/memprof.sh"))
    jobs = yaml.safe_load(block(".gitlab-ci.yml"))

    def run(name, **variables):
        shell = subprocess.run(
            ["sh", "-ec", "\n".join(jobs[name]["script"])],
            cwd=project,
            env=ci_environment({**jobs[name].get("variables", {}), **variables}),
            capture_output=True,
            text=True,
            check=False,
        )
        return shell.returncode, shell.stdout + shell.stderr

    code, output = run("memprof")
    assert code == 3, output
    assert f"there is no baseline {BASELINE}" in output
    code, output = run("memprof-baseline")
    assert code == 0, output
    code, output = run("memprof")
    assert code == 0, output
    kept = jobs["memprof"]["artifacts"]
    assert kept["when"] == "always"
    assert all((project / path).exists() for path in kept["paths"])
    assert ElementTree.parse(project / kept["reports"]["junit"]).getroot().get("errors") == "0"
    assert all((project / path).exists() for path in jobs["memprof-baseline"]["artifacts"]["paths"])
    wrong = subprocess.run(["sh", "ci/memprof.sh", "gaet"], cwd=project, check=False)
    assert wrong.returncode == 2


def test_the_workflow_is_the_one_that_init_writes():
    assert block(".github/workflows/memprof.yml") == template("github.yml")


def test_the_workflow_is_valid():
    schema = json.loads((ROOT / "tests/golden/github-workflow.json").read_text())
    text = template("github.yml").replace("\non:", "\n'on':")  # YAML 1.1 reads on as true
    jsonschema.Draft7Validator(schema).validate(yaml.safe_load(text))


def test_the_workflow_takes_no_secrets_and_few_rights():
    text, workflow = template("github.yml"), yaml.safe_load(template("github.yml"))
    assert "secrets" not in text
    assert workflow["permissions"] == {"contents": "read"}
    rights = {name: job.get("permissions") for name, job in workflow["jobs"].items()}
    assert rights == {"measure": None, "commit": {"contents": "write"}}
    assert len({job["runs-on"] for job in workflow["jobs"].values()}) == 1


@pytest.mark.parametrize(("force", "option"), [(True, "--force"), (False, "")])
def test_the_baseline_is_forced_only_on_demand(force, option):
    (command,) = re.findall(r"--update \$\{\{(.*)\}\}", template("github.yml"))
    assert evaluate(command, {"inputs": {"force": force}}, failed=False) == option


def test_the_tolerances_in_the_table_are_the_defaults():
    rows = dict(re.findall(r"^\| `(\w+)` \| [^|]+ \| (\d[^|]*) \|", DOCS, re.MULTILINE))
    assert {name: parse_tolerance(name, text.strip()) for name, text in rows.items()} == DEFAULTS
