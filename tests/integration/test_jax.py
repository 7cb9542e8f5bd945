"""JAX agents under their passes: the same beliefs and actions as PyMDP's own batch, for less."""

from __future__ import annotations

import io
import os
import subprocess
import sys

import jax
import numpy as np
import pytest

from memprof.catalogue.passes import REORDERED
from memprof.errors import ScenarioError, UsageError
from memprof.instruments import Stopwatch
from memprof.instruments.device import Compilations
from memprof.populations.jax_agents import JaxPopulation
from memprof.populations.trace import DigestTrace, ValueTrace
from memprof.values.population import PopulationSpec
from tests.conftest import ROOT, SCENARIOS

GRID = {"kind": "grid_world", "size": 5}
T_MAZE = {"kind": "t_maze", "reward_probability": 0.98}
FACTORS = {
    "kind": "random_pomdp",
    "num_obs": [6, 4],
    "num_states": [4, 3],
    "num_controls": [3, 2],
    "seed": 0,
}
STOCHASTIC = {"policy_len": 2, "action_selection": "stochastic"}
LARGE = ({**GRID, "size": 29}, {}, ())
# model, keywords of the agent, what it learns
AGENTS = {
    "grid": (GRID, {}, ()),
    "goals": ({**GRID, "inductive": True}, {}, ()),
    "t-maze, stochastic": (T_MAZE, {"action_selection": "stochastic"}, ()),
    "factors, deterministic": (FACTORS, {"policy_len": 2, "sampling_mode": "marginal"}, ()),
    "learning A and B": (FACTORS, {"use_param_info_gain": True}, ("A", "B")),
    "learning D": (FACTORS, {}, ("D",)),
    "own mazes": ({"kind": "maze", "size": 5, "walls": 0.2, "seed": 0}, {}, ()),
    "own models": ({**FACTORS, "per_agent": True}, {}, ("B",)),
    "own environments": (
        {"kind": "factory", "callable": "forager:make", "params": {"patches": 6}},
        {"action_selection": "stochastic"},
        (),
    ),
}
# Those whose agents differ in models and what they learn, or in draws, step in chunks too, of which
# the last is filled up. That takes a program of its own.
CHUNKED = ("own models", "t-maze, stochastic")
COUNT, STEPS = 7, 4
# Two units in the last place of a probability near 1. In one chunk a sum may be rounded otherwise
# where the compiler orders it otherwise, which differs between processors; nothing else may differ.
ROUNDED = 2.0**-22


def population(agents, passes=(), *, loop="jit", chunk=None, count=COUNT, steps=STEPS):
    model, keywords, learning = AGENTS[agents] if isinstance(agents, str) else agents
    return JaxPopulation(
        PopulationSpec(
            backend="jax",
            model=model,
            private=True,
            differs=agents in ("own mazes", "own models"),
            agent=keywords,
            learning=learning,
            passes=passes,
            options={} if chunk is None else {"chunk": chunk},
            loop=loop,
            agents=count,
            steps=steps,
            seed=3,
            folder=str(SCENARIOS),
        ),
        Stopwatch(),
    )


def lives(crowd, recorders, *, count=COUNT, steps=STEPS):
    """Let a population live; twice as long as one rollout takes."""
    agents = crowd.grow(count)
    for first in range(0, 2 * steps if crowd.stride > 1 else steps, crowd.stride):
        for lived in crowd.live(agents, range(first, first + crowd.stride)):
            for recorder in recorders:
                recorder.record(*lived)


def digests_of(*arguments, **options):
    digests = DigestTrace(COUNT, 2 * STEPS)
    lives(population(*arguments, **options), [digests])
    return digests.per_agent()


@pytest.mark.parametrize("agents", AGENTS)
def test_one_template_for_all_does_what_the_batch_does(agents):
    file = io.BytesIO()
    lives(population(agents), [ValueTrace(file, compare=False)])
    for passes, chunk in ((("share",), None), (("template",), 3 if agents in CHUNKED else None)):
        file.seek(0)
        values = ValueTrace(file, compare=True)
        lives(population(agents, passes, chunk=chunk), [values])
        found = values.comparison()
        assert found.actions_equal == found.actions_compared == COUNT * STEPS
        assert found.max_abs_belief_error <= (ROUNDED if chunk is None else REORDERED)


def test_rollouts_go_on_alike():
    model = {"kind": "random_pomdp", "num_obs": 4, "num_states": 3, "num_controls": 2, "seed": 0}
    agents = (model, {"action_selection": "stochastic"}, ("A", "B"))
    plain = digests_of(agents, loop="rollout")
    assert digests_of(agents, ("template",), loop="rollout") == plain


def test_call_by_call_is_as_compiled():
    assert digests_of("t-maze, stochastic", loop="eager") == digests_of("t-maze, stochastic")


