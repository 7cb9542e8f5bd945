"""How long a leak's sites are looked for, and in which agents."""

import pytest
from msgspec.structs import replace

from memprof.catalogue.passes import without_stores
from memprof.leak.run import _watched
from memprof.leak.verdict import verdict_on
from memprof.values.leak import CycleReading, CycleRun


def leak(every, objects=0):
    """A native leak of 500 B once in so many cycles."""
    readings = [CycleReading(500 * (n // every), 0, objects * n, 0, None) for n in range(31)]
    return verdict_on(
        [CycleRun(tuple(readings), (0.1,) * 30, (), facts={})], "lifecycle", 10, 3, 2, ()
    )


@pytest.mark.parametrize(("every", "cycles"), [(1, 6), (2, 18), (5, 45)])
def test_what_leaks_once_in_some_cycles_is_watched_for_as_many_more(every, cycles):
    found = leak(every)
    assert found.verdict == "leak"
    assert _watched(found) == pytest.approx(cycles, rel=0.15)
    assert _watched(replace(found, signals=())) == 6


def test_many_objects_in_every_cycle_are_found_at_once():
    assert _watched(leak(1, objects=5)) == 6


@pytest.mark.parametrize(
    ("passes", "backend", "active"),
    [
        (("share", "pool", "template"), "numpy", ("share", "pool")),
        (("mmap", "working_set", "gc"), "numpy", ("gc",)),
        (("history", "pool"), "numpy", ("history", "pool")),
        (("share", "template"), "jax", ("share", "template")),
    ],
)
def test_sites_are_looked_for_in_agents_that_stay_active(passes, backend, active):
    assert without_stores(passes, backend) == active
