"""Sizes and durations as people write and read them. MB = 10^6 bytes, MiB = 2^20, everywhere."""

from __future__ import annotations

import math
import re

_FACTORS = {
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "kib": 2**10,
    "mib": 2**20,
    "gib": 2**30,
}
MOST_BYTES = 2**60
"""No size is larger than an exbibyte."""
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*")


def parse_size(text: str | int) -> int:
    """Bytes meant by `text`, such as `10 MB`, `64KiB` or a plain count of bytes.

    Raises:
        ValueError: the text is no size.
    """
    match = _SIZE.fullmatch(str(text))
    factor = _FACTORS.get((match[2] or "B").lower()) if match else None
    if match is None or factor is None:
        raise ValueError("expected a size such as 64 KB, 10 MB or 2GiB")
    size = float(match[1]) * factor
    if size > MOST_BYTES:
        raise ValueError("expected a size up to 1 EiB")
    return round(size)


def format_size(size_bytes: float | None, *, signed: bool = False) -> str:
    """`size_bytes` in the largest fitting unit with three or more digits: `31.9 MB`."""
    if size_bytes is None:
        return "-"
    sign = "-" if size_bytes < 0 else "+" if signed and size_bytes > 0 else ""
    size = abs(size_bytes)
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("KB", 1e3)):
        if size >= factor * 0.9995:
            return f"{sign}{_three_digits(size / factor)} {unit}"
    return f"{sign}{size:.0f} B"


def format_limit(size_bytes: int) -> str:
    """A limit as people set it: `2 GiB` where it is a whole number of GiB or MiB."""
    for unit, factor in (("GiB", 2**30), ("MiB", 2**20)):
        if size_bytes and size_bytes % factor == 0:
            return f"{size_bytes // factor} {unit}"
    return format_size(size_bytes)


def format_seconds(seconds: float | None) -> str:
    """`seconds` in s, ms or µs with three digits."""
    if seconds is None:
        return "-"
    for unit, factor in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= factor:
            return f"{_three_digits(seconds / factor)} {unit}"
    return f"{_three_digits(seconds / 1e-6)} µs"


def format_share(share: float) -> str:
    """Rounded down, with one digit more than nines: 99.9991 % is not 100 %."""
    if share >= 1:
        return "100%"
    nines = max(1, math.floor(-math.log10(1 - share)) - 1)
    return f"{math.floor(share * 100 * 10**nines) / 10**nines:.{nines}f}%"


def _three_digits(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
