"""Compressed data: lossless, and no larger in memory than it says."""

import sys

import numpy as np
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from memprof.instruments import heap, process
from memprof.instruments.held import reachable
from memprof.leak.worker import Cycles
from memprof.populations.numpy_agents import NumpyPopulation
from memprof.scenario import load_scenario
from memprof.storage import compression
from memprof.storage.compression import compressed, decompressed
from tests.conftest import SCENARIOS


@given(st.binary(max_size=5000), st.sampled_from([1, 3, 19]))
def test_it_reads_back_whole(data, level):
    assert decompressed(compressed(data, level)) == data


@pytest.mark.skipif(not hasattr(psutil, "heap_info"), reason="no account of the heap here")
def test_a_small_frame_of_much_data_takes_little_memory():
    """The library's own result keeps the buffer that it was compressed into."""

    def held():
        heap = psutil.heap_info()
        return heap.heap_used + heap.mmap_used

    data = bytes(3_000_000)
    compressed(data)
    before = held()
    frames = [compressed(data) for _ in range(10)]
    assert sum(map(len, frames)) < 5000
    assert held() - before < 1_000_000


@pytest.mark.parametrize("level", [1, 3, 9])
def test_what_is_kept_for_the_next_piece_is_as_large_whatever_came(level):
    """Zstandard keeps what the largest piece took, and after many small ones shrinks."""
    compression.let_go()
    decompressed(compressed(b"small", level))
    first = [sys.getsizeof(each) for each in compression.kept()]
    assert min(first) > 20_000, "as Zstandard has it, not as Python does"
    random = np.random.default_rng(0)
    for size in (*range(0, 2048, 41), 2047, 2048, 2049, 70_000, 1_000_000, *[1] * 300):
        data = random.integers(0, 4, size, dtype=np.uint8).tobytes()
        assert decompressed(compressed(data, level)) == data
        assert [sys.getsizeof(each) for each in compression.kept()] == first
    compression.let_go()
    assert compression.kept() == []


@pytest.mark.parametrize("passes", [("share", "pool", "template"), ("history", "pool", "template")])
def test_agents_at_rest_gain_nothing_beside_their_records(passes):
    """However long they live; and when they have gone, nothing is kept for them."""
    scenario = load_scenario(SCENARIOS / "grid-5.yaml", {"agents": 1, "steps": 100})
    life = Cycles(NumpyPopulation, scenario.spec(passes), "steps")
    life.run(2)
    process.settle()
    before, sizes = heap.live_bytes(), [sys.getsizeof(each) for each in compression.kept()]
    life.run(6)
    process.settle()
    assert [sys.getsizeof(each) for each in compression.kept()] == sizes
    # A record that grows by 500 bytes, and what malloc keeps at hand here; with whole histories,
    # what compresses it would gain 80,000.
    assert heap.live_bytes() - before < 40_000
    held = {id(thing) for _, _, root in life.population.holdings() for thing in reachable([root])}
    assert held.issuperset(map(id, compression.kept()))
    life.close()
    assert compression.kept() == []
