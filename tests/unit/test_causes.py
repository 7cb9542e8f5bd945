"""Causes are told by what living objects look like; what only looks like one is none."""

import ctypes
import functools
import gc
import sys
import tracemalloc
import types
import weakref

import numpy as np
import pytest

from memprof.leak import causes
from memprof.leak.held import Held, gain
from memprof.leak.owners import Owner, Owners
from memprof.leak.retained import RetainedObjects
from memprof.leak.rings import Rings


class Walker:
    def __init__(self, grid):
        self.grid = grid


class Grid:
    """Leads back to itself, by an object array if there is one."""

    def __init__(self, array=True):
        self.cells = np.empty(3, dtype=object) if array else [None] * 3
        self.cells[1] = Walker(self)


class Slotted:
    __slots__ = ("view",)

    def __init__(self):
        self.view = np.array([self, None], dtype=object)[:1]


class Table:
    """Has itself in a field of a structured array."""

    def __init__(self):
        self.rows = np.zeros(2, dtype=[("number", int), ("of", object, (2,))])
        self.rows["of"][1, 1] = self


class Phoenix:
    alive = True

    def __init__(self):
        self.itself = self

    def __del__(self):
        if Phoenix.alive:
            Phoenix()


class Cell:
    """A step of a long way round."""

    def __init__(self, further):
        self.further = further


def dropped(make):
    """Makes something and keeps nothing."""

    def act(*arguments):
        make(*arguments)

    return act


def twice(make):
    def act():
        make(), make()

    return act


@pytest.fixture
def rings():
    """Finds what rings there are of what `make` made; what that returns lives on meanwhile."""

    def found(make):
        gc.collect()
        objects = RetainedObjects()
        tracemalloc.start()
        try:
            kept = make()
            gc.collect()
            objects.mark()
            marked = Rings().mark(objects.led_to())
            del kept
            return marked
        finally:
            tracemalloc.stop()

    yield found
    gc.collect()


def test_a_cycle_through_an_object_array_is_named_link_by_link(rings):
    ((ring, held),) = rings(twice(Grid)).items()
    assert ring.way == ("Grid.cells", "Walker.grid", "Grid")
    assert ring.through == "NumPy object array"
    assert ring.owner == Owner("Grid.cells", ("Grid", "Walker.grid", "Grid.cells"), ring)
    line = Grid.__init__.__code__.co_firstlineno + 1
    assert ring.made == (__file__, line)
    assert held.types == {"Grid": 2}
    assert held.things >= 2 * 3
    said = causes.cause_of(
        ring.owner, held, lambda _: True, __file__.removesuffix("/test_causes.py")
    )
    assert said.kind == "array cycle"
    assert f"(made at test_causes.py:{line})" in said.says
    assert "Grid.cells -> Walker.grid -> Grid." in said.says


def test_a_view_a_slot_a_field_an_array_alone_in_a_list_and_a_long_way(rings):
    def make():
        Slotted()
        Table()
        array, far = np.empty(1, dtype=object), np.empty(1, dtype=object)
        array[0] = [array]
        further = far
        for _ in range(5_000):
            further = Cell(further)
        far[0] = further

    found = {ring.way[:3]: held.things for ring, held in rings(make).items()}
    assert found.keys() == {
        ("Slotted.view", "Slotted"),
        ("Table.rows", "Table"),
        ("ndarray", "list", "ndarray"),
        ("Cell.further",) * 3,
    }
    assert found[("Cell.further",) * 3] > 5_000


def test_what_a_ring_leads_to_is_counted_with_it_and_nothing_twice(rings):
    def make():
        first, second = Grid(), Grid()
        first.cells[0] = second
        second.cells[0] = bytearray(10_000)

    ((_, held),) = rings(make).items()
    assert held.types == {"Grid": 1}, "the other one hangs on it"
    assert 10_000 < held.things_bytes < 12_000


KEPT = []


def native(thing):
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))


def test_what_somebody_has_is_no_ring(rings):
    def make():
        KEPT.append(Grid())
        native(Grid())
        Grid(array=False)  # which Python's collector sees, and frees
        return Grid(), [Grid()]

    assert rings(make) == {}


def test_garbage_that_comes_back_is_told_by_its_finalizer(rings):
    Phoenix.alive = True
    try:
        ((ring, held),) = rings(twice(Phoenix)).items()
    finally:
        Phoenix.alive = False
    assert (ring.through, ring.finalizer, held.types) == ("", "Phoenix", {"Phoenix": 2})
    said = causes.cause_of(ring.owner, held, lambda _: True, "")
    assert "Phoenix.__del__" in said.says


# ---------------------------------------------------------------- owners


ERRORS, DATA, RECORDS, FRAMES = [], [], [], []
PAST = types.SimpleNamespace(error=None)


def fail(size):
    beside = bytearray(size)
    raise ValueError("no signal", beside if size < 0 else None)


def keep_error(put, *arguments):
    try:
        fail(*arguments)
    except ValueError as error:
        put(error)


def keep_data():
    try:
        raise ValueError(bytearray(50_000))
    except ValueError as error:
        DATA.append(error.with_traceback(None))


def keep_the_last():
    keep_error(lambda error: setattr(PAST, "error", error), 1_000)


class Chart:
    shared = None

    @functools.cache  # noqa: B019
    def area(self, scale=1):
        return object()

    @property
    @functools.cache  # noqa: B019
    def size(self):
        return object()

    @classmethod
    @functools.cache
    def made(cls, thing):
        return object()


@functools.cache
def area_of(chart):
    return object()


class Connection:
    def __init__(self):
        self.buffer = bytearray(500)
        weakref.finalize(self, self.buffer.clear)


