"""Equality of arrays: exact, whatever way it takes."""

import gc
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from memprof.optimise.plan import Plan
from memprof.populations.environment import Environments
from memprof.storage import constants
from memprof.storage.constants import (
    compared_once,
    constant,
    difference,
    is_constant,
    same_bits,
    segments_of,
)
from memprof.storage.segments import Segments, words_of

SIZE = 40_000  # numbers: large enough for segments, and the last piece is a partial one
QUIET_NAN = np.array([0x7FF8000000000001], np.uint64).view(np.float64)[0]


def sparse(dtype=np.float64, nonzero=300, size=SIZE, seed=0):
    """Mostly zeros, with runs of neighbours, and something in the very first and last place."""
    random = np.random.default_rng(seed)
    array = np.zeros(size, dtype)
    places = random.choice(size - 2, nonzero, replace=False)
    array[places] = random.integers(1, 100, nonzero)
    array[places[:50] + 1] = 7
    array[[0, -1]] = 1
    return array


def dense(seed=0):
    return np.random.default_rng(seed).random(SIZE)


def bits(array):
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


def flipped(array, byte, bit=0):
    changed = array.copy(order="K")
    words_of(changed).view(np.uint8)[byte] ^= 1 << bit
    return changed


def places(array):
    """Bytes in nonzero words, in runs of zeros, next to both, and at both ends."""
    nonzero = np.flatnonzero(words_of(array))
    middle = [*nonzero[[1, len(nonzero) // 2, -2]], *(nonzero[[1, len(nonzero) // 2]] + 1)]
    runs = nonzero[np.argmax(np.diff(nonzero))] + 5
    words = [0, 1, *middle, runs, len(words_of(array)) - 2, len(words_of(array)) - 1]
    return [int(word) * 8 + byte for word in words for byte in (0, 3, 7)]


@pytest.mark.parametrize("make", [sparse, dense])
def test_one_bit_anywhere_makes_another_array(make):
    kept = constant(make())
    assert (segments_of(kept) is not None) == (make is sparse)
    assert constant(make()) is kept
    for byte in places(make()):
        for bit in (0, 7):
            other = flipped(make(), byte, bit)
            assert constant(other) is not kept
            assert not same_bits(other, kept)
            changed = difference(other, kept)
            assert changed.positions.tolist() == [byte // 8]
            assert changed.values.tobytes() == other[byte // 8 : byte // 8 + 1].tobytes()
    assert constant(make()) is kept


@pytest.mark.parametrize("make", [sparse, dense])
@pytest.mark.parametrize(
    ("left", "right"),
    [(0.0, -0.0), (np.nan, QUIET_NAN), (np.nan, -np.nan), (np.inf, -np.inf), (5e-324, 0.0)],
)
@pytest.mark.parametrize("place", [0, 1, SIZE // 2, SIZE - 2, SIZE - 1])
def test_numbers_that_compare_or_print_alike_are_told_apart(make, left, right, place):
    one, two = make(), make()
    one[place], two[place] = left, right
    kept = constant(one)
    assert constant(two) is not kept
    assert constant(one.copy()) is kept, "NaN of the same bits too"
    assert difference(two, kept).positions.tolist() == [place]
    assert not len(difference(one.copy(), kept).positions)


def test_arrays_of_zeros_only_and_of_all_but_zeros():
    kept = constant(np.zeros(SIZE))
    assert segments_of(kept) is not None
    assert constant(np.zeros(SIZE)) is kept
    for place in (0, SIZE // 2, SIZE - 1):
        other = np.zeros(SIZE)
        other[place] = -0.0
        assert constant(other) is not kept
        assert difference(other, kept).positions.tolist() == [place]
    assert segments_of(constant(np.ones(SIZE))) is None
    assert constant(np.ones(SIZE)) is constant(np.ones(SIZE))


@pytest.mark.parametrize(
    "dtype", [np.bool_, np.int8, np.uint16, np.float32, np.int64, np.complex128, "M8[s]"]
)
def test_types_of_every_width(dtype):
    array = sparse(np.float64, nonzero=100, size=SIZE * 2).astype(np.int64).astype(dtype)
    kept = constant(array)
    assert constant(array.copy()) is kept
    for byte in (0, array.nbytes // 2, array.nbytes - 1):
        assert constant(flipped(array, byte)) is not kept
    same_bytes = array.view(f"V{array.dtype.itemsize}")
    assert constant(same_bytes) is not kept


def laid_out(array):
    """The same numbers in every layout that NumPy has."""
    cube = array.reshape(20, 50, 40)
    wide = np.zeros((20, 50, 80))
    wide[..., ::2] = cube
    return {
        "C": cube,
        "F": np.asfortranarray(cube),
        "permuted": np.ascontiguousarray(cube.transpose(1, 2, 0)).transpose(2, 0, 1),
        "gaps": wide[..., ::2],
        "backwards": cube[::-1].copy()[::-1],
        "flat": array,
    }


@pytest.mark.parametrize("make", [sparse, dense])
def test_every_layout_is_compared_with_its_own_kind(make):
    forms, again = laid_out(make()), laid_out(make())
    kept = {name: constant(form) for name, form in forms.items()}
    for name, form in again.items():
        assert constant(form) is kept[name], name
        assert np.array_equal(kept[name], form)
        other = form.copy(order="K")
        other[(-1,) * form.ndim] += 1
        assert constant(other) is not kept[name], name
    assert len({id(kept[name]) for name in ("C", "F", "permuted", "flat")}) == 4
    for name, form in forms.items():
        assert kept[name].strides == form.strides, f"{name}: NumPy takes routines by strides"
        assert is_constant(kept[name])


@given(data=st.data())
def test_equality_is_that_of_the_bits(data):
    """Against NumPy's on the bits; and the difference restores the array."""
    draw = data.draw
    dtype = draw(st.sampled_from([np.uint8, np.float32, np.float64, np.int16]))
    size = draw(st.integers(2**16 // np.dtype(dtype).itemsize, 2**18))
    reference = sparse(dtype, draw(st.integers(0, size // 50)), size, draw(st.integers(0, 9)))
    if draw(st.booleans()):
        reference = reference[: size // 4 * 4].reshape(4, -1).T  # Fortran order
    array = reference.copy(order="K")
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, array.nbytes - 1))
        end = start + draw(st.sampled_from([1, 8, 1000]))
        words_of(array).view(np.uint8)[start:end] = draw(st.integers(0, 255))
    kept = constant(reference)
    equal = np.array_equal(bits(array), bits(reference))
    assert (constant(array) is kept) == equal
    assert same_bits(array, kept) == equal
    changed = difference(array, kept)
    if changed is not None:
        assert (len(changed.positions) == 0) == equal
        restored = reference.copy(order="K")
        changed.apply(restored)
        assert np.array_equal(bits(restored), bits(array))


@given(
    nonzero=st.lists(st.integers(0, 999), max_size=12),
    changed=st.dictionaries(st.integers(0, 999), st.sampled_from([0, 1, 5, 2**64 - 1])),
)
def test_segments_find_every_change(nonzero, changed):
    words = np.zeros(1000, np.uint64)
    words[nonzero] = 5
    segments = Segments.of(words)
    other = words.copy()
    for place, value in changed.items():
        other[place] = value
    assert segments.equal(other) == np.array_equal(words, other)
    assert segments.changes(other).tolist() == np.flatnonzero(words != other).tolist()


def test_many_arrays_of_one_key_are_told_apart_without_comparing_all(monkeypatch):
    """A number in a place of their own, where no sample looks."""
    compared = []
    original = constants._is_content
    monkeypatch.setattr(
        constants, "_is_content", lambda *pair: compared.append(pair) or original(*pair)
    )
    for size in (3000, 20_000):  # small, and large enough for segments

        def make(place, size=size):
            array = np.zeros(size)
            array[5 * place + 1] = 2.5
            return array

        kept = [constant(make(place)) for place in range(40)]
        assert len({id(array) for array in kept}) == 40
        compared.clear()
        assert all(constant(make(place)) is kept[place] for place in range(40))
        assert len(compared) <= 40 * (constants._MOST_ALIKE + 1)
        for place in range(1, 40):
            kept[place] = None
        gc.collect()
        assert constant(make(0)) is kept[0]
        later = constant(make(39))
        assert constant(make(39)) is later


def test_what_is_known_of_a_constant_goes_with_it():
    kept = constant(sparse(seed=77))
    before = len(constants.all_segments())
    assert segments_of(kept) is not None
    assert len(constants.all_segments()) == before + 1
    small = sum(each.nbytes for each in (segments_of(kept).starts, segments_of(kept).values))
    assert small < kept.nbytes / 20
    view = kept.view()
    assert segments_of(view) is segments_of(kept)
    del kept, view
    gc.collect()
    assert len(constants.all_segments()) == before


def test_inside_the_block_an_array_is_read_once(monkeypatch):
    kept = constant(sparse(seed=5))
    reads = []
    original = Segments.equal
    monkeypatch.setattr(
        Segments, "equal", lambda self, words: reads.append(1) or original(self, words)
    )
    array = sparse(seed=5)
    with compared_once():
        assert constant(array) is kept
        assert constant(array) is kept
        assert not len(difference(array, kept).positions)
        assert same_bits(array, kept.view())
    assert len(reads) == 1
    array[3] += 1
    assert constant(array) is not kept


def test_environments_of_equal_models_are_one_and_of_others_apart():
    """By every pass that has a say in it, and bit by bit."""

    def arguments(entry):
        A, B = np.zeros((100, 100)), np.zeros((100, 100, 5))
        A[:, 0] = B[:, 0] = 0.01
        B[99, 99, 4] = entry
        return {"A": [A], "B": [B]}

    for passes in ((), ("share",), ("template",), ("share", "template"), ("sparse",)):
        plan = Plan.of(passes)
        worlds = Environments(plan.world_array)
        for entry in (1.0, 1.0, 0.0, -0.0, 1.0):
            model = arguments(entry)
            with compared_once():
                plan.build(SimpleNamespace(**model), 0)
                worlds.add(None, model)
        kept = worlds._worlds
        assert kept[0] is kept[1] is kept[4], passes
        assert len({id(world) for world in kept}) == 3, passes
