"""What `memprof run` says an agent costs is what `memprof profile` measures of the same agents in
fresh processes."""

import json
import subprocess
from pathlib import Path

import pytest

from memprof.launch.runner import Observer
from memprof.posix import Limits
from memprof.profile.run import profile
from memprof.scenario import load_scenario
from tests.conftest import COMMAND, SCENARIOS

PROGRAM = """
from pathlib import Path

from pymdp.legacy import utils
from pymdp.legacy.agent import Agent

from memprof.models import model_builder
from memprof.scenario import load_scenario

spec = load_scenario(Path({path!r})).spec(())
build = model_builder(spec.model, spec.folder, spec.builder)


def make(number):
    arguments = {{**build(number).arguments, **spec.agent}}
    priors = {{f"p{{name}}": utils.dirichlet_like(arguments[name]) for name in spec.learning}}
    return Agent(**priors, **arguments)


def main():
    agents = [make(number) for number in range({agents})]
    for _ in range(2):
        for agent in agents:
            agent.infer_states([0] * len(agent.A))
            agent.infer_policies()
            agent.sample_action()


main()
"""


@pytest.mark.parametrize(
    ("name", "agents", "how"),
    [
        ("grid-29", 8, "slope"),
        ("learning-10", 30, "slope"),
        ("t-maze", 60, "ledger"),
    ],
)
def test_what_an_agent_of_a_program_costs_is_what_profile_measures(tmp_path, name, agents, how):
    path = SCENARIOS / f"{name}.yaml"
    (tmp_path / "program.py").write_text(PROGRAM.format(path=str(path), agents=agents))
    command = [*COMMAND, "run", "--quiet", "program.py"]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=300)
    found = json.loads((tmp_path / "reports" / "program-run.json").read_text())
    (kind,) = found["kinds"]
    fields = {"agents": agents, "steps": 2, "repeats": 1, "passes": [], "instruments": []}
    measured = profile(load_scenario(Path(path), fields), Limits(), Observer()).report
    cost = kind["per_agent"]
    assert kind["agents"] == agents
    assert cost["how"] == how
    assert cost["bytes"] == pytest.approx(
        measured.variants.before.per_agent.marginal_bytes, rel=0.05
    )