def test_a_wrong_bit_in_a_record_does_not_pass(monkeypatch):
    from memprof.optimise.jax import Block

    plain = digests_of("learning A and B")
    arrays = Block.arrays

    def flipped(self, template):
        found = arrays(self, template)
        found[0].view(np.uint32)[0, 0, 0] ^= 1
        return found

    assert digests_of("learning A and B", ("template",)) == plain
    monkeypatch.setattr(Block, "arrays", flipped)
    assert digests_of("learning A and B", ("template",)) != plain


def test_every_agent_draws_with_keys_of_its_own_whoever_else_there_is():
    file, digests = io.BytesIO(), DigestTrace(9, STEPS)
    lives(population("t-maze, stochastic", ("share",)), [ValueTrace(file, compare=False)], count=3)
    file.seek(0)
    values = ValueTrace(file, compare=True)

    class First:
        """The agents that both populations have."""

        def record(self, agent, step, behaviour):
            if agent < 3:
                values.record(agent, step, behaviour)

    lives(population("t-maze, stochastic", ("share",)), [First(), digests], count=9)
    found = values.comparison()
    assert found.actions_equal == found.actions_compared == 3 * STEPS
    assert found.max_abs_belief_error <= ROUNDED
    assert len(set(digests.per_agent()[:3])) == 3


def test_what_is_learned_is_learned():
    crowd = population("learning A and B", ("share",))
    lives(crowd, [])
    (state,) = crowd._crowd._stored
    first = np.asarray(population_template(crowd).pB[0])
    learned = np.asarray(state.leaves["pB"][0])
    assert learned.shape == (COUNT, *first.shape[1:])
    assert learned.sum() == pytest.approx(COUNT * (first.sum() + STEPS - 1), rel=1e-5), (
        "one count per transition"
    )
    once = population("learning D", ("share",))
    lives(once, [])
    (state,) = once._crowd._stored
    prior = np.asarray(population_template(once).D[0])
    assert not np.array_equal(np.asarray(state.leaves["D"][0])[0], prior[0])
    assert np.asarray(state.leaves["D"][0]).sum(-1) == pytest.approx(1)


def population_template(crowd):
    return crowd._crowd._template.whole()


def live_bytes():
    return sum({a.unsafe_buffer_pointer(): a.nbytes for a in jax.live_arrays()}.values())


def test_two_hundred_large_agents_weigh_little_more_than_one():
    before = live_bytes()
    crowd = population(LARGE, ("share",), count=200, steps=1)
    lives(crowd, [], count=200, steps=1)
    one = sum(array.nbytes for array in jax.tree_util.tree_leaves(population_template(crowd)))
    assert live_bytes() - before <= 1.05 * one + 200 * 8 * 2**10
    assert one > 16e6


def test_half_precision_changes_beliefs_within_its_bound():
    file = io.BytesIO()
    agents = ({**FACTORS, "num_obs": [6], "num_states": [5], "num_controls": [2]}, STOCHASTIC, ())
    lives(population(agents), [ValueTrace(file, compare=False)])
    for passes in (("belief", "template"), ("template", "belief")):
        file.seek(0)
        values = ValueTrace(file, compare=True)
        lives(population(agents, passes), [values])
        assert REORDERED < values.comparison().max_abs_belief_error <= 5e-3


def test_a_rollout_needs_a_world_that_pymdp_can_sample_from():
    with pytest.raises(ScenarioError, match="or use loop: jit"):
        population("own mazes", loop="rollout").grow(2)


_DOUBLE = """
from tests.integration.test_jax import digests_of, population
facts = population("grid").facts()
assert facts["x64"] == "on", facts
crowd = population("grid", ("share",))
crowd.grow(2)
assert crowd._crowd._stored[0].mind.qs[0].dtype == "float64"
assert digests_of("grid") == digests_of("grid", ("template",))
"""


def test_double_precision_is_honoured():
    done = subprocess.run(
        [sys.executable, "-c", _DOUBLE],
        cwd=ROOT, env={**os.environ, "JAX_ENABLE_X64": "1"}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("passes", "loop"), [((), "jit"), (("share", "template"), "jit"), (("share",), "rollout")]
)
def test_a_population_like_one_before_it_compiles_nothing(passes, loop):
    """A program for each population would stay with JAX in part: a leak, by kilobytes."""
    jax.clear_caches()  # of other tests
    compilations = Compilations()
    for _ in range(2):
        before = compilations.count
        crowd = population("grid", passes, loop=loop)
        lives(crowd, [])
        crowd.close()
    assert compilations.count == before > 0


def test_one_of_a_batch_cannot_leave():
    with pytest.raises(UsageError, match="one batch of a fixed size"):
        population("learning D").leave(range(1))
