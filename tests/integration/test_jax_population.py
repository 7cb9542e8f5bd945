"""`memprof.optimize` for JAX agents: what PyMDP's own batch does, without the batch."""

import copy
import hashlib
import json
import os
import pickle
import subprocess
import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import random as jr
from jax.tree_util import tree_leaves

import memprof
from memprof.errors import AgentActive, StoreError, UsageError
from memprof.populations import jax_programs
from memprof.posix import return_freed
from memprof.upstream.jax_agent import Agent
from memprof.upstream.numpy_agent import Agent as NumpyAgent
from memprof.upstream.numpy_agent import utils
from tests.integration.jax_models import World, agents, arrays_of

AGENTS, CHUNK, STEPS = 11, 4, 4  # programs are compiled for chunks of 4, most of them once
KEY = jr.PRNGKey(3)


def same_bits(left, right):
    """Whether two agents hold the same, bit by bit."""
    pairs = zip(tree_leaves(left), tree_leaves(right), strict=True)
    return all(np.asarray(a).tobytes() == np.asarray(b).tobytes() for a, b in pairs)


@jax.jit
def turn(agent, prior, observation, key):
    """PyMDP's own calls, as its example has them; what it learns, as its rollout has it."""
    beliefs = agent.infer_states(observation, prior)
    policies, _ = agent.infer_policies(beliefs)
    if agent.learn_A:
        agent = agent.infer_parameters(beliefs, observation, None)
    keys = jr.split(key, agent.batch_size + 1)
    action = agent.sample_action(policies, rng_key=keys[1:])
    return agent, beliefs, action, agent.update_empirical_prior(action, beliefs), keys[0]


@pytest.mark.parametrize(
    ("model", "keywords"),
    [("t-maze", {"learn_A": True}), ("grid-10", {})],  # the others: tests.figures_jax_population
)
def test_agents_act_and_learn_as_pymdps_batch_does(model, keywords):
    batch = agents(model, AGENTS, **keywords)
    world, key, other, prior, actions = World(model, AGENTS), KEY, KEY, batch.D, None
    with memprof.optimize(batch, chunk=CHUNK) as population:
        for _ in range(STEPS):
            seen = world.observe(actions)
            actions, key = population.act(seen, key)
            batch, beliefs, expected, prior, other = turn(batch, prior, seen, other)
            assert np.array_equal(actions, expected)
            assert np.array_equal(key, other)
            for mine, theirs in zip(population.beliefs(), beliefs, strict=True):
                assert np.abs(mine - theirs).max() <= 1e-6
        assert np.array_equal(population.actions(), actions)
        whole = population.whole()
        some, _ = population.act([each[[5, 0]] for each in seen], KEY, [5, 0])
        others = [n for n in range(AGENTS) if n not in (0, 5)]
        assert np.array_equal(population.actions([5, 0]), some)
        assert np.array_equal(population.actions(others), actions[others])
        assert len({*map(tuple, actions)}) > 1
    for mine, theirs in zip(tree_leaves(whole), tree_leaves(batch), strict=True):
        assert np.allclose(mine, theirs, rtol=0, atol=1e-5)
    assert same_bits(whole, agents(model, AGENTS, **keywords)) is not bool(keywords)


def test_a_batch_comes_back_bit_by_bit_and_equal_arrays_are_kept_once():
    batch = agents("t-maze", 5)
    flipped = jnp.where(jnp.arange(5)[:, None] == 3, -0.0, batch.C[0])  # equal, but for its bits
    other = jax.tree_util.tree_map(lambda x: x, batch)
    object.__setattr__(other, "C", [flipped, *batch.C[1:]])
    assert np.array_equal(other.C[0], batch.C[0])
    for given, own in ((batch, ()), (other, ("C",))):
        with memprof.optimize(given, chunk=2) as population:
            assert population.own == own
            assert same_bits(population.whole(), given)
            assert not same_bits(batch, other)


