"""What grows steadily, told from what is replaced, filled once or turned over; and its owners."""

import functools
import sys
import tracemalloc
import types
import weakref
from collections import Counter, deque

import numpy as np
import pytest

from memprof.instruments.source_lines import PACKAGE, UserLines
from memprof.leak import sites
from memprof.leak.growths import held_growth
from memprof.leak.held import Held, gain, total
from memprof.leak.owners import Owners
from memprof.leak.retained import RetainedObjects
from memprof.stats.growth import is_steady
from memprof.storage.records import MemoryRecords

LINE, OTHER = ("a.py", 1), ("b.py", 2)


def held(size, things, gained=None, own=0.0):
    return Held(size, things, own, {LINE: size}, {"x": things}, gained)


def test_what_a_container_gains_is_what_it_holds_more():
    found = gain(held(200, 2, 2, 16.0), held(400, 4, 4, 32.0))
    assert found == Held(200.0, 2.0, 16.0, {LINE: 200.0}, {"x": 2.0})
    assert found.size_bytes == 216


def test_entries_of_a_full_cache_only_replace_others():
    found = gain(held(200, 2, 0), held(400, 4, 0))
    assert (found.size_bytes, found.things) == (0, 0)


def test_a_queue_gains_what_comes_less_what_goes():
    found = gain(held(300, 3, gained=2), held(600, 6, gained=4))
    assert found.size_bytes == pytest.approx(200)


def test_an_attribute_that_is_replaced_by_something_longer_grows():
    assert gain(held(100, 1), held(150, 1)).size_bytes == 50


@pytest.mark.parametrize(
    ("first", "second", "steady"),
    [
        (10, 10, True),
        (10, 6, True),
        (10, 4, False),
        (4, 10, False),
        (0, 10, False),
        (-5, -5, False),
    ],
)
def test_steady_is_as_much_in_both_halves(first, second, steady):
    assert is_steady(first, second) == steady


def test_gains_add_up_and_lines_that_lose_are_not_lost():
    one, two = Held(5.0, 1.0, 0.0, {LINE: 5.0}), Held(-2.0, 0.0, 0.0, {LINE: -3.0, OTHER: 1.0})
    assert total([one, two]) == Held(3.0, 1.0, 0.0, {LINE: 2.0, OTHER: 1.0})
    assert total([]) == Held()


class Thing:
    instances: list = []  # noqa: RUF012  # the leak

    def __init__(self):
        self.history = ()
        self.events = deque()


class Slotted:
    __slots__ = ("empty", "kept")

    def __init__(self):
        self.kept = set()


@functools.lru_cache(maxsize=4)
def bounded(key):
    return [key]


@functools.cache
def unbounded(key):
    return [key]


def closure():
    seen = []

    def note(thing):
        seen.append(thing)

    return note


def generator():
    collected = []
    while True:
        collected.append([(yield)])


def grown(act, times=3):
    """Owners that gain steadily when `act` is called, with what they gain each time."""
    objects = RetainedObjects()
    marks = []
    for _ in range(3):
        for _ in range(times):
            act()
        marks.append(objects.mark())
    empty = Held()
    one, two, three = marks
    gains = {
        key: (gain(one.get(key, empty), two.get(key, empty)), gain(two.get(key, empty), last))
        for key, last in three.items()
    }
    gains = {k: g for k, g in gains.items() if is_steady(g[0].size_bytes, g[1].size_bytes)}
    holders = objects.holders(gains)
    objects.forget()
    owners = Owners(None, (holders,)).of(gains, holders)
    return {
        owner.name: (owner, Held().plus(gains[key][1], 1 / times)) for key, owner in owners.items()
    }


MODULE = types.ModuleType("planted_module")


@pytest.fixture(scope="module")
def module():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "planted_module", MODULE)
        MODULE.__dict__.update(
            KEPT=[],
            VIEWS=[],
            BUFFER=bytearray(),
            THING=Thing(),
            SLOTTED=Slotted(),
            RECORDS=[MemoryRecords()],
            HOLDER=types.SimpleNamespace(records=MemoryRecords()),
            note=closure(),
            ARRAY=np.array([[], None], object),
        )
        MODULE.running = generator()
        next(MODULE.running)
        yield MODULE


def extend_history(thing):
    thing.history = (*thing.history, object())


def open_one():
    thing = Thing()
    weakref.finalize(thing, extend_history, thing)


