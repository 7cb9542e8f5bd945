"""Compressed data: lossless, and no larger in memory than it says."""

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from memprof.storage.records import compressed, decompressed


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
