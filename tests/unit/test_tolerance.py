"""What people write for tolerances."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memprof.values.gate import DEFAULTS, Tolerance, parse_tolerance, parse_tolerances

PERCENTS = st.integers(1, 300)
SIZES = st.integers(1, 10**9)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("5%", Tolerance(0.05)),
        ("0%", Tolerance()),
        (" 2.5 % ", Tolerance(0.025)),
        ("2MB", Tolerance(0.0, 2e6)),
        ("4096", Tolerance(0.0, 4096)),
        ("5% or 2 MiB", Tolerance(0.05, 2 * 2**20)),
        ("2 MiB or 5%", Tolerance(0.05, 2 * 2**20)),
    ],
)
def test_a_share_a_size_or_both(text, expected):
    assert parse_tolerance("peak_bytes", text) == expected


@given(PERCENTS, SIZES)
def test_it_is_read_as_it_is_written(percent, size):
    tolerance = Tolerance(percent / 100, size)
    assert parse_tolerance("fixed_bytes", f"{percent}% or {size}") == tolerance
    assert tolerance.allowed(1e12) == max(percent / 100 * 1e12, size)
    assert tolerance.allowed(0) == size


@given(st.text(max_size=20).filter(lambda text: not any(map(str.isdigit, text))))
def test_anything_else_is_refused_in_words(text):
    with pytest.raises(ValueError, match="expected"):
        parse_tolerance("marginal_bytes", text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("marginal_bytes", "expected METRIC=TOLERANCE"),
        ("marginal=5%", "did you mean 'marginal_bytes'"),
        ("equivalence=5%", "has no tolerance"),
        ("peak_bytes=lots", "5%, 2MB or 5% or 2MB"),
        ("peak_bytes=5% or 6%", "one percentage"),
        ("step_ratio=2MB", "a percentage such as 25%"),
        ("peak_bytes=5%,peak_bytes=2MB", "duplicate metric peak_bytes"),
        ("peak_bytes=-5%", "expected"),
        ("peak_bytes=0.05", "such as 5%"),
    ],
)
def test_what_is_wrong_is_said(text, said):
    with pytest.raises(ValueError) as error:
        parse_tolerances(text)
    assert said in str(error.value)


def test_several_are_read_by_name():
    found = parse_tolerances("marginal_bytes=5%,peak_bytes=2MB")
    assert found == {"marginal_bytes": Tolerance(0.05), "peak_bytes": Tolerance(0.0, 2e6)}


@pytest.mark.parametrize("tolerance", DEFAULTS.values())
def test_they_are_shown_as_they_are_written(tolerance):
    assert "%" in str(tolerance)
    assert ("or" in str(tolerance)) == bool(tolerance.absolute)
