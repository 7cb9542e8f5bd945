"""Populations of scenarios whose agents live in shards behave as in one process."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from copy import copy
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import ray
from msgspec.structs import replace

from memprof.distributed.cluster import Cluster
from memprof.distributed.current import on
from memprof.distributed.sharded import Sharded
from memprof.distributed.traffic import Traffic
from memprof.errors import ClusterError, ScenarioError
from memprof.instruments import Stopwatch
from memprof.populations import population_class
from memprof.populations.company import Company
from memprof.populations.trace import DigestTrace
from memprof.scenario import load_scenario
from memprof.text import out_of_memory
from memprof.values.measurements import Rewards
from memprof.values.population import EngineSpec, EpisodeSpec, PopulationSpec, Share, WorldSpec

HERE = Path(__file__).parents[1]
SCENARIOS = HERE.parent / "scenarios"
PARTS = "memprof.distributed.parts:Parts"
PASSES = {"passes": ("share", "template")}
MEADOW = WorldSpec("meadow:Meadow", {})
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
    return replace(spec, **{"agents": spec.agents if spec.kinds else AGENTS, **changes})


def meadow(model: str = "grazer", **changes: Any) -> PopulationSpec:
    """Agents of `tests/worlds/meadow.py`, grazers with a meadow."""
    given = {"kind": "factory", "callable": f"meadow:{model}", "params": {}}
    spec = spec_of("grid-5", model=given, folder=str(HERE / "worlds"), differs=True, steps=14)
    spec = replace(spec, builder="memprof.models.factory:builder", learning=("D",))
    return replace(spec, world=MEADOW if model == "grazer" else None, **changes)


class Life(NamedTuple):
    digests: tuple[str, ...]
    born: int
    rewards: Rewards | None
    facts: dict[str, str]


def life(spec: PopulationSpec) -> Life:
    population = population_class(spec)(spec, Stopwatch())
    digests = DigestTrace(spec.agents, spec.steps, with_others=True)
    try:
        for lived in population.live(population.grow(spec.agents), range(spec.steps)):
            digests.record(*lived)
        found = population.born, population.rewards(), population.facts()
    finally:
        population.close()
    return Life(digests.per_agent() + digests.course(), *found)


def sharded(spec: PopulationSpec, cluster: Cluster, **engine: Any) -> Life:
    with on(cluster):
        return life(on_ray(spec, cluster, **engine))


def on_ray(spec: PopulationSpec, cluster: Cluster, **engine: Any) -> PopulationSpec:
    return replace(spec, engine=EngineSpec(cluster.shards, **engine))


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
    assert_same(spec_of(scenario, **changes), cluster, shards)


def assert_same(spec: PopulationSpec, cluster: Cluster, shards: Iterable[int]) -> Life:
    whole = life(spec)
    for number in shards:
        found = sharded(spec, first(number, cluster))
        assert found.digests == whole.digests
        assert (found.born, found.facts) == (whole.born, whole.facts)
        if whole.rewards is not None:
            assert found.rewards is not None
            assert found.rewards.count == whole.rewards.count
            assert found.rewards.mean == pytest.approx(whole.rewards.mean)
    return whole


@pytest.mark.parametrize("passes", [(), ("template",), ("working_set",)])
def test_the_born_and_those_who_begin_anew_are_in_shards_too(
    passes: tuple[str, ...], cluster: Cluster
) -> None:
    whole = assert_same(meadow(passes=passes), cluster, (2, 7))
    assert whole.born
    assert whole.rewards is not None
    assert assert_same(meadow("hermit", passes=passes), cluster, (2,)).rewards is not None


@pytest.mark.parametrize("spec", [spec_of("savanna", **PASSES), meadow(), meadow(agents=1)])
def test_a_world_in_an_actor_is_the_same_world(spec: PopulationSpec, cluster: Cluster) -> None:
    assert sharded(spec, first(2, cluster), world="actor") == life(spec)


def test_a_part_that_took_its_own_numbers_for_the_wholes_would_be_noticed(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    two = first(2, cluster)
    spec = meadow("hermit")
    with on(two):
        two.results([two.send_own(n, "hold", PARTS, Share(0, 2)) for n in range(2)])
        assert life(on_ray(spec, two)).digests != life(spec).digests


def test_kinds_that_do_not_meet_and_one_kind_alone(cluster: Cluster) -> None:
    spec = replace(spec_of("savanna", **PASSES), world=None)
    assert_same(spec, cluster, (2,))
    predator, _ = load_scenario(SCENARIOS / "savanna.yaml").kinds
    assert_same(replace(predator.spec(()), steps=STEPS), cluster, (2,))


@pytest.mark.parametrize("world", ["driver", "actor"])
@pytest.mark.parametrize(
    ("model", "changes"),
    [
        ("grazer", {"model": {"fails": 3}}),
        ("hermit", {"model": {"fails": 3}}),
        ("hermit", {"agent": {"policy_len": "long"}}),
        ("grazer", {"world": {"fails": 2}}),
        ("grazer", {"world": {"colour": 2}}),
        ("grazer", {"world": {"lost": "agent_4"}}),
    ],
)
def test_errors_are_those_of_one_process(
    model: str, changes: dict[str, Any], world: str, cluster: Cluster
) -> None:
    spec = meadow(model, agent=changes.get("agent", {}))
    spec = replace(spec, model={**spec.model, "params": changes.get("model", {})})
    if spec.world is not None:
        spec = replace(spec, world=replace(spec.world, params=changes.get("world", {})))
    found = []
    for run in (life, partial(sharded, cluster=first(2, cluster), world=world)):
        with pytest.raises(ScenarioError) as raised:
            run(spec)
        found.append((raised.value.field, raised.value.problem, raised.value.detail))
    assert found[0] == found[1]


def test_memory_that_runs_out_is_told_with_the_shard(cluster: Cluster) -> None:
    spec = meadow("hermit")
    spec = replace(spec, model={**spec.model, "params": {"starves": 3}})
    with pytest.raises(MemoryError, match="not a byte is left") as raised:
        sharded(spec, first(2, cluster))
    said = "out of memory in shard 1 during build: not a byte is left"
    assert out_of_memory(raised.value) == said


@contextmanager
def counted(cluster: Cluster) -> Iterator[list[Traffic]]:
    """What was sent in the block, once it has ended."""
    before, found = cluster.traffic.copy(), list[Traffic]()
    yield found
    found.append(cluster.traffic.since(before))


def test_one_message_for_each_shard_and_step(cluster: Cluster) -> None:
    two = first(2, cluster)
    with on(two):
        population = Sharded(on_ray(spec_of("grid-5"), two), Stopwatch())
        new = population.grow(AGENTS)
        with counted(two) as traffic:
            assert len([*population.live(new, range(3))]) == 3 * AGENTS
        assert traffic[0].messages == 2 * 2 * 3
        with counted(two) as traffic:
            assert population.lived(new, range(3, 13)) == 10 * AGENTS
        assert traffic[0].messages == 2 * 2
        with counted(two) as traffic:
            assert [each.agent for each in population.live(range(4, 5), range(13, 14))] == [4]
        assert traffic[0].messages == 2
        population.close()


def test_what_those_who_meet_perceive_and_do_travels_as_arrays(cluster: Cluster) -> None:
    two, agents, steps = first(2, cluster), 2000, 3
    spec = replace(spec_of("savanna", passes=("batch",)), agents=agents)
    with on(two):
        company = Company(on_ray(spec, two), Stopwatch())
        company.grow(agents)
        with counted(two) as traffic:
            assert company.lived(range(agents), range(steps)) == steps * agents
        company.close()
    kinds = len(spec.kinds)
    assert traffic[0].messages == 2 * 2 * kinds * steps
    predators, prey = agents / 5, 4 * agents / 5
    content = steps * 8 * ((2 + 1) * predators + (1 + 1) * prey)  # modalities, factors
    assert content < traffic[0].size_bytes < content + 1024 * traffic[0].messages


def test_agents_go_and_others_come(cluster: Cluster) -> None:
    """New ones have numbers of their own, and live as they do in one process."""
    spec = meadow("hermit")

    def replaced(spec: PopulationSpec) -> tuple[str, ...]:
        population = population_class(spec)(spec, Stopwatch())
        digests = DigestTrace(AGENTS + 5, STEPS)
        population.lived(population.grow(AGENTS), range(STEPS))
        population.leave(range(5))
        assert len(population) == AGENTS - 5
        new = population.grow(AGENTS)
        assert new == range(AGENTS, AGENTS + 5)
        for lived in population.live(new, range(STEPS)):
            digests.record(*lived)
        population.close()
        assert len(population) == 0
        return digests.per_agent()

    with on(first(7, cluster)):
        assert replaced(on_ray(spec, cluster)) == replaced(spec)


def test_agents_beyond_the_first_say_what_they_did_and_no_more(cluster: Cluster) -> None:
    two = first(2, cluster)
    spec = spec_of("grid-5")
    whole = population_class(spec)(spec, Stopwatch())
    with on(two):
        population = Sharded(on_ray(spec, two), Stopwatch())
        population.noted = 3
        found = {each.agent: each for each in population.live(population.grow(5), range(1))}
        population.close()
    for each in whole.live(whole.grow(5), range(1)):
        behaviour = found[each.agent].behaviour
        assert behaviour.action.tolist() == each.behaviour.action.tolist()
        assert (behaviour.beliefs is None) == (each.agent >= 3)
    whole.close()


def test_what_agents_have_in_common_is_once_on_each_node(cluster: Cluster) -> None:
    """A model of a grid has 28 MB of transitions, of which no shard holds a copy."""
    spec = spec_of("grid-29", passes=("batch",), agents=14)
    before = cluster.nodes()
    with on(cluster):
        empty = cluster.each("settle")
        population = Sharded(on_ray(spec, cluster), Stopwatch())
        for agents in (1, 14):  # as a sweep comes to its sizes
            population.lived(population.grow(agents), range(2))
        full = cluster.each("settle")
        after = cluster.nodes()
        population.close()
    transitions = 29**4 * 5 * 8
    for one, other in zip(empty, full, strict=True):
        assert None not in (one.uss_bytes, other.uss_bytes)
        assert other.uss_bytes - one.uss_bytes < transitions / 2  # libraries among them
    for node, then in zip(before, after, strict=True):
        assert transitions <= then.store_bytes - node.store_bytes < 1.5 * transitions


def test_agents_that_are_built_anew_may_be_fewer_than_shards(cluster: Cluster) -> None:
    def sizes(spec: PopulationSpec) -> list[list[float]]:
        population = population_class(spec)(spec, Stopwatch())
        found = []
        for agents in (3, 1, 3):
            new = population.grow(agents)
            assert (new, len(population)) == (range(agents), agents)
            lives = sorted(population.live(new, range(1)), key=lambda lived: lived.agent)
            found.append([lived.behaviour.action.tolist() for lived in lives])
        population.close()
        return found

    two, spec = first(2, cluster), spec_of("grid-10-jax")
    with on(two):
        assert sizes(on_ray(spec, two)) == sizes(spec)


def test_the_worlds_actor_that_dies_is_an_error(cluster: Cluster) -> None:
    two = first(2, cluster)
    with on(two):
        company = Company(on_ray(meadow(), two, world="actor"), Stopwatch())
        company.grow(AGENTS)
        assert company._worlds is not None
        ray.kill(company._worlds._make._actor)  # type: ignore[attr-defined]
        with pytest.raises(ClusterError, match="the actor of the world has died"):
            company.lived(range(AGENTS), range(2))


def test_a_shard_that_dies_is_an_error(cluster: Cluster) -> None:
    two = first(2, cluster)
    with on(two):
        population = Sharded(on_ray(spec_of("grid-5"), two), Stopwatch())
        new = population.grow(AGENTS)
        os.kill(two.places[1].pid, signal.SIGKILL)
        with pytest.raises(ClusterError, match=r"a shard has died: .*use more shards or nodes"):
            population.lived(new, range(2))
    two.revived(1)
    cluster.places[1] = two.places[1]
