"""decode(encode(x)) is x, to the bit, for whatever an agent may hold."""

import json
import math
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

from memprof.storage.flatten import Flattener, NotStorable
from memprof.storage.layout import LARGE_BYTES, from_json
from memprof.storage.unflatten import Reader

DTYPES = st.one_of(
    nps.boolean_dtypes(),
    nps.integer_dtypes(endianness="?"),
    nps.floating_dtypes(endianness="?"),
    nps.complex_number_dtypes(endianness="?"),
    nps.byte_string_dtypes(),
    nps.unicode_string_dtypes(),
    nps.datetime64_dtypes(),
)
SHAPES = nps.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5)
PLAIN_ARRAYS = DTYPES.flatmap(lambda dtype: nps.arrays(dtype, SHAPES))


@st.composite
def arrays(draw):
    """Any memory order, and views with gaps, reversed axes and repeated entries."""
    array = draw(PLAIN_ARRAYS)
    if array.ndim:
        array = array.transpose(draw(st.permutations(range(array.ndim))))
        steps = st.sampled_from([slice(None), slice(None, None, 2), slice(None, None, -1)])
        array = array[tuple(draw(steps) for _ in range(array.ndim))]
    if draw(st.booleans()):
        array = np.broadcast_to(array, (2, *array.shape))
    return array


ATOMS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.complex_numbers(),
    st.text(),
    st.binary(),
    st.builds(np.float32, st.floats(width=32)),
    st.builds(np.int16, st.integers(-(2**15), 2**15 - 1)),
    st.builds(np.longlong, st.integers(-(2**15), 2**15 - 1)),
    st.builds(np.str_, st.text()),
    st.builds(np.bytes_, st.binary()),
)


def object_arrays(elements):
    def make(values):
        out = np.empty(len(values), dtype=object)
        for position, value in enumerate(values):
            out[position] = value
        return out

    return st.lists(elements, max_size=4).map(make)


VALUES = st.recursive(
    st.one_of(ATOMS, arrays()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(st.text(max_size=3), inner, max_size=4),
        st.dictionaries(st.integers() | st.booleans(), inner, max_size=3),
        object_arrays(inner),
    ),
    max_leaves=12,
)


def identical(left, right):
    """Same types, same bits, same shapes, same strides."""
    assert type(left) is type(right)
    if left is right:
        return
    if isinstance(left, np.ndarray):
        assert (left.dtype, left.shape) == (right.dtype, right.shape)
        if left.dtype == object:
            for one, two in zip(left.ravel().tolist(), right.ravel().tolist(), strict=True):
                identical(one, two)
            return
        assert left.tobytes() == right.tobytes()
        assert left.dtype.char == right.dtype.char
        assert left.strides == right.strides or not left.size
    elif isinstance(left, list | tuple):
        assert len(left) == len(right)
        for one, two in zip(left, right, strict=True):
            identical(one, two)
    elif isinstance(left, dict):
        identical(list(left), list(right))
        identical(list(left.values()), list(right.values()))
    elif isinstance(left, float):
        assert struct.pack("d", left) == struct.pack("d", right)
    elif isinstance(left, complex):
        assert struct.pack("dd", left.real, left.imag) == struct.pack("dd", right.real, right.imag)
    elif isinstance(left, np.generic):
        assert left.tobytes() == right.tobytes()
    else:
        assert left == right


def coded(value, reference=None):
    flattener = Flattener(thorough=True)
    layout = flattener.flatten(value, reference)
    through_json = from_json(json.loads(json.dumps(layout)))
    assert through_json == layout
    reader = Reader(flattener.data())
    result = reader.unflatten(through_json, reference)
    assert reader.place == len(reader.data), "all data is read"
    return result


@given(VALUES)
def test_every_value_comes_back(value):
    identical(value, coded(value))


@given(VALUES, VALUES)
def test_a_reference_changes_the_size_and_never_the_value(value, reference):
    identical(value, coded(value, reference))
    identical(value, coded(value, value))


@given(arrays(), st.data())
def test_an_array_with_few_changes_comes_back_from_its_reference(reference, data):
    array = reference.copy(order="K")
    if array.size:
        flat = array.reshape(-1) if array.flags.c_contiguous else array.T.reshape(-1)
        other = data.draw(nps.arrays(array.dtype, ()))
        flat[data.draw(st.integers(0, array.size - 1))] = other[()]
    identical(array, coded(array, reference))


SPECIAL = [0.0, -0.0, math.nan, -math.nan, math.inf, 5e-324, -5e-324, 2.0**-1074, 1.0]
SIGNALLING = np.array([0x7FF0000000000001, 0xFFF8000000000123], np.uint64).view(np.float64)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("shape", [(40, 41), (97, 3, 61)])
def test_large_arrays_with_special_numbers_come_back_by_every_way(shape, order):
    random = np.random.default_rng(0)
    reference = np.asarray(random.random(shape), order=order)
    few = reference.copy(order="K")
    few.flat[7] = -0.0 if order == "F" else math.nan
    zero = np.zeros(shape, order=order)
    zero[tuple(2 for _ in shape)] = SIGNALLING[1]
    regular = np.asarray(np.resize([*SPECIAL, *SIGNALLING], shape), order=order)
    for array in (few, zero, regular, np.asarray(random.random(shape), order=order)):
        identical(array, coded(array, reference))
        identical(array, coded(array))


def test_what_equals_its_reference_takes_no_data_and_what_differs_little_takes_little():
    reference = np.random.default_rng(0).random((100, 100))
    changed = reference.copy()
    changed[5, 5] = 0
    for array, most in ((reference.copy(), 0), (changed, 20)):
        flattener = Flattener(thorough=True)
        flattener.flatten(array, reference)
        assert len(flattener.data()) <= most


def test_only_large_arrays_that_nothing_makes_smaller_stay_outside():
    random = np.random.default_rng(0)
    noise = random.random(LARGE_BYTES // 8)
    flattener = Flattener(keeps_outside=True)
    layouts = [
        flattener.flatten(array)
        for array in (noise, np.resize([1.5, 2.5], noise.shape), np.zeros(noise.shape), noise[:9])
    ]
    assert [layout[0] for layout in layouts] == ["e", "p", "z", "a"]
    assert flattener.outside == [noise]
    assert flattener.outside[0] is noise


def test_containers_that_are_one_stay_one():
    inner = [1.0]
    value = {"a": inner, "b": [inner, inner], "c": np.arange(3.0)}
    value["d"] = value["c"]
    found = coded(value)
    assert found["a"] is found["b"][0] is found["b"][1]
    assert found["c"] is found["d"]


def test_a_growing_list_keeps_its_layout():
    def layout(count):
        return Flattener().flatten([np.array([float(n)]) for n in range(count)])

    assert layout(3) == layout(300)


@pytest.mark.parametrize(
    "value",
    [object(), {1, 2}, print, np.zeros(2, [("a", "f8")]), np.ma.zeros(2), [1, lambda: 0]],
    ids=lambda value: type(value).__name__,
)
def test_what_has_no_exact_encoding_is_refused(value):
    with pytest.raises(NotStorable):
        Flattener().flatten(value)


def test_data_is_never_executed(tmp_path):
    """A record with the bytes of a pickle in it is those bytes."""
    bomb = b"cos\nsystem\n(S'touch " + str(tmp_path / "hit").encode() + b"'\ntR."
    assert coded({"x": bomb}) == {"x": bomb}
    assert not (tmp_path / "hit").exists()