LEAKS = (
    (lambda m: m.KEPT.append(object()), "planted_module.KEPT", "module planted_module", 1),
    (lambda m: extend_history(m.THING), "Thing.history", "Thing", 1),
    (lambda m: m.THING.events.append([]), "Thing.events", "Thing", 1),
    (lambda m: m.HOLDER.records.append([]), "SimpleNamespace.records", "SimpleNamespace", 1),
    (lambda m: m.RECORDS[0].append([]), "planted_module.RECORDS", "module planted_module", 1),
    (lambda m: m.SLOTTED.kept.add(object()), "Slotted.kept", "Slotted", 1),
    (lambda m: m.note([]), f"{__name__}.closure.<locals>.note: seen", "function", 1),
    (lambda m: m.running.send(1), "generator: collected", "generator generator", 1),
    (lambda m: m.ARRAY[0].append([]), "planted_module.ARRAY", "module planted_module", 1),
    (lambda m: Thing.instances.append(Thing()), "Thing.instances", "class Thing", 2),
    (lambda m: unbounded(object()), f"{__name__}.unbounded (lru_cache)", "function", 3),
    (lambda m: m.VIEWS.append(np.zeros((100, 10))[0]), "planted_module.VIEWS", "module", 2),
    (lambda m: m.BUFFER.extend(b"x" * 1000), "planted_module.BUFFER", "module", 0),
)


@pytest.fixture(scope="module")
def found(module):
    """All leaks at once: a walk over what this process has imported takes a second or two."""

    def act():
        open_one()
        for leak, *_ in LEAKS:
            leak(module)

    yield grown(act)
    weakref.finalize._registry.clear()


@pytest.mark.parametrize(("name", "kept_by", "things"), [leak[1:] for leak in LEAKS])
def test_the_owner_of_what_grows_is_named(found, name, kept_by, things):
    assert name in found, found.keys()
    owner, each = found[name]
    assert owner.kept_by[0].startswith(kept_by)
    assert each.things == pytest.approx(things, abs=0.4)


def test_a_finalizer_that_keeps_its_own_object(found):
    owner, _ = found["finalize._registry"]
    assert owner.kept_by == ("class finalize", "module weakref")


def test_memprofs_own_is_one_site_and_one_link_and_what_watches_is_none():
    records, lines, thing = MemoryRecords(), UserLines({}), Thing()
    records.append(thing)
    objects, marks = RetainedObjects(), []
    for mark in range(3):
        thing.events.append([])
        records.append([mark])
        lines._callers["somewhere", mark] = Counter([mark])
        marks.append(objects.mark())
    found = [*sites._memprofs_as_one(held_growth(marks, objects, None, 3))]
    by_name = {each.owner.name: each.owner for each in found}
    own = [name for name in by_name if "memprof" in name]
    assert own == ["memprof"], "the records, which agents are kept in"
    assert by_name["Thing.events"].kept_by == ("Thing", "memprof")


def test_what_a_view_pins_counts_in_full(found):
    _, each = found["planted_module.VIEWS"]
    assert each.size_bytes == pytest.approx(8000, rel=0.05)


def test_a_buffer_that_grows_in_place(found):
    _, each = found["planted_module.BUFFER"]
    assert each.size_bytes == pytest.approx(1000)
    assert each.things == 0


def test_a_full_cache_and_replaced_values_are_no_growth(module):
    for _ in range(8):
        bounded(object())

    def turn():
        bounded(object())
        module.KEPT[:] = [[], []]
        module.THING.history = ([], [])

    module.KEPT[:] = [[], []]
    found = grown(turn)
    assert not {name for name in found if "bounded" in name or "KEPT" in name or "Thing" in name}


class Memo:
    """Its attributes are values beside it, which its own size does not count."""

    def __init__(self):
        self.a = self.b = self.c = None


def kept_by(kept, act):
    """What the list `kept` holds of what `act` made."""
    objects = RetainedObjects()
    tracemalloc.start(1)  # what is old by now has no line
    act()
    held = objects.mark()[id(kept), None]
    objects.forget()
    tracemalloc.stop()
    return held


def test_an_instance_is_found_with_its_type_and_the_line_that_made_it():
    kept = []

    def act():
        kept.append(Memo())

    held = kept_by(kept, act)
    assert list(held.types) == [f"{__name__}.Memo"]
    assert [path for path, _ in held.lines] == [__file__]


def test_a_kept_exception_does_not_hold_what_watches_it():
    """Its traceback leads to the frames of all callers, memprof's own among them."""
    kept = []

    def act():
        own = {"raise_": raise_}
        code = "def watch():\n    found = bytearray(10**6)\n    raise_()"
        exec(compile(code, f"{PACKAGE}worker/fake.py", "exec"), own)
        own["watch"]()

    def raise_():
        try:
            raise ValueError
        except ValueError as error:
            kept.append(error)

    held = kept_by(kept, act)
    assert list(held.types) == ["ValueError"]
    assert held.size_bytes < 20_000
