"""However an agent holds an array, the walk finds it once, under the agent's name."""

import gc
import json
import logging
import mmap
import sys
import weakref
from importlib.util import find_spec
from types import ModuleType

import numpy as np
import pytest

from memprof.instruments.program import program_holdings
from memprof.instruments.walker import gained, walk
from memprof.populations import AGENT, PROGRAM
from tests.ways import NUMBERS, OF_A_TABLE, TABLE_BYTES, WITH_A_COPY, WITH_TORCH, Marked

WAYS = {**OF_A_TABLE, **WITH_A_COPY, **(WITH_TORCH if find_spec("torch") else {})}


def held(*holdings, agents=2):
    return {row.component: row for row in walk(holdings, agents).rows}


def table():
    return np.random.default_rng(0).random(NUMBERS)


@pytest.mark.parametrize("way", WAYS)
def test_what_is_held_is_found_and_is_the_holders_alone(way):
    thing = WAYS[way](table())
    gc.collect()
    row = held((0, "Agent.held", thing))["Agent.held"]
    assert row.private_nominal_bytes == pytest.approx(TABLE_BYTES, rel=0.02)
    assert row.private_resident_bytes == pytest.approx(TABLE_BYTES, rel=0.02)
    assert row.shared_nominal_bytes == 0


@pytest.mark.parametrize("way", OF_A_TABLE)
def test_one_array_behind_two_agents_holders_is_shared_and_counts_once(way):
    one = table()
    row = held((0, "Agent.held", WAYS[way](one)), (1, "Agent.held", WAYS[way](one)))["Agent.held"]
    assert row.shared_nominal_bytes == pytest.approx(TABLE_BYTES, rel=0.02)
    assert row.private_nominal_bytes < 0.04 * TABLE_BYTES  # two holders


@pytest.mark.parametrize("way", WAYS)
def test_what_two_agents_hold_in_common_counts_once(way):
    thing = WAYS[way](table())
    row = held(*((agent, "Agent.held", [thing]) for agent in range(2)))["Agent.held"]
    assert row.shared_nominal_bytes == pytest.approx(TABLE_BYTES, rel=0.02)
    assert row.private_nominal_bytes < 1000


def gone(make):
    thing = make()
    thing.close() if hasattr(thing, "close") else thing.release()
    return thing


def dead_proxy():
    one = table().view(Marked)
    return weakref.proxy(one)


GONE = {
    "closed map": lambda: gone(lambda: mmap.mmap(-1, TABLE_BYTES)),
    "released view": lambda: gone(lambda: memoryview(bytes(10))),
    "closed generator": lambda: gone(lambda: OF_A_TABLE["generator"](table())),
    "dead proxy": dead_proxy,
    "empty array": lambda: np.empty((0, 3)).T[::-1],
    "running frame": sys._getframe,
}


@pytest.mark.parametrize("thing", GONE)
def test_what_holds_nothing_any_more_is_next_to_nothing(thing):
    assert held((0, "Agent.held", [GONE[thing]()]))["Agent.held"].nominal_bytes < 1000


def test_the_way_ends_at_the_program_and_at_other_agents():
    class Agent:
        def __init__(self, *others):
            self.others, self.table = others, table()
            self.look = lambda: self

    first = Agent(np.linalg.norm, sys, Agent, type(np), logging.getLogger, json.dumps, table)
    second = Agent(first, first.look)
    holdings = [
        (0, "Agent.look", first.look),
        (1, "Agent.look", second.look),
        (0, AGENT, first),
        (1, AGENT, second),
    ]
    rows = held(*holdings)
    assert rows[AGENT].private_nominal_bytes == pytest.approx(2 * TABLE_BYTES, rel=0.01)
    assert rows["Agent.look"].nominal_bytes < 1000
    assert rows[AGENT].objects < 30
    assert walk(holdings, 2).nominal == pytest.approx((TABLE_BYTES, TABLE_BYTES), rel=0.02)


def test_what_the_program_has_of_an_agent_is_shared_and_that_agents_to_bring():
    mine = table()
    holdings = [(0, "Agent.held", [mine]), (PROGRAM, "module.TABLES", [mine, table()])]
    found = walk(holdings, 1)
    own, programs = found.rows
    assert own.shared_nominal_bytes == pytest.approx(TABLE_BYTES, rel=0.01)
    assert programs.shared_nominal_bytes == pytest.approx(TABLE_BYTES, rel=0.01)
    assert found.nominal == pytest.approx((TABLE_BYTES,), rel=0.01)
    before = walk([(PROGRAM, "module.TABLES", [mine])], 1).rows
    (gain,) = gained([programs, *before], [*before])
    assert gain.component == "module.TABLES"


def test_what_the_walk_looked_at_goes_when_its_holder_goes():
    thing = WAYS["class of its own"](table())
    seen = weakref.ref(type(thing))
    held((0, "Agent.held", thing))
    del thing
    gc.collect()
    assert seen() is None


def test_a_type_that_cannot_be_looked_into_is_named():
    from scipy.spatial import cKDTree

    index = {"index": cKDTree(np.random.default_rng(0).random((1000, 3))), "table": table()}
    assert held((0, "Agent.held", index))["Agent.held"].opaque == (
        "scipy.spatial._ckdtree.cKDTree",
    )
    assert held((0, "Agent.held", [table(), Marked(3), {}]))["Agent.held"].opaque == ()


class Evasive:
    """As proxies of what is not there yet: whoever asks for its class or attributes is told off."""

    def __getattribute__(self, name):
        raise RuntimeError("working outside of context")


def test_nothing_of_the_users_runs_when_it_is_looked_at(monkeypatch):
    module = ModuleType("mine")
    module.__file__, module.current, module.tables = "/home/me/mine.py", Evasive(), [table()]
    module.Kind = type("Kind", (), {"current": Evasive(), "__module__": "mine"})
    monkeypatch.setitem(sys.modules, "mine", module)
    found = [each for each in program_holdings() if each[1].startswith(("mine.", "Kind."))]
    assert [name for _, name, _ in found] == ["Kind.current", "mine.current", "mine.tables"]
    rows = held((0, "Agent.held", [Evasive()]), *found)
    assert rows["mine.tables"].shared_nominal_bytes == pytest.approx(TABLE_BYTES, rel=0.01)
    assert rows["Agent.held"].objects == 2
