"""The ledger's walk, held against arrays whose size and residency are known."""

import mmap

import numpy as np
import pytest

from memprof.instruments.held import reachable
from memprof.instruments.residency import PageTable
from memprof.instruments.walker import walk
from memprof.posix import PAGE_BYTES

MIB = 2**20


def rows(*holdings):
    found, *_ = walk(holdings, 3)
    return {row.component: row for row in found}


def container(*arrays):
    out = np.empty(len(arrays), dtype=object)
    for position, array in enumerate(arrays):
        out[position] = array
    return out


def test_it_sees_through_pymdps_object_arrays_where_getsizeof_stops():
    held = container(np.ones(MIB // 8), container(np.ones(MIB // 8)))
    found = rows((0, "A", held))["A"]
    assert found.private_nominal_bytes == pytest.approx(2 * MIB, rel=1e-3)
    assert found.private_resident_bytes == pytest.approx(2 * MIB, rel=5e-3)


def test_a_buffer_counts_once_however_many_arrays_look_at_it():
    base = np.ones(MIB // 8)
    views = [
        base,
        base[10:],
        base.reshape(2, -1).T,
        np.broadcast_to(base, (50, MIB // 8)),
        base[:5],
    ]
    found = rows((0, "B", views))["B"]
    assert found.private_nominal_bytes == pytest.approx(MIB, rel=2e-3)
    only_a_view = rows((0, "B", base[:5]))["B"]
    assert only_a_view.private_nominal_bytes == pytest.approx(MIB, rel=1e-3), "a view pins its base"


def test_shared_and_private_are_told_apart_and_add_up():
    common, own = np.ones(MIB // 8), [np.ones(MIB // 8) for _ in range(3)]
    found = rows(*((agent, "A", [common[agent:], own[agent]]) for agent in range(3)))["A"]
    assert found.shared_nominal_bytes == pytest.approx(MIB, rel=1e-3)
    assert found.private_nominal_bytes == pytest.approx(3 * MIB, rel=1e-3)
    assert found.nominal_bytes == found.shared_nominal_bytes + found.private_nominal_bytes


def test_what_a_shared_object_refers_to_is_shared_too():
    inner = [np.ones(MIB // 8)]
    found = rows((0, "A", {"x": inner}), (1, "A", inner))["A"]
    assert found.shared_nominal_bytes == pytest.approx(MIB, rel=1e-3)


def test_an_object_belongs_to_the_component_that_reaches_it_first():
    array = np.ones(MIB // 8)
    found = rows((0, "A", array), (0, "other", {"A": array}))
    assert found["A"].private_nominal_bytes > MIB
    assert found["other"].private_nominal_bytes < 1000


def test_zeros_of_python_that_nobody_has_touched_are_not_resident_either():
    untouched, written = bytes(64 * MIB), b"x" * MIB
    assert rows((0, "world", untouched))["world"].resident_bytes < 2.1 * MIB
    assert rows((0, "world", written))["world"].resident_bytes == pytest.approx(MIB, rel=0.01)


def test_untouched_and_merely_read_pages_are_not_resident():
    untouched = np.zeros(64 * MIB // 8)  # more than glibc ever takes from memory used before
    assert rows((0, "B", untouched))["B"].resident_bytes < 2 * PAGE_BYTES
    untouched.sum()  # maps the kernel's zero page, which costs nothing
    assert rows((0, "B", untouched))["B"].resident_bytes < 2.1 * MIB
    untouched[: 16 * MIB // 8] = 1
    assert rows((0, "B", untouched))["B"].resident_bytes == pytest.approx(16 * MIB, rel=0.15)


def test_residency_is_counted_to_the_byte_at_the_edges():
    with mmap.mmap(-1, 8 * PAGE_BYTES) as memory, PageTable() as pages:
        memory.write(b"x" * 8 * PAGE_BYTES)
        view = np.frombuffer(memory, np.uint8)
        address = view.ctypes.data
        private = pages.resident_bytes(address, PAGE_BYTES)
        whole = pages.resident_bytes(address, 8 * PAGE_BYTES)
        inside = pages.resident_bytes(address + 100, PAGE_BYTES)
        assert (private, whole, inside) in {(PAGE_BYTES, 8 * PAGE_BYTES, PAGE_BYTES), (0, 0, 0)}
        del view
    held = np.ones(4 * PAGE_BYTES, np.uint8)
    with PageTable() as pages:
        assert pages.resident_bytes(held.ctypes.data + 10, 5000) == 5000


def test_the_interpreters_own_objects_are_nobodys():
    assert rows((0, "x", [None, True, 5, np, len, dict, np.float64]))["x"].objects == 1
    assert rows((0, "x", [10**20]))["x"].objects == 2
    assert rows((0, "x", np.ones(PAGE_BYTES)))["x"].objects == 2, "an array and its memory"


def test_what_the_world_of_all_has_from_one_agent_is_shared_and_that_agents_to_bring():
    own = [np.ones(MIB // 8) for _ in range(3)]
    holdings = [*((agent, "A", own[agent]) for agent in range(3)), (-1, "environment", [own[0]])]
    found, held, _ = walk(holdings, 3)
    assert {row.component: row for row in found}["A"].shared_resident_bytes >= MIB
    assert held == pytest.approx([MIB] * 3, rel=5e-3)
    _, held, _ = walk([*holdings, (-1, "passes", own[1])][::-1], 3)
    assert held == pytest.approx([0, 0, MIB], rel=5e-3, abs=200), "but passes hold for all"


def test_a_cycle_ends_the_walk():
    loop: list = []
    loop.append(loop)
    assert rows((0, "x", loop))["x"].objects == 1
    assert len(reachable([loop, loop])) == 1


def test_what_each_owner_holds_alone_leaves_out_what_is_shared():
    common, own = np.ones(MIB // 8), [np.ones((agent + 1) * MIB // 8) for agent in range(3)]
    _, held, _ = walk(
        [*((agent, "A", [common, own[agent]]) for agent in range(3)), (-1, "x", [1.5])], 3
    )
    assert held == pytest.approx([MIB, 2 * MIB, 3 * MIB], rel=5e-3)
