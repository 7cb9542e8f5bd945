import pytest
from hypothesis import given
from hypothesis import strategies as st

from memprof.text import format_seconds, format_size, parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("10 MB", 10_000_000),
        ("10MB", 10_000_000),
        ("2GiB", 2 * 2**30),
        ("64 KiB", 65_536),
        ("64 kb", 64_000),
        ("1.5 MiB", 1_572_864),
        ("123", 123),
        (123, 123),
        ("5 B", 5),
    ],
)
def test_sizes_are_decimal_or_binary_as_written(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "MB", "-3 MB", "10 quux", "1e3", "ten MB", "10 M B", None])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(ValueError, match="expected a size such as"):
        parse_size(text)


@given(st.integers(0, 10**13))
def test_a_shown_size_is_within_half_a_percent_of_the_truth(size):
    assert parse_size(format_size(size)) == pytest.approx(size, rel=0.0051, abs=0.5)


def test_signs_and_gaps():
    assert format_size(-1500) == "-1.50 KB"
    assert format_size(1500, signed=True) == "+1.50 KB"
    assert format_size(None) == "-"
    assert format_size(999_900) == "1.00 MB"


@pytest.mark.parametrize(
    ("seconds", "text"), [(2.5, "2.50 s"), (0.0123, "12.3 ms"), (4.5e-5, "45.0 µs")]
)
def test_durations(seconds, text):
    assert format_seconds(seconds) == text
