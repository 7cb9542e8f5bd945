"""Populations of scenarios whose agents live in shards behave as in one process."""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from memprof.distributed.cluster import Cluster
from memprof.distributed.current import on
from memprof.instruments import Stopwatch
from memprof.populations import population_class
from memprof.populations.trace import DigestTrace
from memprof.scenario import load_scenario
from memprof.values.population import EngineSpec, EpisodeSpec, PopulationSpec

ray = pytest.importorskip("ray")

SCENARIOS = Path(__file__).parents[2] / "scenarios"
AGENTS, STEPS = 24, 5
STORE_BYTES = 80 * 2**20


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Seven shards on two nodes."""
    from ray.cluster_utils import Cluster as Nodes

    node = {"num_cpus": 2, "object_store_memory": STORE_BYTES}
    nodes = Nodes(initialize_head=True, head_node_args={**node, "include_dashboard": False})
    try:
        nodes.add_node(**node)
        ray.init(nodes.address, log_to_driver=False)
        yield (made := Cluster(7))
        made.close()
    finally:
        ray.shutdown()
        nodes.shutdown()


def first(shards: int, cluster: Cluster) -> Cluster:
    """The same cluster with no more than its first shards."""
    part = copy(cluster)
    part.shards = shards
    return part


def spec_of(scenario: str, **changes: Any) -> PopulationSpec:
    loaded = load_scenario(SCENARIOS / f"{scenario}.yaml")
    spec = replace(loaded.spec(changes.get("passes", ())), steps=STEPS)
    return replace(spec, **({} if spec.kinds else {"agents": AGENTS}), **changes)


def lives(spec: PopulationSpec) -> tuple[str, ...]:
    population = population_class(spec)(spec, Stopwatch())
    digests = DigestTrace(spec.agents, spec.steps, with_others=True)
    try:
        for lived in population.live(population.grow(spec.agents), range(spec.steps)):
            digests.record(*lived)
    finally:
        population.close()
    return digests.per_agent() + digests.course()


def sharded(spec: PopulationSpec, cluster: Cluster, **engine: Any) -> tuple[str, ...]:
    with on(cluster):
        return lives(replace(spec, engine=EngineSpec(cluster.shards, **engine)))


PASSES = {"passes": ("share", "template")}


@pytest.mark.parametrize(
    ("scenario", "changes", "shards"),
    [
        ("grid-5", {}, (1, 2, 7)),
        ("grid-5", PASSES, (1, 2, 7)),
        ("grid-5", {"passes": ("batch",)}, (1, 2, 7)),
        ("grid-10-jax", {}, (2,)),
        ("learning-10", {**PASSES, "episodes": EpisodeSpec(2, ("B",))}, (1, 2, 7)),
        ("savanna", PASSES, (1, 2, 7)),
        ("opinions", PASSES, (1, 2, 7)),
    ],
)
def test_agents_in_shards_behave_as_in_one_process(
    scenario: str, changes: dict[str, Any], shards: tuple[int, ...], cluster: Cluster
) -> None:
    spec = spec_of(scenario, **changes)
    whole = lives(spec)
    for number in shards:
        assert sharded(spec, first(number, cluster)) == whole


@pytest.mark.parametrize("scenario", ["savanna", "opinions"])
def test_a_world_in_an_actor_is_the_same_world(scenario: str, cluster: Cluster) -> None:
    spec = spec_of(scenario, **PASSES)
    assert sharded(spec, first(2, cluster), world="actor") == lives(spec)
