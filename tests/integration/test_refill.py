"""Parts of a population, put together from parts that were saved: agents go on as if nothing had
happened, in however many parts."""

import random
import shutil
from pathlib import Path

import numpy as np
import pytest
from jax import random as jr

import memprof
from memprof.api.refill import Stored, kept, refilled
from memprof.errors import StoreError, UsageError
from memprof.models.built_in import grid_world, random_pomdp
from memprof.storage.history import History
from memprof.storage.template_values import arrays_in
from memprof.upstream.installed import PACKAGE, package_of
from memprof.upstream.numpy_agent import Agent, utils
from memprof.values.population import Share
from tests.integration.jax_models import World, agents
from tests.integration.test_keeping import Diarist, described, state_of

AGENTS, SAVED, MORE = 15, 2, 2
GONE = {0, 3, 7, 14}  # from both stripes, the first and the last one too
PLANS = {
    "chosen": ("auto", {}),
    "bounded": ("auto", {"history_steps": 3}),
    "none": ([], {}),
    "in place": (["share", "policies", "history"], {}),
    "together": (["history", "pool", "batch"], {}),
    "in files": (["history", "mmap"], {}),
    "some active": (["history", "pool", "template", "working_set"], {"working_set": "40 KiB"}),
}
once = pytest.mark.skipif(package_of("numpy") == PACKAGE, reason="PyMDP 1.0 and newer")


def usual():
    return Agent(**grid_world(4, "")(0).arguments, action_selection="stochastic")


def diarist():
    agent = Diarist(**grid_world(4, "")(0).arguments)
    agent.luck = np.random.default_rng(3)
    return agent


def learner():
    """That learns dense matrices, which `optimize` leaves active by itself."""
    arguments = random_pomdp([40, 3], [50, 4], [2, 1], 0, "")(0).arguments
    return Agent(
        **arguments, pA=utils.dirichlet_like(arguments["A"]), action_selection="stochastic"
    )


MODELS = {
    "usual": (usual, ()),
    "of a class of its own": (diarist, ()),
    "learners": (learner, ("A",)),
}


def seen_by(sizes, step, index):
    return [(7 * step + 3 * index + n) % size for n, size in enumerate(sizes)]


def write(agent, step):
    if isinstance(agent, Diarist):
        agent.diary.append(step + agent.luck.random())
        agent.half[step] += 1
        agent.large = agent.large.copy()
        agent.large[step] = 0.1
        agent.noise = agent.noise.copy()
        agent.noise[:2] += 1


def live(population, share, steps, sizes, learning):
    """The agents of a share act, with seeds of their own; what they do, by index in the whole."""
    done = {}
    for step in steps:
        own = sorted(population.in_turn())
        whole = [share.index(each) for each in own]
        seeds = [1000 * step + index for index in whole]
        seen = [seen_by(sizes, step, index) for index in whole]
        did = population.act(seen, learning=learning, seeds=seeds)
        population.map(write, [step] * len(own))
        for index, action in zip(whole, did, strict=True):
            done[index, step] = action.tobytes()
    return done


def states(population, share):
    """All that agents are, to the bit, by index in the whole."""
    found = {}
    for own in sorted(population.in_turn()):
        with population.activate(own) as agent:
            for name in [n for n in vars(agent) if type(getattr(agent, n)) is History]:
                setattr(agent, name, [*getattr(agent, name)])
            if not isinstance(agent, Diarist):
                found[share.index(own)] = described(vars(agent), {})
                continue
            luck, agent.luck = agent.luck, None
            found[share.index(own)] = state_of(agent), luck.bit_generator.state
            agent.luck = luck
    return found


def built(build, share):
    for _ in filter(share.__contains__, range(AGENTS)):
        np.random.seed(0)
        yield build()


def begun(build, plan, first, every, learning=()):
    """A part of which agents have lived, and some have left."""
    share = Share(first, every)
    passes, options = PLANS[plan]
    population = memprof.optimize(built(build, share), passes, **options)
    sizes = build().num_obs
    live(population, share, range(SAVED), sizes, learning)
    for index in GONE:
        if index in share:
            population.remove(share.own(index))
    return population, share, sizes