def test_an_iterable_is_consumed_one_by_one():
    taken = []

    def made():
        for number in range(6):
            arrays = arrays_of("t-maze")
            arrays["C"][1] = arrays["C"][1] + (number > 3)
            yield Agent(**arrays)
            taken.append(number)

    with memprof.optimize(made()) as population:
        assert taken == [*range(6)]
        assert len(population) == 6
        assert population.own == ("C",)
        bonus = [arrays_of("t-maze")["C"][1] + (n > 3) for n in range(6)]
        assert np.array_equal(population.whole().C[1], np.stack(bonus))
        assert "6 JAX agents" in repr(population)


class Forager(Agent):
    """A user's own class, with a row of its own and a setting."""

    energy: jax.Array
    name: str = eqx.field(static=True)

    def __init__(self, energy, name):
        super().__init__(**arrays_of("t-maze"))
        self.energy, self.name = jnp.array([energy]), name


def test_agents_of_ones_own_class_keep_what_it_adds(tmp_path):
    with memprof.optimize(Forager(float(n), "bob") for n in range(3)) as population:
        assert population.own == ("energy",)
        with pytest.raises(UsageError, match=r"name: expected 'bob' .* found 'eve' in the agent"):
            population.add(Forager(3.0, "eve"))
        population.save(tmp_path / "agents")
    with memprof.reopen(tmp_path / "agents", readonly=True) as population:
        whole = population.whole()
    assert (type(whole), whole.name, whole.energy.tolist()) == (Forager, "bob", [0, 1, 2])
    with pytest.raises(StoreError, match=r"expected the fields of Agent, found those of .*Forager"):
        memprof.reopen(tmp_path / "agents", Agent)


def learn_more(agent, observation, key):
    """A user's own step: PyMDP's calls on a real agent."""
    assert agent.batch_size == 1
    beliefs = agent.infer_states(observation["seen"], observation["prior"])
    noise = jr.uniform(key, (1, 1))
    return agent.infer_parameters(beliefs, observation["seen"], None), (beliefs, noise)


def learned_twice(batch, seen):
    """What PyMDP's batch believes, and what it learns of that twice."""
    beliefs = batch.infer_states(seen, batch.D)
    once = batch.infer_parameters(beliefs, seen, None)
    return beliefs, once.infer_parameters(once.infer_states(seen, batch.D), seen, None).pA


def test_a_step_of_ones_own_runs_for_all_and_is_compiled_once(monkeypatch):
    traced, trimmed = [], []
    monkeypatch.setattr(jax_programs, "return_freed", lambda: trimmed.append(return_freed()))

    def step(agent, observation, key):
        traced.append(agent)
        return jax.jit(learn_more)(agent, observation, key)

    batch = agents("coins", AGENTS, learn_A=True)
    seen, keys = World("coins", AGENTS).observe(), jr.split(KEY, AGENTS)
    observation = {"seen": seen, "prior": batch.D}
    with memprof.optimize(batch, chunk=CHUNK) as population:
        beliefs, noise = population.map(step, observation, keys)
        assert len(traced) == 2  # what it changes, and the program
        population.map(step, observation, keys)
        assert len(traced) == 2
        assert len(trimmed) == 1  # after compiling, and not in every chunk or turn
        assert population.own == ("A", "pA")  # and nothing that it only passes on
        whole = population.whole()
    expected, learned = jax.jit(learned_twice)(batch, seen)
    assert all(map(np.allclose, beliefs, expected))
    assert np.array_equal(noise, jax.vmap(lambda key: jr.uniform(key, (1,)))(keys))
    assert all(np.allclose(a, b, atol=1e-5) for a, b in zip(whole.pA, learned, strict=True))


