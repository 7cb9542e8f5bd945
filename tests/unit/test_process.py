"""Readings of this process, held against allocations of known size."""

import gc
import mmap
import os
import platform
import sys

import numpy as np
import pytest

from memprof.instruments import heap, process, pymalloc

# The figures are to a few kilobytes, and a parallel test run has threads that allocate too.
pytestmark = pytest.mark.serial

MIB = 2**20


def test_live_heap_counts_malloc_and_small_objects():
    # An arena at an address far from all others costs Python a map of it, of 128 KiB, for good:
    # the first time makes it.
    for _ in range(2):
        gc.collect()
        before = heap.live_bytes()
        large = bytearray(10 * MIB)
        with_large = heap.live_bytes()
        small = [bytes(67) for _ in range(10_000)]  # 67 + 33 of header, in blocks of 112
        with_small = heap.live_bytes()
        expected = 10_000 * 112 + sys.getsizeof(small)
        del large, small
        after = heap.live_bytes()
    assert with_large - before == pytest.approx(10 * MIB, abs=9000)
    assert with_small - with_large == pytest.approx(expected, abs=20_000)
    assert after == pytest.approx(before, abs=5000)


def test_blocks_that_are_given_back_one_by_one_are_vacant():
    """Every second one is still there, so that no arena goes."""
    gc.collect()
    kept = [bytes(67) for _ in range(20_000)]  # in blocks of 112
    before = pymalloc.vacant_bytes()
    kept = kept[::2]
    assert pymalloc.vacant_bytes() - before == pytest.approx(10_000 * 112, abs=60_000)


def test_asking_what_is_set_aside_for_an_object_keeps_nothing():
    """Records of agents that learn have a new size in each cycle, and are asked about in each."""
    heap.object_bytes(10_000)
    gc.collect()
    before = sys.getallocatedblocks()
    for size in range(10_001, 11_001):
        heap.object_bytes(size)
    gc.collect()
    assert sys.getallocatedblocks() - before < 100


def test_reading_the_heap_keeps_nothing():
    heap.live_bytes()
    gc.collect()
    sizes = [0] * 50
    for index in range(50):
        sizes[index] = heap.live_bytes()
    assert sizes[-1] - sizes[5] <= 50 * 32  # the integers in the list


def test_reading_the_heap_leaves_standard_error_alone(capfd):
    os.write(2, b"before\n")
    heap.live_bytes()
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "before\nafter\n"


def fresh(size):
    """Memory that nobody has touched: of malloc it may be a hole, which calloc fills."""
    return np.frombuffer(mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS), np.uint8)


def test_uss_follows_touched_memory_only():
    process.settle()
    before = process.read()
    lazy = fresh(64 * MIB)
    few = 4 * MIB  # what this process shares with one that ends meanwhile is its own from then on
    assert process.read().uss_bytes - before.uss_bytes < few
    lazy[:] = 1
    assert process.read().uss_bytes - before.uss_bytes == pytest.approx(64 * MIB, abs=few)
    del lazy
    process.settle()
    assert process.read().uss_bytes - before.uss_bytes < few


def test_filled_blocks_leave_no_room_for_small_objects():
    """Without it, the first objects after a large release cost the process nothing."""
    held = [bytes(100) for _ in range(200_000)]
    pin = held[::1000]
    del held
    gc.collect()

    def growth():
        before = process.read().uss_bytes
        objects = [bytes(100) for _ in range(20_000)]
        after = process.read().uss_bytes
        return after - before, objects

    free, kept = growth()
    filled = heap.fill_free_blocks()
    paid, kept_too = growth()
    assert free < 0.2 * 20_000 * 144
    assert paid > 0.9 * 20_000 * 144
    del pin, kept, kept_too, filled


def test_filled_chunks_leave_no_room_for_small_arrays():
    """What malloc has free between blocks in use, as imports leave it behind."""
    if platform.libc_ver()[0] != "glibc":
        pytest.skip("only glibc says which chunks are free")
    count, size = 20_000, 600
    held = [np.ones(size // 8) for _ in range(count)]
    pins = held[::2]
    del held
    gc.collect()

    def growth():
        before = process.read().private_bytes
        arrays = [np.ones(size // 8) for _ in range(count // 4)]
        return process.read().private_bytes - before, arrays

    free, kept = growth()
    filled = heap.fill_free_blocks()
    paid, kept_too = growth()
    assert free < 0.3 * count / 4 * size
    assert paid > 0.95 * count / 4 * size
    del pins, kept, kept_too, filled


def test_the_peak_is_that_since_the_reset():
    if not process.reset_peak():
        pytest.skip("this platform keeps no peak that can be reset")
    before = process.peak_rss_bytes()
    held = fresh(64 * MIB)
    held[:] = 1
    del held
    assert process.peak_rss_bytes() - before == pytest.approx(64 * MIB, rel=0.05)
    assert process.reset_peak()
    assert process.peak_rss_bytes() < before + 8 * MIB


def test_pages_of_files_are_no_private_memory(tmp_path):
    """A mapped library is in the USS only while no other process maps it too."""
    path = tmp_path / "library"
    path.write_bytes(b"x" * 32 * MIB)
    before = process.read()
    mapped = np.memmap(path, np.uint8, mode="r")
    assert mapped.sum() > 0
    after = process.read()
    assert after.uss_bytes - before.uss_bytes > 30 * MIB
    assert after.private_bytes - before.private_bytes < MIB
