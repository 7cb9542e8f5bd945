"""Options of JAX agents that change what PyMDP's loop has to hand them."""

import io

import pytest

from memprof.errors import ScenarioError
from memprof.instruments import DirectCalls
from memprof.populations import population_class
from memprof.populations.trace import ValueTrace
from memprof.values.population import PopulationSpec

SINGLE = {"kind": "random_pomdp", "num_obs": 5, "num_states": 4, "num_controls": 3, "seed": 0}
DENSE = {**SINGLE, "num_obs": [5, 4], "num_states": [4, 3], "num_controls": [2, 2]}
WORLDS = """
import numpy as np

def make(agent, blurred):
    A, B = np.empty(1, object), np.empty(1, object)
    A[0], B[0] = np.eye(3), np.stack([np.eye(3)] * 2, -1)
    return {"A": A, "B": B}, Sight(blurred)

class Sight:
    def __init__(self, blurred):
        self.seen = (np.array([0.2, 0.3, 0.5]),) if blurred else (2,)
    def reset(self):
        return self.seen
    def step(self, action):
        return self.seen
"""


@pytest.fixture
def live(tmp_path):
    """Let three agents live twice their steps; what they did goes to a file, or is compared."""
    (tmp_path / "sights.py").write_text(WORLDS)

    def run(model, file, compare=False, *, loop="jit", learning=(), passes=(), **agent):
        spec = PopulationSpec(
            backend="jax",
            model=model,
            private=True,
            differs=False,
            agent=agent,
            learning=learning,
            passes=passes,
            options={},
            loop=loop,
            agents=3,
            steps=4,
            seed=0,
            folder=str(tmp_path),
        )
        population = population_class(spec)(spec, DirectCalls())
        trace = ValueTrace(file, compare=compare)
        agents = population.grow(3)
        for step in range(0, 8, population.stride):
            for lived in population.live(agents, range(step, step + population.stride)):
                trace.record(*lived)
        found = trace.comparison()
        file.seek(0)
        return found

    return run


@pytest.mark.parametrize(
    ("loop", "model", "plans"), [("jit", DENSE, ((), ("template",))), ("rollout", SINGLE, ((),))]
)
def test_agents_that_perceive_distributions_do_as_others(live, loop, model, plans):
    file = io.BytesIO()
    live(model, file, loop=loop)
    for passes in plans:
        found = live(model, file, True, categorical_obs=True, loop=loop, passes=passes)
        assert found.actions_equal == found.actions_compared == 24
        assert found.max_abs_belief_error < 1e-5


def test_an_environment_that_returns_distributions_needs_agents_that_take_them(live):
    factory = {"kind": "factory", "callable": "sights:make", "params": {"blurred": True}}
    live(factory, io.BytesIO(), categorical_obs=True)
    with pytest.raises(ScenarioError, match=r"set agent: \{categorical_obs: true\}") as caught:
        live(factory, io.BytesIO())
    assert caught.value.field == "model.callable"


@pytest.mark.parametrize(
    ("model", "algorithm", "loop", "learning"),
    [
        (SINGLE, "mmp", "rollout", ("A", "B")),
        (DENSE, "ovf", "jit", ("B",)),
        (SINGLE, "exact", "jit", ("A",)),
    ],
)
def test_every_algorithm_that_a_scenario_may_name_runs(live, model, algorithm, loop, learning):
    file = io.BytesIO()
    options = {"loop": loop, "learning": learning, "inference_algo": algorithm}
    live(model, file, **options)
    found = live(model, file, True, passes=("jit",), **options)
    assert found.actions_equal == found.actions_compared
    assert found.max_abs_belief_error < 1e-5