def test_an_error_says_who_has_had_a_turn():
    def step(agent, observation, key):
        return jax.debug.callback(lambda x: 1 // int(x[0] != 2), observation) or (agent, key[None])

    population = memprof.optimize(agents("t-maze", 3), chunk=1)
    with pytest.raises(Exception) as raised:
        population.map(step, np.arange(3), jr.split(KEY, 3))
    assert raised.value.__notes__[-1].startswith("2 of 3 agents, the first in order")


def test_agents_come_and_go_and_are_used_one_by_one():
    with memprof.optimize(agents("t-maze", 5, learn_A=True), chunk=2) as population:
        population.remove(1)
        added = agents("t-maze", 1, learn_A=True, gamma=7.0)
        assert population.add(added) == 5
        assert population.indices().tolist() == [0, 2, 3, 4, 5]
        assert population.whole().gamma.tolist() == [1, 1, 1, 1, 7]
        with population.activate(5) as agent:
            assert same_bits(agent, added)
            assert type(agent) is Agent
            agent.C[0] = agent.C[0] + 1.0  # in place, as users do
            with pytest.raises(AgentActive):
                population.act([], KEY)
        with population.activate(2) as agent:
            counts = [2 * array for array in agent.pA]
            population.replace(2, eqx.tree_at(lambda a: a.pA, agent, counts))
        whole = population.whole()
        assert (whole.C[0][:, 0] - whole.C[0][0, 0]).tolist() == [0, 0, 0, 0, 1]
        counts = [float(row.sum()) for row in whole.pA[0]]
        assert np.array_equal(np.divide(counts, counts[0]), [1, 2, 1, 1, 1])
        for gone in (1, 6):
            with pytest.raises(IndexError):
                population.whole([gone])


class Turntable:
    """An environment in PyMDP's form that shows each agent what its last action and chance say."""

    def reset(self, key, env_params=None):
        place = jr.randint(key, (), 0, 2)
        return self._seen(place), place

    def step(self, key, place, action, env_params=None):
        place = (place + action[0] + jr.randint(key, (), 0, 2)) % 3
        return self._seen(place), place

    def _seen(self, place):
        return [place[None]]


def test_a_rollout_is_pymdps_and_keeps_what_is_asked():
    from pymdp.envs.rollout import rollout

    batch, env = agents("coins", AGENTS, learn_A=True), Turntable()
    last, report = jax.jit(lambda: rollout(batch, env, 5, KEY))()
    with memprof.optimize(batch, chunk=CHUNK) as population:
        found = population.rollout(env, 6, KEY, keep=["action", "qs", "pA"])
        whole = population.whole()
        assert [*found] == ["action", "qs", "pA"]
        assert np.array_equal(found["action"], report["action"])
        assert np.array_equal(found.key, last["rng_key"])
        for mine, theirs in zip(found["qs"], report["qs"], strict=True):
            assert np.abs(mine - theirs).max() <= 1e-6
        with pytest.raises(UsageError, match=r"keep: expected .* found 'qz'"):
            population.rollout(env, 6, KEY, keep=["qz"])
    learned = found["pA"]
    assert len(learned) == AGENTS
    for modality, theirs in enumerate(report["pA"]):
        assert all(np.allclose(learned[n][modality], theirs[n], atol=1e-5) for n in (0, 10))
        assert np.allclose(learned.at(3)[modality], theirs[:, 3], atol=1e-5)
        assert np.allclose(whole.pA[modality], last["agent"].pA[modality], atol=1e-5)
        assert not np.array_equal(learned.at(0)[modality], learned.at(-1)[modality])
    assert learned.nbytes < sum(x.nbytes for x in report["pA"]) / 2


@pytest.mark.parametrize("in_files", [False, True])
def test_agents_are_the_same_in_a_folder(tmp_path, in_files):
    batch = agents("t-maze", AGENTS, learn_A=True)
    options = {"store": tmp_path / "live"} if in_files else {}
    seen, copy_of = World("t-maze", AGENTS).observe(), tmp_path / "copy"
    with memprof.optimize(batch, chunk=CHUNK, **options) as population:
        population.act(seen, KEY)
        population.remove(2)
        population.save(copy_of)
        whole, beliefs, branch = population.whole(), population.beliefs(), population.copy()
        if in_files:
            assert population.memory().file_bytes > 0
            with pytest.raises(StoreError, match="is open in a program"):
                memprof.reopen(tmp_path / "live")
    branch.replace(0, agents("t-maze", 1, learn_A=True, gamma=7.0))  # nobody else's
    assert branch.whole().gamma.tolist() == [7.0] + [1.0] * (AGENTS - 2)
    for folder in [copy_of, *options.values()]:
        with memprof.reopen(folder, readonly=True) as read, memprof.reopen(folder) as again:
            for found in (read, again):
                assert same_bits(found.whole(), whole)
                assert found.whole().policies == batch.policies
                assert all(map(np.array_equal, found.beliefs(), beliefs))
                assert found.indices().tolist() == [0, 1, *range(3, AGENTS)]
                assert found.add(agents("t-maze", 1, learn_A=True)) == AGENTS
        with memprof.reopen(folder) as again:
            assert len(again) == AGENTS


def rewritten(content):
    """A header with this content, as somebody would write it who knows how."""
    text = json.dumps(content, separators=(",", ":")).encode()
    return {"content": content, "digest": hashlib.blake2b(text, digest_size=16).hexdigest()}


def test_a_folder_that_is_not_whole_is_refused(tmp_path):
    population = memprof.optimize(agents("t-maze", 3), store=tmp_path / "live", chunk=2)
    population._stored.close()  # as when the program is killed
    with pytest.raises(StoreError, match="was not closed by"):
        memprof.reopen(tmp_path / "live")
    population.save(tmp_path / "saved")
    header = tmp_path / "saved" / "jax-agents.json"
    (data := bytearray((tmp_path / "saved" / "template-A.0.npy").read_bytes()))[-2] ^= 1
    (tmp_path / "saved" / "template-A.0.npy").write_bytes(data)
    with pytest.raises(StoreError, match=r"template-A\.0\.npy has other bytes"):
        memprof.reopen(tmp_path / "saved")
    found = json.loads(header.read_text())
    for change, message in (
        ({"format": "memprof.jax/0"}, "expected format"),
        ({"content": found["content"] | {"chunk": 3}}, "another digest"),
        (rewritten(found["content"] | {"settings": {}}), "expected the fields of Agent, found"),
        (rewritten(found["content"] | {"indices": [0, 0, 1]}), "expected each index once"),
    ):
        header.write_text(json.dumps({**found, **change}))
        with pytest.raises(StoreError, match=message):
            memprof.reopen(tmp_path / "saved")
    with pytest.raises(UsageError, match=r"preprocess_fn: .* a file cannot keep"):
        memprof.optimize(agents("t-maze", 1, categorical_obs=True, preprocess_fn=lambda o: o)).save(
            tmp_path / "function"
        )
    assert not (tmp_path / "function").exists()


def numpy_agent():
    A, B = utils.random_A_matrix([2], [2]), utils.random_B_matrix([2], [2])
    return NumpyAgent(A=A, B=B)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (numpy_agent, r"agents: expected agents of the JAX backend .* found one of the NumPy"),
        (lambda: agents("t-maze", 1, gamma=2.0, use_utility=False), r"use_utility: expected True"),
        (lambda: agents("t-maze", 1, policy_len=2), r"policy_len: expected 1 .* found 2"),
        (lambda: agents("t-maze", 1, learn_A=True), r"pA: expected None .* found list|learn_A: "),
        (lambda: agents("grid-10", 1), r"num_\w+: |A_dependencies: |policies: "),
        (object, r"agents: expected PyMDP agents .* found builtins.object"),
    ],
)
def test_agents_of_another_program_are_refused_by_field(more, message):
    with pytest.raises(UsageError, match=message):
        memprof.optimize([agents("t-maze", 1), more()])
    with memprof.optimize([agents("t-maze", 1)]) as population:
        with pytest.raises(UsageError, match=message):
            population.add(more())
        assert len(population) == 1
    if more is numpy_agent:
        with pytest.raises(UsageError, match="chunk: expected JAX agents"):
            memprof.optimize([numpy_agent()], chunk=2)
        with pytest.raises(UsageError, match="found one of the JAX backend"):
            memprof.optimize([numpy_agent(), agents("t-maze", 1)])


