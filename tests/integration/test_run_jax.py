"""`memprof run` on a program of JAX agents, as PyMDP's notebooks are: a batch in a loop."""

import json
import subprocess
import weakref

import pytest

from memprof.watching.looks import living
from memprof.watching.registry import Crowd, is_hollow
from memprof.watching.sharing import sharing_of
from tests.conftest import COMMAND

PROGRAM = """
import jax
import jax.numpy as jnp
import jax.random as jr
import memprof
from pymdp.agent import Agent
from pymdp.envs import PymdpEnv, rollout

mine = jnp.ones((1000, 100))

def main(agents=6, places=12):
    moves = jnp.stack([jnp.eye(places), jnp.roll(jnp.eye(places), 1, 0)], -1)
    A, B = (jnp.broadcast_to(each, (agents, *each.shape)) for each in (jnp.eye(places), moves))
    starts = jnp.eye(places)[:agents]
    agent = Agent(A=[A], B=[B], D=[starts], batch_size=agents)
    prior = agent.D
    for step in range(3):
        qs = agent.infer_states([jnp.zeros((agents, 1), int)], prior)
        q_pi, _ = agent.infer_policies(qs)
        action = agent.sample_action(q_pi, rng_key=jr.split(jr.PRNGKey(step), agents))
        prior = agent.update_empirical_prior(action, qs)
    memprof.mark("lived")
    jax.jit(lambda each: each + 1, donate_argnums=0)(agent.C[0])
    print(agent.C[0].is_deleted(), action.shape)

def roll(rows=3, places=12, steps=4):
    A, B = jnp.eye(places), jnp.stack([jnp.eye(places)] * 2, -1)
    D = jnp.eye(places)[0]
    many = [jnp.broadcast_to(each, (rows, *each.shape)) for each in (A, B, D)]
    A, B, D = ([each] for each in many)
    agent = Agent(A=A, B=B, D=D, pA=[A[0] + 1], learn_A=True, batch_size=rows)
    world = PymdpEnv(A=[A[0][0]], B=[B[0][0]], D=[D[0][0]])
    kept = []
    for turn in range(2):
        kept.append(rollout(agent, world, steps, jr.PRNGKey(turn))[1])
    jax.eval_shape(lambda key: rollout(agent, world, steps, key)[1], jr.PRNGKey(0))
    memprof.mark("rolled")
    print(sum(each.nbytes for each in jax.tree_util.tree_leaves(kept)))

main()
roll()
"""