@once
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("plan", PLANS)
def test_agents_go_on_in_any_number_of_parts_as_if_nothing_had_happened(plan, model, tmp_path):
    build, learning = MODELS[model]
    stores = []
    for first in range(2):
        population, share, _ = begun(build, plan, first, 2, learning)
        with population:
            kept(population, tmp_path / f"part{first}")
        stores.append(Stored(tmp_path / f"part{first}", share))
    undisturbed, whole, sizes = begun(build, plan, 0, 1, learning)
    with undisturbed:
        at_first = states(undisturbed, whole)
        later = range(SAVED, SAVED + MORE)
        expected = live(undisturbed, whole, later, sizes, learning)
        in_the_end = states(undisturbed, whole)
    passes, options = PLANS[plan]
    kind = Diarist if build is diarist else None
    for parts in (1, 3, 7):
        found, then, done = {}, {}, {}
        for first in range(parts):
            share = Share(first, parts)
            with refilled(stores, share, passes, options, kind) as part:
                assert part.passes == undisturbed.passes
                assert part.given == sum(index in share for index in range(AGENTS))
                here = {share.index(own) for own in part.in_turn()}
                assert here == {i for i in range(AGENTS) if i in share} - GONE
                found |= states(part, share)
                done |= live(part, share, later, sizes, learning)
                then |= states(part, share)
        assert found == at_first
        assert done == expected
        assert then == in_the_end


@pytest.mark.parametrize("passes", ["auto", ["share"]])
def test_nothing_of_the_folder_is_needed_any_more(passes, tmp_path):
    with memprof.optimize(built(learner, Share()), passes) as population:
        kept(population, tmp_path / "part")
        expected = states(population, Share())
    with refilled([Stored(tmp_path / "part", Share())], Share(), passes, {}) as part:
        assert str(tmp_path) not in Path("/proc/self/maps").read_text()
        shutil.rmtree(tmp_path / "part")
        assert states(part, Share()) == expected


def test_what_agents_may_write_into_in_memory_they_still_may(tmp_path):
    with memprof.optimize([diarist()], []) as population, population.activate(0) as agent:
        expected = {name: open_arrays(value) for name, value in vars(agent).items()}
        assert expected["large"] == expected["A"] == [True]
        assert expected["plan"] == [False]
    with memprof.optimize([diarist()], []) as population:
        kept(population, tmp_path / "part")
    with (
        refilled([Stored(tmp_path / "part", Share())], Share(), [], {}, Diarist) as part,
        part.activate(0) as agent,
    ):
        assert {name: open_arrays(value) for name, value in vars(agent).items()} == expected
        agent.half[2] = 7
        assert agent.counts[4] == 7, "a view still"


@pytest.mark.parametrize("passes", ["auto", ["share"], []])
def test_what_is_one_object_with_a_part_of_the_model_still_is(passes, tmp_path):
    def attached():
        agent = usual()
        agent.mine, agent.first = agent.B, [agent.A[0]]
        return agent

    with memprof.optimize([attached()], passes) as population:
        kept(population, tmp_path / "part")
    with (
        refilled([Stored(tmp_path / "part", Share())], Share(), passes, {}) as part,
        part.activate(0) as agent,
    ):
        assert agent.mine is agent.B
        assert agent.first[0] is agent.A[0]
        assert agent.B[0].tobytes() == usual().B[0].tobytes()


def open_arrays(value):
    return [array.flags.writeable for array in arrays_in([value])]


