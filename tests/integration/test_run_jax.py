"""`memprof run` on a program of JAX agents, as PyMDP's notebooks are: a batch in a loop."""

import json
import subprocess

import pytest

from tests.conftest import COMMAND

PROGRAM = """
import jax.numpy as jnp
import jax.random as jr
from pymdp.agent import Agent

def main(agents=6, places=12):
    moves = jnp.stack([jnp.eye(places), jnp.roll(jnp.eye(places), 1, 0)], -1)
    agent = Agent(A=[jnp.eye(places)], B=[moves], batch_size=agents)
    prior = agent.D
    for step in range(3):
        qs = agent.infer_states([jnp.zeros((agents, 1), int)], prior)
        q_pi, _ = agent.infer_policies(qs)
        action = agent.sample_action(q_pi, rng_key=jr.split(jr.PRNGKey(step), agents))
        prior = agent.update_empirical_prior(action, qs)
    print(action.shape)

main()
"""


def test_a_batch_counts_its_rows_and_what_jax_compiles_has_the_users_line(tmp_path):
    (tmp_path / "batch.py").write_text(PROGRAM)
    command = [*COMMAND, "run", "--full", "batch.py"]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=600
    )
    assert done.stdout.startswith("(6, 1)\n")
    report = json.loads((tmp_path / "reports" / "batch-run.json").read_text())
    (kind,) = report["kinds"]
    assert (kind["agents"], kind["built"], kind["backend"]) == (6, 1, "jax")
    rows = {row["component"]: row for row in kind["ledger"]["rows"]}
    for name, numbers in {"A": 12 * 12, "B": 12 * 12 * 2}.items():
        assert rows[name]["private_nominal_bytes"] == 6 * 4 * numbers, "no more than the arrays"
    assert kind["per_agent"]["bytes"] == pytest.approx(4 * 12 * 12 * 3, rel=0.2)
    uses = {each["operation"]: each["calls"] for each in report["watched"]["operations"]}
    assert uses["infer_policies"] == uses["sample_action"] == 3
    compiling = report["watched"]["compiling"]
    lines = {line["text"].split("(")[0]: line["traces"] for line in compiling["lines"]}
    assert lines["q_pi, _ = agent.infer_policies"] >= 3, "it traces in every step"
    assert "JAX traced" in done.stdout
