"""Giving free memory back to the system."""

import ctypes

import psutil
import pytest

from memprof.posix import return_freed

_KB = 1000  # more than Python's own allocator hands out


@pytest.mark.skipif(
    not psutil.LINUX or not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="glibc's alone"
)
def test_what_is_free_in_the_heap_goes_back_to_the_system():
    blocks = [bytes(_KB) for _ in range(50_000)]
    kept = blocks[::100]  # so that nothing of the heap's end is free
    del blocks
    before = psutil.Process().memory_info().rss
    return_freed()
    assert psutil.Process().memory_info().rss < before - 40_000 * _KB
    assert len(kept) == 500