def test_parts_in_which_there_is_nobody_count_too(tmp_path):
    stores = []
    for first, agents_here, gone in ((0, 3, {0, 1, 2}), (1, 2, {0}), (2, 0, ())):
        with memprof.optimize(usual() for _ in range(agents_here)) as population:
            for index in gone:
                population.remove(index)
            kept(population, tmp_path / f"part{first}")
        stores.append(Stored(tmp_path / f"part{first}", Share(first, 3)))
    # 0, 1, 3, 4 and 6 have been there, and 4 still is
    for passes in ("auto", [], ["history", "mmap"]):
        with refilled(stores, Share(), passes, {}) as whole:
            assert [*whole.in_turn()] == [4]
            assert whole.given == 7
            assert whole.add(usual()) == 7
        for first in range(2):
            with refilled(stores, Share(first, 2), passes, {}) as part:
                assert (len(part), part.given) == ((1, 4), (0, 3))[first]
                kept(part, tmp_path / f"again{passes}{first}")
                assert part.add(usual()) == part.given - 1 == (4, 3)[first]
                assert part.act([[1]] * len(part)).shape == (len(part), 1)
        again = [Stored(tmp_path / f"again{passes}{first}", Share(first, 2)) for first in range(2)]
        with refilled(again, Share(), passes, {}) as whole:
            assert ([*whole.in_turn()], whole.given) == ([4], 7)
    with refilled([], Share(), "auto", {}) as nobody:
        assert (len(nobody), nobody.given) == (0, 0)
    (tmp_path / "part2" / "nobody.json").write_text('{"agents": -1}')
    with pytest.raises(StoreError, match=r"part2 is damaged .*expected a number of agents"):
        refilled(stores, Share(), "auto", {})


GENERATORS = {
    "a Generator": lambda: np.random.default_rng(3),
    "another": lambda: np.random.Generator(np.random.SFC64(3)),
    "as PyMDP's": lambda: np.random.RandomState(3),
    "of other bits": lambda: np.random.RandomState(np.random.Philox(3)),
    "Python's": lambda: random.Random(3),
}


def drawn(generator):
    """More than one kind of number, of which some leave half a word for the next."""
    if isinstance(generator, random.Random):
        return [generator.gauss(0, 1) for _ in range(3)]
    more = generator.spawn(1)[0].random() if isinstance(generator, np.random.Generator) else 0
    return (
        [*generator.normal(size=3), *generator.integers(9, size=3, dtype=np.uint32), more]
        if (isinstance(generator, np.random.Generator))
        else [*generator.normal(size=3), generator.randint(9)]
    )


@pytest.mark.parametrize("passes", ["auto", [], ["mmap"]])
@pytest.mark.parametrize("made", GENERATORS.values(), ids=GENERATORS)
def test_random_numbers_of_an_agents_own_go_on(made, passes, tmp_path):
    def lucky():
        agent = usual()
        agent.luck, agent.name = made(), "Ada"
        agent.same, agent.other = agent.luck, made()
        return agent

    with memprof.optimize(lucky(), passes) as population:
        with population.activate(0) as agent:
            drawn(agent.luck)
            names = [*vars(agent)]
        kept(population, tmp_path / "part")
        with population.activate(0) as agent:
            expected = drawn(agent.luck), drawn(agent.same), drawn(agent.other)
            assert [*vars(agent)] == names
            del agent
    with (
        refilled([Stored(tmp_path / "part", Share())], Share(), passes, {}) as part,
        part.activate(0) as agent,
    ):
        assert (drawn(agent.luck), drawn(agent.same), drawn(agent.other)) == expected
        assert agent.luck is agent.same
        assert [*vars(agent)] == names


def test_what_a_part_cannot_keep_is_named_and_leaves_nothing(tmp_path):
    luck = np.random.default_rng(3)

    def lucky():
        agent = usual()
        agent.luck = luck
        return agent

    with memprof.optimize(lucky() for _ in range(2)) as population:
        with pytest.raises(UsageError, match=r"luck \(Generator\): agent 1 has it in common with"):
            kept(population, tmp_path / "part")
        with population.activate(0) as agent:
            assert agent.luck is luck
            agent.luck = [np.random.default_rng(1)]
        with pytest.raises(UsageError, match=r"luck \(.*no exact encoding"):
            kept(population, tmp_path / "part")
        with population.activate(1), pytest.raises(UsageError, match="agent 1 is active"):
            kept(population, tmp_path / "part")
    assert not [*tmp_path.iterdir()]
    with memprof.optimize([diarist()]) as population:
        kept(population, tmp_path / "part")
    with pytest.raises(UsageError, match="agent_class"):
        refilled([Stored(tmp_path / "part", Share())], Share(), "auto", {})
    with pytest.raises(UsageError, match="unknown name 'nothing'"):
        refilled([Stored(tmp_path / "part", Share())], Share(), "nothing", {}, Diarist)


