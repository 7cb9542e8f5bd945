"""`python -m tests.quirks [NAME ...]`: quirks of agents' attributes under every plan of passes.

A quirk is what a user may do with agents of PyMDP and memprof may get wrong. Each is written once
and played by plain agents and by populations; what is seen must be the same, or be refused with the
remedy. `@alone` quirks are generators: they prepare one agent, and at each `yield` it is put to
rest and comes back; `@together` ones have the whole stage.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import json
import math
import operator
import pickle
import sys
import threading
import weakref
from collections.abc import Callable, Generator
from typing import Any

import numpy as np
from pymdp.legacy import utils
from pymdp.legacy.agent import Agent

from tests import quirk_values
from tests.quirk_classes import CLASSES, Tagged
from tests.stages import PLANS, Script, Stage, table

QUIRKS: dict[str, Script] = {}


def make(
    kind: type = Agent, size: int = 3, modalities: int = 1, learns: str = "", **options: Any
) -> Any:
    """An agent that sees its place among `size`, and stays or moves on; it has the priors of what
    it `learns`."""
    likelihood, transition = np.empty(modalities, object), np.empty(1, object)
    likelihood[:] = [np.eye(size) for _ in range(modalities)]
    transition[0] = np.stack([np.eye(size), np.roll(np.eye(size), 1, axis=0)], axis=2)
    arrays = {"A": likelihood, "B": transition, "D": utils.obj_array_uniform([size])}
    priors = {f"p{letter}": utils.dirichlet_like(arrays[letter]) for letter in learns}
    return kind(A=likelihood, B=transition, **priors, **options)


def step(agent: Any, seed: int = 0) -> None:
    """See, plan, act."""
    np.random.seed(seed)
    agent.infer_states([seed % agent.num_obs[0]] * agent.num_modalities)
    agent.infer_policies()
    agent.sample_action()


def together(script: Script) -> Script:
    """A quirk of several agents."""
    QUIRKS[script.__name__.replace("_", " ")] = script
    return script


def alone(quirk: Callable[[Any], Generator[Any, Any, None]] | None = None, **options: Any) -> Any:
    """A quirk of one agent, played by two of them that PyMDP's `options` are for; once more where
    the first agent, which is a template, has nothing of it."""
    if quirk is None:
        return functools.partial(alone, **options)

    def script(stage: Stage, strangers: int = 0) -> None:
        agents = [make(**options) for _ in range(2 + strangers)]
        players = {i: quirk(agents[i]) for i in range(strangers, len(agents))}
        for player in players.values():
            next(player)
        stage.take(agents)
        while players:
            for index in list(players):
                with stage.use(index) as agent:
                    try:
                        stage.note(players[index].send(agent))
                    except StopIteration:
                        del players[index]

    name = quirk.__name__.replace("_", " ")
    QUIRKS[name] = script
    QUIRKS[f"{name}, not of the first"] = functools.partial(script, strangers=1)
    return quirk


# ------------------------------------------------------------------ one object, two names


@alone
def one_list_under_two_names(a):
    a.log = a.alias = []
    a = yield
    a.log.append(1)
    a = yield a.alias
    yield a.alias is a.log


@alone
def one_dict_under_two_names(a):
    a.moods = a.alias = {"calm": 1.0}
    a = yield
    a.alias["calm"] = 0.5
    yield a.moods


@alone
def one_array_under_two_names(a):
    a.x = a.alias = np.zeros(4)
    a = yield
    a.x[1] = 9
    a = yield a.alias
    yield a.alias is a.x


@alone
def one_large_array_under_two_names(a):
    a.x = a.alias = np.arange(10_000.0)
    a = yield
    a.alias[1] = 9
    yield a.x[1], a.alias is a.x


@alone
def one_object_array_under_two_names(a):
    a.parts = a.alias = utils.obj_array(2)
    a = yield
    a.parts[0] = np.ones(2)
    yield a.alias[0]


@alone
def rows_that_are_one_list(a):
    a.grid = [[0] * 3] * 3
    a = yield
    a.grid[0][0] = 5
    yield a.grid


@alone
def one_leaf_deep_in_two_trees(a):
    leaf = [np.ones(2)]
    a.tree = {"left": {"leaf": leaf}, "right": (1, leaf)}
    a = yield
    a.tree["left"]["leaf"].append(2)
    yield a.tree


@alone
def tuples_that_hold_one_list(a):
    shared = [1]
    a.pairs = [(shared, 1), (shared, 2)]
    a.last = a.pairs[1]
    a = yield
    a.pairs[0][0].append(2)
    yield a.pairs, a.last is a.pairs[1]


@alone
def one_element_twice_in_an_object_array(a):
    element = np.zeros(3)
    a.parts = utils.obj_array(2)
    a.parts[0] = a.parts[1] = element
    a = yield
    a.parts[0][0] = 4
    yield a.parts


@alone
def equal_lists_that_are_two(a):
    a.left, a.right = [1, 2], [1, 2]
    a = yield
    a.left.append(3)
    yield a.right


@alone
def equal_arrays_that_are_two(a):
    a.left, a.right = np.ones(4), np.ones(4)
    a = yield
    a.left[0] = 7
    yield a.right, a.left is a.right


@alone
def two_lists_become_one(a):
    a.left, a.right = [1], [1]
    a = yield
    a.left = a.right
    a = yield
    a.left.append(2)
    yield a.right


@alone
def one_list_becomes_two(a):
    a.left = a.right = [1]
    a = yield
    a.left = [1]
    a = yield
    a.left.append(2)
    yield a.right


# ------------------------------------------------------- the user's names for what PyMDP keeps


@alone
def preferences_under_another_name(a):
    a.alias = a.C
    a = yield
    a.alias[0] = np.array([1.0, 2.0, 3.0])
    a = yield a.C
    step(a)
    yield a.q_pi, a.alias is a.C


@alone
def an_array_of_C_under_another_name(a):
    a.alias = a.C[0]
    a = yield
    yield a.alias is a.C[0]


@alone
def beliefs_under_another_name(a):
    a = yield
    step(a)
    a.beliefs = a.qs
    a = yield
    yield a.beliefs is a.qs, a.beliefs[0] is a.qs[0]


@alone
def a_log_of_beliefs(a):
    a.log = []
    for number in range(3):
        a = yield [entry is a.qs for entry in a.log]
        step(a, number)
        a.log.append(a.qs)
    a = yield
    yield [entry is a.qs for entry in a.log]


@alone
def past_actions_under_another_name(a):
    step(a)
    a.mine = a.prev_actions
    a = yield
    step(a, 1)
    a = yield
    yield len(a.mine), a.mine is a.prev_actions


@alone
def the_last_action_is_in_the_past(a):
    a = yield
    step(a)
    a = yield
    yield a.prev_actions[-1] is a.action


@alone
def the_last_action_is_written_to(a):
    a = yield
    step(a)
    a = yield
    a.action[0] = 1 - a.action[0]
    yield a.prev_actions[-1]


@alone(modalities=2)
def factor_lists_that_PyMDP_makes_of_one(a):
    a = yield
    a.mb_dict["A_factor_list"][0].append(7)
    yield a.A_factor_list


@alone(save_belief_hist=True)
def the_last_beliefs_are_in_the_past(a):
    a = yield
    step(a)
    a = yield
    yield a.qs_hist[-1] is a.qs, a.q_pi_hist[-1] is a.q_pi


@alone(inference_algo="MMP")
def the_first_beliefs_of_MMP_are_D(a):
    a = yield
    yield a.latest_belief is a.D


@alone
def a_policy_under_another_name(a):
    a.first = a.policies[0]
    a = yield
    yield a.first is a.policies[0], a.first


@alone(learns="A")
def a_prior_under_another_name(a):
    a.prior = a.pA
    a = yield
    step(a)
    a.update_A([1])
    yield a.prior, a.prior is a.pA


# ---------------------------------------------------------------------------- views


@alone
def a_slice_of_an_array(a):
    a.x = np.zeros(4)
    a.view = a.x[1:3]
    a = yield
    a.x[1] = 9
    yield a.view


def _view(name: str, look: Callable[[np.ndarray], Any]) -> None:
    """The view and its base, and writes to both."""
    writes = look(np.zeros((2, 3))).flags.writeable

    def quirk(a: Any) -> Generator[Any, Any, None]:
        a.x = np.arange(6.0).reshape(2, 3)
        a.view = look(a.x)
        a = yield
        a.x[1, 1] = 9
        a = yield a.view
        if writes:
            a.view[...] = -1
        yield a.x

    def of_a_base_that_nobody_holds(a: Any) -> Generator[Any, Any, None]:
        a.view = look(np.arange(6.0).reshape(2, 3))
        a = yield
        if writes:
            a.view[...] = -1
        yield a.view, a.view.sum()

    for function, which in ((quirk, "a view"), (of_a_base_that_nobody_holds, "an orphan")):
        function.__name__ = f"{which}: {name}"
        alone(function)


_view("transposed", np.transpose)
_view("reversed", lambda x: x[::-1])
_view("with gaps", lambda x: x[:, ::2])
_view("broadcast", lambda x: np.broadcast_to(x, (4, 2, 3)))
_view("without dimensions", lambda x: x[1, 1, ...])
_view("reshaped", lambda x: x.reshape(3, 2))
_view("of other type", lambda x: x.view(np.int64))
_view("of all", lambda x: x.view())
_view("overlapping", lambda x: np.lib.stride_tricks.sliding_window_view(x.reshape(-1), 3))


@alone
def two_views_of_a_base_that_nobody_holds(a):
    base = np.zeros(6)
    a.left, a.right = base[:4], base[2:]
    del base
    a = yield
    a.left[3] = 5
    yield a.right


@alone
def rows_of_one_array_in_an_object_array(a):
    a.table = np.zeros((3, 2))
    a.rows = utils.obj_array(3)
    for number in range(3):
        a.rows[number] = a.table[number]
    a = yield
    a.table[1] = 4
    yield a.rows


@alone
def a_view_of_A(a):
    a.column = a.A[0][:, 0]
    a = yield
    yield a.column, np.shares_memory(a.column, a.A[0])


@alone
def A_with_gaps(a):
    a.A[0] = np.repeat(a.A[0], 2, axis=-1)[..., ::2]
    a = yield
    step(a)
    yield a.A[0].strides


@alone
def a_view_of_an_array_in_a_dict(a):
    a.store = {"x": np.zeros(4)}
    a.window = [a.store["x"][:2]]
    a = yield
    a.window[0][0] = 3
    yield a.store


@together
def a_view_of_an_array_that_the_outside_holds(stage):
    outside = np.zeros(4)
    agents = [make() for _ in range(2)]
    for agent in agents:
        agent.view = outside[1:3]
    stage.take(agents)
    outside[1] = 8
    with stage.use(1) as agent:
        stage.note(agent.view)
        agent.view[1] = 6
    stage.note(outside)


# ------------------------------------------------------------------------ kinds of dicts


@together
def keys_that_are_equal_and_not_the_same(stage):
    keys = (True, 1, 1.0, np.int64(1), np.float32(1), 1 + 0j, np.bool_(True), Tagged(1))
    agents = [make() for _ in keys]
    for agent, key in zip(agents, keys, strict=True):
        agent.plain, agent.deep = {key: 0}, [{key: np.ones(2)}]
    stage.take(agents)
    for index in range(len(keys)):
        with stage.use(index) as agent:
            stage.note([type(key).__name__ for key in agent.plain])


@together
def keys_and_values_that_are_zero(stage):
    values = (0, -0.0, 0.0, False, np.float64(-0.0), np.int8(0), 0j, -0j)
    agents = [make() for _ in values]
    for agent, value in zip(agents, values, strict=True):
        agent.zero, agent.keyed, agent.listed = value, {value: value}, [value, (value,)]
    stage.take(agents)


@alone
def a_key_that_is_no_number(a):
    nan = math.nan
    a.keyed = {nan: 1, float("nan"): 2}
    a = yield
    yield list(a.keyed.values())


@alone
def a_key_that_is_no_number_and_kept(a):
    a.nan = float("nan")
    a.keyed = {a.nan: 1}
    a = yield
    yield a.keyed.get(a.nan)


@alone
def keys_of_all_kinds(a):
    a.keyed = {None: 0, (1, "x"): 1, ((),): 2, b"a\0": 3, "": 4, frozenset((1,)): 5, ...: 6}
    a = yield
    a.keyed[None] = 7
    yield a.keyed


@together
def dicts_in_another_order(stage):
    agents = [make() for _ in range(3)]
    for agent, names in zip(agents, ("abc", "cba", "bca"), strict=True):
        agent.moods = dict.fromkeys(names, 1.0)
        agent.deep = {"x": {name: np.ones(2) for name in names}}
    stage.take(agents)
    with stage.use(1) as agent:
        stage.note(list(agent.moods), list(agent.deep["x"]))


@alone
def a_key_deleted_and_set_again(a):
    a.moods = {"a": 1, "b": 2}
    a = yield
    a.moods["a"] = a.moods.pop("a")
    a = yield
    yield list(a.moods)


# ------------------------------------------------------------------------- odd attributes


@together
def types_that_change_and_compare_equal(stage):
    values = (1, True, 1.0, np.int64(1), np.float64(1), np.bool_(True), 1 + 0j, Tagged(1))
    agents = [make() for _ in values]
    for agent, value in zip(agents, values, strict=True):
        agent.x, agent.xs, agent.pair, agent.gamma = value, [value], (value, [value]), value
    stage.take(agents)
    for index, value in enumerate(reversed(values)):
        with stage.use(index) as agent:
            agent.x, agent.xs[0], agent.pair = value, value, (value, agent.pair[1])


@together
def arrays_that_differ_in_type_only(stage):
    kinds = ("<f8", ">f8", "<f4", "<i8", "<u8", "?", "<M8[s]", "<m8[s]", "<c16", "<f2", "S1", "O")
    agents = [make() for _ in kinds]
    for agent, kind in zip(agents, kinds, strict=True):
        agent.x, agent.xs = np.zeros(3, kind), [np.zeros((2, 3), kind, order="F")]
        agent.scalar = np.zeros(1, kind)[0]
    stage.take(agents)


@together
def attributes_of_some_agents_only(stage):
    agents = [make() for _ in range(3)]
    agents[0].first, agents[1].second = [1], {"x": np.ones(2)}
    stage.take(agents)
    with stage.use(0) as agent:
        del agent.first
        stage.attempt(lambda: agent.second)
    with stage.use(2) as agent:
        agent.third = np.zeros(2)


@alone
def attributes_that_are_deleted(a):
    a.x = a.y = [1]
    a = yield
    del a.x, a.C, a.qs
    a = yield hasattr(a, "x")
    a = yield hasattr(a, "qs"), hasattr(a, "C")
    a.x = a.y
    yield a.x is a.y


@alone
def names_that_no_program_has(a):
    for name in ("", "a b", "a\0b", "\ud800", "é", "layout", "__class", "whole", "~"):
        setattr(a, name, [name])
    a = yield
    yield sorted(name for name in vars(a) if len(name) < 4)


@alone
def a_name_that_is_no_string(a):
    vars(a)[1] = [2]
    a = yield
    yield vars(a)[1]


@alone
def methods_of_the_agent_itself(a):
    a.calls = []
    a.remember = a.reset
    a.later = functools.partial(a.infer_states, (1,))
    a = yield
    a.later()
    yield a.qs, a.remember.__self__ is a


@alone
def a_method_replaced_on_the_object(a):
    a.step_time = lambda: 7
    a = yield
    step(a)
    yield a.curr_timestep


@alone
def a_closure_over_the_agent(a):
    a.count = 0
    a.increase = lambda: setattr(a, "count", a.count + 1)
    a = yield
    a.increase()
    yield a.count


@alone
def the_agent_itself(a):
    a.me, a.mes = a, [a]
    a = yield
    a.me.k = 5
    yield a.k, a.mes[0] is a


@alone
def the_dict_of_the_agent(a):
    a.state = vars(a)
    a = yield
    a.state["k"] = 5
    same = a.k, a.state is vars(a)
    del a.state
    yield same


@alone
def nested_lists_of_200_levels(a):
    a.deep = functools.reduce(lambda inner, _: [inner], range(200), [1.5])
    a = yield
    inner = a.deep
    while type(inner[0]) is list:
        inner = inner[0]
    inner.append(2)
    yield a.deep


@alone
def nested_dicts_and_tuples_of_300_levels(a):
    a.deep = functools.reduce(lambda inner, _: {"x": (inner,)}, range(150), np.ones(2))
    a = yield
    yield a.deep


@alone
def a_list_in_itself(a):
    a.ring = [1]
    a.ring.append(a.ring)
    a = yield
    yield a.ring[1] is a.ring


@alone
def a_dict_in_itself(a):
    a.ring = {"x": 1}
    a.ring["me"] = [a.ring]
    a = yield
    yield a.ring["me"][0] is a.ring


@alone
def a_tuple_in_its_own_list(a):
    ring: list[Any] = []
    a.ring = (ring, 1)
    ring.append(a.ring)
    a = yield
    yield a.ring[0][0] is a.ring


@alone
def an_object_array_in_itself(a):
    a.ring = utils.obj_array(2)
    a.ring[0] = a.ring
    a = yield
    yield a.ring[0] is a.ring


# ------------------------------------------------------------------------ shared by agents


def shared(name: str, build: Callable[[], Any], use: Callable[[Any], Any]) -> None:
    """One object that two agents and the outside hold; `use` changes it, and says what it saw."""

    def script(stage: Stage) -> None:
        thing, agents = build(), [make() for _ in range(3)]
        for agent in agents[1:]:
            agent.shared, agent.nested = thing, {"inside": [thing]}
        stage.take(agents)
        for index in (1, 2, 1):
            with stage.use(index) as agent:
                stage.note(use(agent.shared), agent.nested["inside"][0] is agent.shared)
        stage.note(use(thing))
        with stage.use(1) as one, stage.use(2) as other:
            stage.note(one.shared is other.shared)

    QUIRKS[f"shared by agents: {name}"] = script


class World:
    """Where agents meet."""

    def __init__(self) -> None:
        self.visits = 0
        self.map = np.zeros(3)

    def visit(self) -> int:
        self.visits += 1
        self.map[self.visits % 3] += 1
        return self.visits


def _mail(box: list[int]) -> int:
    box.append(len(box))
    return len(box)


def _counted(counter: dict[str, int]) -> int:
    counter["n"] = counter.get("n", 0) + 1
    return counter["n"]


def _added(array: np.ndarray) -> float:
    array += 1
    return float(array.sum())


shared("a mailbox", list, _mail)
shared("a dict", dict, _counted)
shared("a world", World, World.visit)
shared("the map of a world", lambda: World().map, _added)
shared("a small array", lambda: np.zeros(3), _added)
shared("a large array", lambda: np.zeros(10_000), _added)
shared("a generator of random numbers", lambda: np.random.default_rng(1), lambda g: g.random())
shared("a legacy generator", lambda: np.random.RandomState(1), lambda g: g.rand())
shared("a lock", threading.Lock, lambda lock: lock.acquire(blocking=False))
shared("a set", set, lambda box: box.add(len(box)) or len(box))
shared("an iterator", lambda: iter(range(9)), next)
shared("a mailbox in a tuple", lambda: ([], 1), lambda pair: _mail(pair[0]))
shared("an object array", lambda: utils.obj_array_zeros([2, 2]), lambda x: _added(x[1]))


@together
def containers_of_PyMDP_shared_by_agents(stage):
    preferences = utils.obj_array_zeros([3])
    agents = [make(C=preferences) for _ in range(3)]
    stage.take(agents)
    with stage.use(1) as agent:
        agent.C[0] = np.array([1.0, 2.0, 3.0])
    with stage.use(2) as agent:
        stage.note(agent.C)


@together
def a_friend(stage):
    agents = [make() for _ in range(3)]
    agents[0].friend, agents[1].k = agents[1], 0
    stage.take(agents)
    with stage.use(0) as agent:
        agent.friend.k = 100
    with stage.use(1) as agent:
        stage.note(agent.k)


@together
def a_friend_is_read(stage):
    agents = [make() for _ in range(2)]
    agents[0].friend, agents[1].k = agents[1], 0
    stage.take(agents)
    with stage.use(1) as agent:
        agent.k = 3
    with stage.use(0) as agent:
        stage.note(agent.friend.k)


@together
def a_friend_that_is_active_too(stage):
    agents = [make() for _ in range(2)]
    agents[0].friend, agents[1].k = agents[1], 0
    stage.take(agents)
    with stage.use(0) as one, stage.use(1) as other:
        other.k = 3
        stage.note(one.friend is other, one.friend.k)


@together
def a_friend_outside_of_the_population(stage):
    stranger = make()
    agents = [make() for _ in range(2)]
    for agent in agents:
        agent.friend = stranger
    stage.take(agents)
    with stage.use(0) as agent:
        step(agent.friend)
    stage.note(stranger.qs)


@together
def a_ring_of_friends(stage):
    agents = [make() for _ in range(3)]
    for agent, friend in zip(agents, agents[1:] + agents[:1], strict=True):
        agent.friend = friend
    stage.take(agents)
    with stage.use(0) as agent:
        agent.friend.friend.friend.k = 1
        stage.note(agent.k)


@together
def a_list_of_all_agents(stage):
    agents = [make() for _ in range(3)]
    for agent in agents:
        agent.others = agents
    stage.take(agents)
    with stage.use(1) as agent:
        stage.note(agent.others[1] is agent)


@together
def a_friend_met_later(stage):
    stage.take([make() for _ in range(3)])
    with stage.use(0) as one, stage.use(1) as other:
        one.friend, other.k = other, 1
    with stage.use(0) as one:
        one.friend.k = 100
    with stage.use(1) as other:
        stage.note(other.k)


@together
def the_same_object_given_later(stage):
    stage.holds_on = True
    stage.take([make() for _ in range(3)])
    mail: list[int] = []
    for index in range(2):
        with stage.use(index) as agent:
            agent.mail = mail
    for index in range(2):
        with stage.use(index) as agent:
            agent.mail.append(index)
    stage.note(mail)


# ------------------------------------------------------------------- held by the outside


def kept(name: str, build: Callable[[], Any], use: Callable[[Any], Any]) -> None:
    """What the outside keeps of an agent, from before the take-over or from a block, and changes
    after it; and what it sees when the agent does."""

    def script(stage: Stage, later: bool = False) -> None:
        stage.holds_on = True
        agents = [make() for _ in range(2)]
        for agent in () if later else agents:
            agent.thing = build()
        mine = None if later else agents[1].thing
        stage.take(agents)
        with stage.use(1) as agent:
            if later:
                agent.thing = mine = build()
            stage.note(use(agent.thing))
        use(mine)
        with stage.use(1) as agent:
            stage.note(use(agent.thing), agent.thing is mine)
        stage.note(mine)

    QUIRKS[f"kept outside: {name}"] = script
    QUIRKS[f"kept outside, from a block: {name}"] = functools.partial(script, later=True)


kept("a list", list, _mail)
kept("a dict", dict, _counted)
kept("a small array", lambda: np.zeros(3), _added)
kept("a large array", lambda: np.zeros(10_000), _added)
kept("a list in a list", lambda: [[]], lambda x: _mail(x[0]))


@together
def beliefs_kept_outside(stage):
    stage.take([make() for _ in range(2)])
    with stage.use(0) as agent:
        step(agent)
        beliefs = agent.qs
        stage.note(beliefs)
    for index in (0, 1, 0):
        with stage.use(index) as agent:
            step(agent, index)
    stage.note(beliefs)


@together
def learned_arrays_kept_outside(stage):
    stage.take([make(size=40, learns="A") for _ in range(2)])
    with stage.use(0) as agent:
        step(agent)
        agent.update_A([1])
        learned = agent.A[0]
        stage.note(learned)
    for index in (1, 0):
        with stage.use(index) as agent:
            step(agent, 2)
            agent.update_A([2])
    stage.note(learned)


@together
def an_agent_is_used_after_its_block(stage):
    stage.take([make() for _ in range(2)])
    with stage.use(0) as agent:
        agent.k = 1
    stage.note(agent.k)


@together
def an_agent_is_written_to_after_its_block(stage):
    stage.take([make() for _ in range(2)])
    with stage.use(0) as agent:
        agent.k = 1
    agent.k = 2
    with stage.use(0) as agent:
        stage.note(agent.k)


@together
def an_attribute_is_deleted_after_the_block(stage):
    stage.take([make() for _ in range(2)])
    with stage.use(0) as agent:
        agent.k = 1
    del agent.k
    with stage.use(0) as agent:
        stage.note(hasattr(agent, "k"))


@together
def an_agent_is_written_to_after_the_take_over(stage):
    agents = [make() for _ in range(2)]
    stage.take(agents)
    agents[1].k = 2
    with stage.use(1) as agent:
        stage.note(agent.k)


@together
def the_dict_of_an_agent_is_kept(stage):
    stage.holds_on = True
    stage.take([make() for _ in range(2)])
    with stage.use(0) as agent:
        state = vars(agent)
    state["k"] = 5
    with stage.use(0) as agent:
        stage.note(agent.k)


@together
def one_agent_in_two_blocks(stage):
    agents = [make() for _ in range(2)]
    stage.take(agents)
    with stage.use(0) as agent:
        before = agent
    with stage.use(0) as agent:
        agent.k = 1
        stage.note(before.k)


# -------------------------------------------------------------------------- weak references


@together
def a_weak_reference_to_an_agent(stage):
    agents = [make() for _ in range(2)]
    reference = weakref.ref(agents[0])
    stage.take(agents)
    with stage.use(0) as agent:
        stage.note(reference() is agent)


@together
def a_weak_dict_of_agents(stage):
    agents = [make() for _ in range(2)]
    names = weakref.WeakKeyDictionary({agent: index for index, agent in enumerate(agents)})
    stage.take(agents)
    for index in range(2):
        with stage.use(index) as agent:
            stage.note(names.get(agent))


@together
def a_proxy_of_an_agent(stage):
    agents = [make() for _ in range(2)]
    proxy = weakref.proxy(agents[1])
    stage.take(agents)
    with stage.use(1) as agent:
        agent.k = 4
        stage.note(proxy.k)


@together
def a_weak_reference_to_an_active_agent(stage):
    stage.holds_on = True
    stage.take([make() for _ in range(2)])
    with stage.use(0) as agent:
        reference = weakref.ref(agent)
    with stage.use(0) as agent:
        stage.note(reference() is agent)


@alone
def a_weak_reference_to_a_member(a):
    a.world = World()
    a.reference = weakref.ref(a.world)
    a = yield
    yield a.reference() is a.world


@alone
def a_weak_reference_to_an_array(a):
    a.x = np.ones(4)
    a.reference = weakref.ref(a.x)
    a = yield
    yield a.reference() is a.x


@together
def a_weak_reference_from_outside_to_a_member(stage):
    agents = [make() for _ in range(2)]
    for agent in agents:
        agent.x, agent.world = np.ones(4), World()
    references = [weakref.ref(agents[1].x), weakref.ref(agents[1].world)]
    stage.take(agents)
    with stage.use(1) as agent:
        stage.note(
            [r() is thing for r, thing in zip(references, (agent.x, agent.world), strict=True)]
        )


@alone
def a_weak_set_of_members(a):
    a.worlds = [World(), World()]
    a.present = weakref.WeakSet(a.worlds)
    a = yield
    yield len(a.present)


# --------------------------------------------------------------------------- in-place writes


def written(name: str, write: Callable[[Any], Any], **options: Any) -> None:
    """A write into what PyMDP keeps, in one of three agents."""

    def script(stage: Stage) -> None:
        agents = [make(**options) for _ in range(3)]
        for agent in agents:
            step(agent)
        stage.take(agents)
        with stage.use(1) as agent:
            write(agent)
        for index in range(3):
            with stage.use(index) as agent:
                stage.look_at(agent)
                step(agent, index)

    QUIRKS[f"written to: {name}"] = script


def _set(name: str, place: Any) -> Callable[[Any], None]:
    def write(agent: Any) -> None:
        getattr(agent, name)[0][place] += 0.25

    return write


for _letter, _place in {"A": (0, 0), "B": (0, 0, 1), "C": 1, "D": 1, "qs": 1}.items():
    written(f"an element of {_letter}", _set(_letter, _place))
written("a policy", lambda a: operator.setitem(a.policies[0], (0, 0), 1))
written("an element of large A", _set("A", (0, 0)), size=100)
written("an element of large B", _set("B", (0, 0, 1)), size=40)
written("an element of large C", _set("C", 1), size=600)
written("an element of pA", _set("pA", (0, 0)), learns="A")
written("an element of pB", _set("pB", (0, 0, 1)), learns="B")
written("an element of pD", _set("pD", 1), learns="D")
written("E", lambda a: operator.setitem(a.E, 0, 0.75))
written("q_pi", lambda a: operator.setitem(a.q_pi, 0, 0.75))
written("G", lambda a: operator.setitem(a.G, 0, 0.75))
written("an action", lambda a: operator.setitem(a.action, 0, 1))
written("an entry of the past", lambda a: operator.setitem(a.prev_actions[0], 0, 1))
written("C, one of its arrays", lambda a: operator.setitem(a.C, 0, np.array([3.0, 2.0, 1.0])))
written("D, one of its arrays", lambda a: operator.setitem(a.D, 0, np.array([0.0, 0.5, 0.5])))
written("A, one of its arrays", lambda a: operator.setitem(a.A, 0, np.roll(a.A[0], 1, axis=0)))
written("C, added to in place", lambda a: operator.iadd(a.C[0], 1.0))
written("C, filled", lambda a: a.C[0].fill(2.0))
written("C, sorted after a change", lambda a: (a.C[0].__setitem__(0, 9.0), a.C[0].sort()))
written("C, by a function of NumPy", lambda a: np.copyto(a.C[0], np.arange(3.0)))
written("policies, one of them", lambda a: operator.setitem(a.policies, 0, a.policies[1]))
written("policies, the last goes", lambda a: (a.policies.pop(), setattr(a, "E", a.E[:1])))
written("mb_dict", lambda a: a.mb_dict.update(note=[1]))
written("inference_params", lambda a: a.inference_params.update(num_iter=1))
written(
    "an observation of the past",
    lambda a: operator.setitem(a.prev_obs, 0, (2,)),
    inference_algo="MMP",
    save_belief_hist=True,
)
written(
    "beliefs of the past",
    lambda a: operator.setitem(a.qs_hist[0][0], 0, 0.75),
    save_belief_hist=True,
)


@alone
def writing_is_allowed_again(a):
    a = yield
    a.C[0].flags.writeable = True
    a.C[0][0] = 5
    yield a.C


# ------------------------------------------------------------------------ histories as lists


def listed(name: str, use: Callable[[Any], Any]) -> None:
    """A use of `prev_actions`, which is a list in PyMDP, after some steps."""

    def script(stage: Stage) -> None:
        stage.take([make() for _ in range(2)])
        for number in range(3):
            with stage.use(1) as agent:
                step(agent, number)
        with stage.use(1) as agent:
            stage.attempt(lambda: use(agent.prev_actions))
        with stage.use(1) as agent:
            step(agent, 5)

    QUIRKS[f"the past as a list: {name}"] = script


listed("append", lambda x: x.append(np.array([1.0])))
listed("slices", lambda x: (x[-2:], x[::-1], x[5:], x[0]))
listed("sort", lambda x: x.sort(key=float) or list(map(float, x)))
listed("equality", lambda x: ([*map(float, x)] == [1, 1], x == 7, x != 7, x == x[:0]))
listed("sums", lambda x: (operator.add(x, [1]), operator.add([1], x), x * 2, 2 * x))
listed("sums in place", lambda x: (operator.iadd(x, [np.array([0.0])]), len(x)))
listed("its class", lambda x: (isinstance(x, list), type([]) in type(x).__mro__))
listed("json", lambda x: (json.dumps(x[:0]), json.dumps(x, default=lambda a: a.tolist())))
listed("deepcopy", copy.deepcopy)
listed("copy", lambda x: (copy.copy(x), x.copy()))
listed("pickle", lambda x: pickle.loads(pickle.dumps(x)))
listed("repr", repr)
listed("an index that is not there", lambda x: x[99])
listed("an index that is no number", lambda x: x["a"])
listed("a sum with a tuple", lambda x: operator.add(x, (1,)))
listed("sizes", lambda x: (len(x), bool(x), x.__len__()))
listed("changes", lambda x: (x.insert(0, 1.5), x.pop(), x.reverse(), x.extend([2]), x[0]))
listed("deleted parts", lambda x: (operator.delitem(x, slice(0, 2)), len(x)))
listed("cleared", lambda x: (x.clear(), len(x)))
listed("an array of it", lambda x: (np.array(x), np.stack(x), np.concatenate(x)))
listed("compared", lambda x: x[:1] < [np.array([9.0])])
listed("hashed", hash)
listed("entries written to", lambda x: (operator.setitem(x[0], 0, 7.0), x[0]))
listed("entries twice", lambda x: x[0] is x[0])
listed(
    "an iterator that sees what is appended",
    lambda x: [x.append(1.0) if len(x) < 5 else e for e in x],
)
listed("an attribute", lambda x: setattr(x, "k", 1))
listed("format", lambda x: f"{x}" + str(x))
listed("a match", lambda x: [type(a).__name__ for a in ([*x] if isinstance(x, list) else [])])


# ------------------------------------------------------------------------ populations, lives


@together
def an_exception_inside_a_block(stage):
    agents = [make() for _ in range(2)]
    for agent in agents:
        agent.log = agent.alias = []
    stage.take(agents)
    with contextlib.suppress(KeyError), stage.use(0) as agent:
        step(agent)
        agent.log.append(1)
        raise KeyError
    with stage.use(0) as agent:
        stage.note(agent.alias)


@together
def agents_of_several_classes(stage):
    class One(Agent):
        pass

    class Two(Agent):
        gamma_of_class = 3

    agents = [make(), make(One), make(Two), make(One)]
    for agent in agents:
        agent.log = agent.alias = []
    stage.take(agents)
    for index in range(len(agents)):
        with stage.use(index) as agent:
            agent.log.append(index)
            stage.note(type(agent).__name__, agent.alias)


@together
def the_class_changes(stage):
    class Other(Agent):
        pass

    stage.take([make() for _ in range(2)])
    with stage.use(1) as agent:
        agent.__class__ = Other
    with stage.use(1) as agent:
        stage.note(type(agent).__name__)


@together
def warm_agents(stage):
    agents = [make(save_belief_hist=True) for _ in range(3)]
    for index, agent in enumerate(agents):
        for number in range(index + 1):
            step(agent, number)
    stage.take(agents)
    for index in range(3):
        with stage.use(index) as agent:
            step(agent, 9)


@together
def equal_arrays_of_different_agents(stage):
    agents = [make() for _ in range(3)]
    for agent in agents:
        agent.x, agent.large = np.ones(3), np.arange(10_000.0)
    stage.take(agents)
    with stage.use(0) as agent:
        agent.x[0] = agent.large[0] = 5
    with stage.use(1) as agent:
        stage.note(agent.x, agent.large[0])


@alone
def arrays_full_of_nan(a):
    a.small, a.large = np.full(5, np.nan), np.full((100, 100), np.nan)
    a = yield
    a.small = a.small.copy()
    a.small.view(np.int64)[1] ^= 5
    a = yield np.isnan(a.small)
    a.large = np.full((100, 100), -np.nan)
    yield a.large[0]


@alone
def very_large_lists(a):
    a.nothing, a.no, a.zero = [None] * 33_000, [False] * 33_000, [0] * 33_000
    a = yield
    a.no[7] = 0
    a.zero[7] = False
    yield a.no[5:9], a.zero[5:9]


@alone
def a_reset_and_another_life(a):
    a = yield
    step(a)
    a.reset()
    a = yield
    step(a, 1)
    yield a.qs


@alone(learns="AB")
def learning(a):
    for number in range(3):
        a = yield
        before = a.qs
        step(a, number)
        a.update_A([number])
        a.update_B(before)
    yield a.A, a.B


@alone
def a_copy_of_the_agent(a):
    a.log = a.alias = [1]
    a = yield
    twin = copy.deepcopy(a)
    twin.log.append(2)
    yield twin.alias, a.log, type(twin).__name__


@alone
def the_agent_pickled(a):
    a = yield
    step(a)
    yield pickle.loads(pickle.dumps(a)).qs


# ----------------------------------------------------------------------- classes and values


def of_class(kind: type) -> None:
    """Agents of a class with a quirk; `poke` changes them, and says what it saw."""

    def script(stage: Stage) -> None:
        stage.holds_on = hasattr(kind, "all")
        stage.take([make(kind) for _ in range(3)])
        for index in (1, 2, 1):
            with stage.use(index) as agent:
                step(agent, index)
                stage.note(agent.poke())

    QUIRKS[f"a class: {kind.__doc__}"] = script


def of_value(name: str, build: Callable[[], Any]) -> None:
    """A value as an attribute, within containers, twice, and given in a block."""

    def script(stage: Stage) -> None:
        agents = [make() for _ in range(4)]
        agents[1].x = agents[2].x = build()
        agents[2].xs, agents[2].pair, agents[2].keyed = [build()] * 2, (build(), 1), {"x": build()}
        agents[3].parts = utils.obj_array(1)
        agents[3].parts[0] = build()
        stage.take(agents)
        for index in (1, 2, 0):
            with stage.use(index) as agent:
                agent.later = [build()]

    def of_the_first(stage: Stage) -> None:
        agents = [make() for _ in range(2)]
        for agent in agents:
            agent.x, agent.xs = build(), [build(), build()]
        stage.take(agents)

    QUIRKS[f"a value: {name}"] = script
    QUIRKS[f"a value: {name}, of the first too"] = of_the_first


for _kind in CLASSES:
    of_class(_kind)
for _name, _build in quirk_values.VALUES.items():
    of_value(_name, _build)


def main() -> int:
    chosen = {
        name: script for name, script in QUIRKS.items() if not sys.argv[1:] or name in sys.argv[1:]
    }
    print(f"{len(chosen)} quirks under {len(PLANS)} plans")
    return 0 if table(chosen) else 1


if __name__ == "__main__":
    sys.exit(main())