def test_what_cannot_be_is_refused_with_what_to_do():
    population = memprof.optimize(agents("t-maze", 3))
    seen, keys = World("t-maze", 3).observe(), jr.split(KEY, 3)

    def step(agent, observation, key):
        return agent, agent.D

    def shrunk(agent, observation, key):
        changed = [d[:, :1] for d in agent.D]
        return jax.tree_util.tree_unflatten(
            jax.tree_util.tree_structure(agent),
            [changed.pop(0) if any(x is d for d in agent.D) else x for x in tree_leaves(agent)],
        ), agent.D

    for call, message in (
        (lambda: population.act(seen[:2], KEY), "observations: expected a list of 3 arrays"),
        (lambda: population.act([x[:2] for x in seen], KEY), r"observations\[0\]: .* each of 3"),
        (lambda: population.act(seen[0], KEY), "observations: expected a list of 3 arrays"),
        (lambda: population.map(step, seen, keys[:2]), "keys: expected a key for each of 3 agents"),
        (lambda: population.map(step, seen, KEY), "keys: .* use jax.random.split"),
        (lambda: population.map(step, seen[0][:1], keys), "observations: .* each of 3 agents"),
        (lambda: population.map(lambda a, o, k: o, seen, keys), r"step: .* return \(agent, result"),
        (lambda: population.map(lambda a, o, k: (a, a.D[0][0]), seen, keys), "batch axis of 1"),
        (lambda: population.map(shrunk, seen, keys), r"D\[0\]: expected .* found .* returns"),
        (lambda: population.act(seen, KEY, [0, 0, 1]), "is there twice"),
        (lambda: population.beliefs(np.array([True, False])), "indices: .* found .*True"),
        (lambda: memprof.optimize(agents("t-maze", 1), passes="share"), "passes: expected 'auto'"),
        (lambda: memprof.optimize(agents("t-maze", 1), keep=["qs"]), "keep: .* NumPy agents only"),
        (lambda: memprof.optimize(agents("t-maze", 1), chunk=0), "chunk: expected a whole number"),
        (lambda: memprof.optimize(agents("t-maze", 1, learn_D=True)).act(seen, KEY), "learn_D: "),
    ):
        with pytest.raises(UsageError, match=message):
            call()
    for call in (iter, copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match=r"population\.(act|copy)\("):
            call(population)
    memory = population.memory()
    assert memory.agents == 3
    assert {row.component for row in memory.rows} >= {"A", "B", "C", "D"}
    assert "share, template" in str(memory)
    population.close()
    population.close()
    with pytest.raises(UsageError, match="the population is closed"):
        len(population)


_TWO_DEVICES = """
import jax, jax.numpy as jnp, numpy as np
from jax import random as jr
import memprof
from memprof.upstream.jax_agent import Agent

batch = Agent([jnp.eye(2)], [jnp.stack([jnp.eye(2)] * 2, -1)], batch_size=22)

def step(agent, observation, key):
    return agent, (agent.gamma + observation, jr.uniform(key, (1,)))

assert len(jax.devices()) == 2
keys, found = jr.split(jr.PRNGKey(0), 22), []
for chunk in (4, 22):
    population = memprof.optimize(batch, chunk=chunk)
    found.append(population.map(step, np.arange(22), keys))
    print(len(population._resting._templates))
assert np.array_equal(found[0], found[1])
assert np.array_equal(found[0][0], 1.0 + np.arange(22))
"""


def test_chunks_are_spread_over_devices():
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    command = [sys.executable, "-c", _TWO_DEVICES]
    run = subprocess.run(
        command, env=os.environ | flags, capture_output=True, text=True, check=False
    )
    assert run.stdout.split() == ["2", "1"], run.stderr