@pytest.mark.parametrize("keywords", [{}, {"learn_A": True}], ids=["inferring", "learning"])
def test_jax_agents_go_on_in_any_number_of_parts(keywords, tmp_path):
    world = World("t-maze", AGENTS)
    seen = [world.observe() for _ in range(SAVED + MORE)]
    keys = [jr.split(key, AGENTS) for key in jr.split(jr.PRNGKey(3), SAVED + MORE)]

    def act(population, share, steps):
        here = [share.index(own) for own in population.indices().tolist()]
        some, done = np.array(here, np.int64), []
        for step in steps:
            mine = [each[some] for each in seen[step]]
            done.append(population.act(mine, keys=keys[step][some])[0])
        return {index: [did[at].tolist() for did in done] for at, index in enumerate(here)}

    def all_of(population, share):
        """To the bit: what agents believe, have done and learned, and an attribute of few."""
        here = [share.index(own) for own in population.indices().tolist()]
        whole = population.whole()
        arrays = [*population.beliefs(), population.actions(), *whole.C, *(whole.pA or ())]
        return {
            index: [np.asarray(array)[at].tobytes() for array in arrays]
            for at, index in enumerate(here)
        }

    def begun(first, every):
        share = Share(first, every)
        mine = [index for index in range(AGENTS) if index in share]
        population = memprof.optimize(agents("t-maze", len(mine), **keywords), chunk=4)
        if 4 in share:  # one that differs
            with population.activate(share.own(4)) as agent:
                agent.C[1] = agent.C[1].at[0, 1].set(3.0)
        act(population, share, range(SAVED))
        for index in GONE:
            if index in share:
                population.remove(share.own(index))
        return population, share

    stores = []
    for first in range(2):
        population, share = begun(first, 2)
        with population:
            kept(population, tmp_path / f"part{first}")
        stores.append(Stored(tmp_path / f"part{first}", share))
    undisturbed, whole = begun(0, 1)
    with undisturbed:
        at_first = all_of(undisturbed, whole)
        expected = act(undisturbed, whole, range(SAVED, SAVED + MORE))
        in_the_end = all_of(undisturbed, whole)
    for parts in (1, 3, 7):
        found, done, then = {}, {}, {}
        for first in range(parts):
            share = Share(first, parts)
            with refilled(stores, share, "auto", {"chunk": 4, "store": tmp_path / "x"}) as part:
                assert part.given == sum(index in share for index in range(AGENTS))
                found |= all_of(part, share)
                done |= act(part, share, range(SAVED, SAVED + MORE))
                then |= all_of(part, share)
        assert found == at_first
        assert done == expected
        assert then == in_the_end
    assert not (tmp_path / "x").exists()


def test_jax_agents_that_have_all_gone_leave_their_template(tmp_path):
    stores = []
    for first in range(2):
        with memprof.optimize(agents("coins", 2)) as population:
            for own in range(2 - first):
                population.remove(own)
            kept(population, tmp_path / f"part{first}")
        stores.append(Stored(tmp_path / f"part{first}", Share(first, 2)))
    for share, here, given in ((Share(), [3], 4), (Share(0, 2), [], 2), (Share(3, 4), [0], 1)):
        with refilled(stores, share, "auto", {}) as part:
            assert (part.indices().tolist(), part.given) == (here, given)
            assert part.add(agents("coins", 1)) == given
            assert len(part.act([np.zeros((len(part), 1), int)], jr.PRNGKey(0))[0]) == len(part)
    with pytest.raises(UsageError, match="history_steps: expected chunk or store for JAX"):
        refilled(stores, Share(), "auto", {"history_steps": 3})
