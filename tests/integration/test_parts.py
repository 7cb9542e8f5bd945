"""Parts of a population, each a stripe of the whole, live as the whole does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from memprof.errors import ScenarioError
from memprof.instruments import Stopwatch
from memprof.populations import population_class
from memprof.populations.trace import DigestTrace
from memprof.scenario import load_scenario
from memprof.values.population import EpisodeSpec, PopulationSpec, Share

SCENARIOS = Path(__file__).parents[2] / "scenarios"
AGENTS, STEPS = 17, 6
MAZE = {"kind": "maze", "size": 6, "walls": 0.2, "seed": 0}

OWN = """
import numpy as np
from memprof.models import object_array

class Corridor:
    def __init__(self, length):
        self.length = length

    def reset(self):
        self.place = np.random.randint(self.length)
        return self.place

    def step(self, action):
        self.place = (self.place + int(action[0]) * 2 - 1 + np.random.randint(2)) % self.length
        return self.place

def corridor(agent, fails=None):
    assert agent != fails
    length = 4
    seen = np.full((length, length), 0.02) + 0.92 * np.eye(length)
    moves = np.stack([np.roll(np.eye(length), way, 0) for way in (-1, 1)], axis=-1)
    liked = np.random.normal(size=length)
    arguments = {
        "A": object_array([seen / seen.sum(0)]),
        "B": object_array([moves]),
        "C": object_array([liked]),
        "action_selection": "stochastic",
    }
    return arguments, Corridor(length)
"""


def spec_of(scenario: str, **changes: Any) -> PopulationSpec:
    spec = load_scenario(SCENARIOS / f"{scenario}.yaml").spec(())
    return replace(spec, agents=AGENTS, steps=STEPS, **changes)


def lives(spec: PopulationSpec, agents: int) -> Iterator[tuple[int, Any]]:
    """The digests of so many agents, by their numbers in the whole."""
    population = population_class(spec)(spec, Stopwatch())
    digests = DigestTrace(agents, spec.steps)
    for lived in population.live(population.grow(agents), range(spec.steps)):
        digests.record(*lived)
    population.close()
    yield from ((spec.share.index(own), each) for own, each in enumerate(digests.per_agent()))


def striped(spec: PopulationSpec, stripes: int) -> dict[int, Any]:
    shares = [Share(first, stripes) for first in range(stripes)]
    parts = [lives(replace(spec, share=each), each.below(spec.agents)) for each in shares]
    return {agent: digest for part in parts for agent, digest in part}


@pytest.mark.parametrize(
    ("scenario", "changes"),
    [
        ("grid-5", {"passes": ()}),
        ("grid-5", {"passes": ("share", "template"), "private": False}),
        ("grid-5", {"passes": ("batch",)}),
        ("private-mazes", {"passes": ("template",), "model": MAZE}),
        ("learning-10", {"passes": ("share", "template"), "episodes": EpisodeSpec(2, ("B",))}),
        ("grid-10-jax", {"passes": ()}),
        ("learning-10-jax", {"passes": ("share",), "episodes": EpisodeSpec(3)}),
    ],
)
@pytest.mark.parametrize("stripes", [2, 7])
def test_stripes_live_as_the_whole(scenario: str, changes: dict[str, Any], stripes: int) -> None:
    spec = spec_of(scenario, **changes)
    assert striped(spec, stripes) == dict(lives(spec, AGENTS))


@pytest.fixture
def corridor(tmp_path: Any) -> PopulationSpec:
    (tmp_path / "corridors.py").write_text(OWN)
    model = {"kind": "factory", "callable": "corridors:corridor", "params": {}}
    return spec_of("grid-5", model=model, folder=str(tmp_path), differs=True)


@pytest.mark.parametrize("passes", [(), ("template",), ("batch",)])
@pytest.mark.parametrize("private", [True, False])
def test_factories_know_agents_by_their_numbers_in_the_whole(
    corridor: PopulationSpec, passes: tuple[str, ...], private: bool
) -> None:
    # Of dense models, fewer than 8 agents take their turns one by one, which rounds differently.
    agents = 60 if "batch" in passes else AGENTS
    spec = replace(corridor, passes=passes, private=private, agents=agents)
    whole = dict(lives(spec, agents))
    assert len({*whole.values()}) > agents / 2
    assert striped(spec, 7) == striped(spec, 2) == whole


def test_errors_name_the_agent_of_the_whole(corridor: PopulationSpec) -> None:
    spec = replace(corridor, model={**corridor.model, "params": {"fails": 5}})
    assert len(dict(lives(replace(spec, share=Share(0, 2)), 4))) == 4
    with pytest.raises(ScenarioError, match="failed for agent 5:"):
        [*lives(replace(spec, share=Share(1, 2)), 4)]


def test_a_part_of_a_rollout_is_refused() -> None:
    spec = spec_of("grid-10-jax", loop="rollout", share=Share(0, 2))
    with pytest.raises(ScenarioError, match=r"loop: rollout.*set loop: jit"):
        population_class(spec)(spec, Stopwatch())
