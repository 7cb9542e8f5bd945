"""However an agent holds an array, the walk finds it once, under the agent's name."""

import gc
from importlib.util import find_spec

import numpy as np
import pytest

from memprof.instruments.walker import walk
from tests.ways import NUMBERS, OF_A_TABLE, TABLE_BYTES, WITH_A_COPY, WITH_TORCH

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