def test_a_batch_counts_its_rows_and_what_jax_compiles_has_the_users_line(tmp_path):
    (tmp_path / "batch.py").write_text(PROGRAM)
    command = [*COMMAND, "run", "--full", "batch.py"]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=600
    )
    assert done.stdout.startswith("True (6, 1)\n"), "what was compared can still be donated"
    report = json.loads((tmp_path / "reports" / "batch-run.json").read_text())
    looks = {look["name"]: look for look in report["watched"]["looks"]}
    (kind,) = looks["lived"]["kinds"]
    assert (kind["agents"], kind["built"], kind["backend"]) == (6, 6, "jax")
    rows = {row["component"]: row for row in kind["ledger"]["rows"]}
    for name, numbers in {"A": 12 * 12, "B": 12 * 12 * 2}.items():
        assert rows[name]["private_nominal_bytes"] == 6 * 4 * numbers, "no more than the arrays"
    saving = kind["saving"]
    assert (saving["pass_name"], saving["agents"], saving["exact"]) == ("share", 5, True)
    assert saving["bytes_per_agent"] == 4 * 12, "D differs"
    assert saving["once_bytes"] == pytest.approx(4 * (12 * 12 * 3 + 12 + 2), abs=100)
    assert "--passes share" in done.stdout
    assert not report["watched"]["failed"], "C is gone at the end"
    assert kind["per_agent"]["bytes"] == pytest.approx(4 * 12 * 12 * 3, rel=0.2)
    uses = {each["operation"]: each["calls"] for each in report["watched"]["operations"]}
    assert uses["infer_policies"] == uses["sample_action"] == 3 + 3, "with those of traces"
    compiling = report["watched"]["compiling"]
    lines = {line["text"].split("(")[0]: line["traces"] for line in compiling["lines"]}
    assert lines["q_pi, _ = agent.infer_policies"] >= 3, "it traces in every step"
    assert "JAX traced" in done.stdout
    (rolled,) = report["watched"]["rollouts"]
    assert rolled["at"]["text"].startswith("kept.append(rollout(")
    assert rolled["calls"] == 2, "what is only traced returns nothing"
    parts = {each["name"]: each["bytes"] for each in rolled["parts"]}
    assert parts["info['A']"] == parts["info['pA']"] == 5 * 3 * 12 * 12 * 4
    info = sum(size for name, size in parts.items() if name.startswith("info"))
    last = rolled["bytes_per_call"] - sum(parts.values())
    kept = int(done.stdout.split("\n")[1])
    assert kept / 2 == pytest.approx(info, abs=last + 200), "small parts are left out"
    arrays = {each["name"]: each for each in looks["rolled"]["arrays"]}
    assert arrays["returned by rollout"]["bytes"] == kept
    assert arrays["A"]["bytes"] == 3 * 12 * 12 * 4
    assert arrays["other arrays of the program"]["bytes"] > 1000 * 100 * 4
    assert "info['A'] 8.64 KB" in done.stdout


def batch(rows=3, **given):
    import jax.numpy as jnp
    from pymdp.agent import Agent

    def of(array):
        return [jnp.broadcast_to(array, (rows, *array.shape))]

    model = {"A": of(jnp.eye(4)), "B": of(jnp.stack([jnp.eye(4)] * 2, -1))}
    return Agent(**{**model, **given}, batch_size=rows)


def test_a_second_view_of_an_agents_arrays_is_no_further_agent():
    """As a rollout returns an agent that has learned nothing."""
    from jax.tree_util import tree_map

    agent, other = batch(), batch()
    twin = tree_map(lambda each: each, agent)
    assert twin is not agent
    learned = tree_map(lambda each: each + 1 if each.shape == (3, 4, 4) else each, agent)
    alive = {id(each): weakref.ref(each) for each in (agent, twin, other, learned)}
    (kind,) = living([Crowd("jax", type(agent), None, alive=alive)])
    assert kind.agents == [agent, other, learned]
    assert kind.count == 9


def test_what_is_shared_is_alike_to_the_last_bit_and_what_is_learned_is_each_agents_own():
    import jax
    import jax.numpy as jnp

    zero = jnp.zeros((3, 4))
    plain = sharing_of([batch()])
    whole = plain.once_bytes
    assert (plain.agents, plain.bytes_per_agent) == (2, 0)
    signed = sharing_of([batch(C=[zero.at[2, 3].set(-0.0)])])
    assert (signed.bytes_per_agent, signed.once_bytes) == (4 * 4, whole - 4 * 4)
    learns = batch(pA=[jnp.ones((3, 4, 4))], learn_A=True)
    assert sharing_of([learns]).bytes_per_agent == 2 * 4 * 4 * 4, "A and its counts"
    singles = [batch(1), batch(1, C=[zero[:1] + 1]), batch(2)]
    found = sharing_of(singles)
    assert (found.agents, found.bytes_per_agent) == (3, 4 * 4)
    assert sharing_of([batch(1)]) is None
    given = batch()
    assert not is_hollow(given)
    jax.jit(lambda agent: jax.tree_util.tree_map(jnp.abs, agent), donate_argnums=0)(given)
    assert is_hollow(given), "it holds nothing, and is no agent any more"
    refused = sharing_of([batch(1), batch(1, action_selection="stochastic")])
    assert not refused.exact
    assert "action_selection differs" in refused.refused