class Immortal(Connection):
    def __init__(self):
        super().__init__()
        self.itself = self
        weakref.finalize(self, self.close)

    def close(self):
        self.buffer.clear()


ONE, OPEN = Chart(), []


def gains(act):
    """What grows while `act` is called, with its cause, by its owner's name."""
    objects, marks = RetainedObjects(), []
    for _ in range(3):
        for _ in range(4):
            act()
        gc.collect()
        marks.append(objects.mark())
    one, two, three = marks
    grown = {
        key: gain(two.get(key, Held()), last) for key, last in three.items() if key in two or one
    }
    grown = {key: each for key, each in grown.items() if each.size_bytes > 0}
    holders = objects.holders(grown)
    objects.forget()
    owners = Owners(None, (holders,)).of(grown, holders)
    return {
        owner.name: causes.cause_of(owner, grown[key], objects.is_new, "")
        for key, owner in owners.items()
    }


@pytest.fixture(scope="module")
def known():
    """All at once, since a walk over all that this process has takes seconds."""

    def act():
        keep_error(ERRORS.append, 1_000)
        keep_data()
        keep_the_last()
        keep_error(lambda _: RECORDS.append({"exc_info": sys.exc_info()[1:]}), 1_000)
        FRAMES.append(sys._getframe())
        Chart().area()
        _ = Chart().size
        ONE.area(object())
        Chart.made(object())
        area_of(Chart())
        OPEN.append(Connection())
        DATA.append(np.array([Walker(None)], dtype=object))

    yield gains(act)
    for each in (ERRORS, DATA, RECORDS, FRAMES, OPEN):
        each.clear()


def test_an_exception_that_keeps_its_frames(known):
    said = known[f"{__name__}.ERRORS"]
    assert said.kind == "exception"
    assert "ValueError" in said.says
    assert "with_traceback(None)" in said.remedy


def test_what_records_keep_of_an_exception_and_frames_themselves(known):
    assert "RECORDS keeps " in known[f"{__name__}.RECORDS"].says
    assert known[f"{__name__}.RECORDS"].kind == "exception"
    assert "FRAMES keeps frames" in known[f"{__name__}.FRAMES"].says


def test_an_exception_without_frames_or_one_that_is_replaced_is_no_cause(known):
    assert known[f"{__name__}.DATA"] is None, "what leaks is data, an array of objects among it"
    assert not any("error" in name for name in known), known.keys()


@pytest.mark.parametrize("method", ["area", "size"])
def test_a_cache_on_a_method_keeps_all_it_was_called_on(known, method):
    said = known[f"{__name__}.Chart.{method} (lru_cache)"]
    assert said.kind == "method cache"
    assert f"the method Chart.{method} keeps every Chart" in said.says


def test_other_caches_are_not_a_methods(known):
    assert known[f"{__name__}.area_of (lru_cache)"] is None, "a function's"
    assert known[f"{__name__}.Chart.made (lru_cache)"] is None, "a class method's"


def test_a_method_that_one_object_is_asked_for_ever_more_keeps_no_objects():
    Chart.area.cache_clear()
    said = gains(lambda: ONE.area(object()))
    assert said[f"{__name__}.Chart.area (lru_cache)"] is None


def test_a_finalizer_of_what_others_keep_is_no_cause(known):
    assert known["finalize._registry"] is None
    assert known[f"{__name__}.OPEN"] is None


def test_a_finalizer_that_leads_to_its_own_object():
    said = gains(Immortal)["finalize._registry"]
    weakref.finalize._registry.clear()
    assert said.kind == "finalizer"
    assert "each Immortal" in said.says
    assert "(Immortal.close)" in said.says


def test_pymdps_histories_are_so_in_a_class_of_the_users_too_and_nobody_elses():
    from memprof.upstream.numpy_agent import Agent

    class Forager(Agent):
        def __init__(self):
            pass

    def cause(thing, name):
        return causes.cause_of(Owner(name, (), thing), Held(), lambda _: True, "")

    assert cause(Forager(), "Forager.prev_actions").kind == "history"
    assert cause(Grid(array=False), "Grid.prev_actions") is None
    assert cause(Forager(), "Forager.seen") is None
    assert cause(None, "memprof").kind == "memprof"


# ---------------------------------------------------------------- interned names


@pytest.mark.parametrize(
    ("version", "names", "things", "size", "known"),
    [
        ((3, 12, 1), 80, 80, 50, True),
        ((3, 12, 0), 80, 70, 50, True),
        ((3, 12, 6), 80, 90, 120, True),
        ((3, 12, 7), 80, 80, 50, False),
        ((3, 11, 9), 80, 80, 50, False),
        ((3, 13, 0), 80, 80, 50, False),
        ((3, 12, 1), 0, 80, 50, False),
        ((3, 12, 1), 80, 2, 50, False),
        ((3, 12, 1), 80, 800, 50, False),
        ((3, 12, 1), 80, 80, 5_000, False),
    ],
)
def test_names_stay_in_some_versions_and_are_as_many_as_were_interned(
    version, names, things, size, known
):
    said = causes.interned_names(version, names, Held(things * size, things))
    assert (said is not None) == known
    if said:
        assert f"Python 3.12.{version[2]} never frees" in said.says


@pytest.mark.skipif(not (3, 12) <= sys.version_info[:3] < (3, 12, 7), reason="freed elsewhere")
def test_python_counts_them_here():
    before = sys.getunicodeinternedsize()
    for number in range(100):
        sys.intern(f"planted_name_{number}")
    gc.collect()
    assert sys.getunicodeinternedsize() - before == 100
