"""What a gate is told: its baseline, and what may change before a metric is worse."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from memprof.errors import nearest
from memprof.text import shown
from memprof.units import format_size, parse_size

DEFAULT_BASELINE = "memprof-baseline.json"
"""The file that a gate holds runs against."""
MetricName = Literal[
    "marginal_bytes",
    "fixed_bytes",
    "peak_bytes",
    "growth_bytes_per_step",
    "step_ratio",
    "equivalence",
    "budget",
]


@dataclass(frozen=True, slots=True)
class Tolerance:
    """The larger of the two counts.

    Attributes:
        relative: a share of what the baseline has.
        absolute: in the metric's own unit.
    """

    relative: float = 0.0
    absolute: float = 0.0

    def allowed(self, was: float) -> float:
        """By how much the metric may exceed what it was."""
        return max(self.relative * abs(was), self.absolute)

    def __str__(self) -> str:
        parts = [f"{self.relative * 100:g}%"] if self.relative or not self.absolute else []
        return " or ".join(parts + ([format_size(self.absolute)] if self.absolute else []))


DEFAULTS: Mapping[str, Tolerance] = {
    "marginal_bytes": Tolerance(0.05, 64),
    "fixed_bytes": Tolerance(0.05, 4 * 2**20),
    "peak_bytes": Tolerance(0.05, 4 * 2**20),
    "growth_bytes_per_step": Tolerance(0.05, 32),
    "step_ratio": Tolerance(0.25),
}
_NO_TOLERANCE = ("equivalence", "budget")
_MOST_RELATIVE = 1e4  # what is allowed a hundred times more is not watched
_PERCENT = re.compile(r"\s*(\d+(?:\.\d+)?)\s*%\s*")
_FRACTION = re.compile(r"\s*\d+\.\d+\s*")  # who writes 0.05 means 5%, and not 0 bytes


def parse_tolerance(metric: str, text: str) -> Tolerance:
    """The tolerance meant by `5%`, `2MB`, or `5% or 2MB`.

    Raises:
        ValueError: `metric` has no tolerance, or `text` is none.
    """
    if metric in _NO_TOLERANCE:
        raise ValueError(f"{metric} has no tolerance: it is the same, or it is not")
    if metric not in DEFAULTS:
        raise ValueError(
            f"{shown(metric)} is no metric with a tolerance; {nearest(metric, DEFAULTS)}"
        )
    relative: list[float] = []
    absolute: list[float] = []
    for part in str(text).split(" or "):
        percent = _PERCENT.fullmatch(part)
        if percent:
            relative.append(float(percent[1]) / 100)
            if relative[-1] > _MOST_RELATIVE:
                raise ValueError(f"expected at most {_MOST_RELATIVE:.0%}, found {shown(part)}")
        elif metric == "step_ratio":
            raise ValueError(f"expected a percentage such as 25%, found {shown(part.strip())}")
        else:
            absolute.append(_size(part))
    if len(relative) > 1 or len(absolute) > 1:
        raise ValueError(f"expected one percentage, one size, or both, found {shown(text)}")
    return Tolerance(sum(relative), sum(absolute))


def read_tolerances(texts: Mapping[str, str | int]) -> dict[str, Tolerance]:
    """The tolerances that a scenario has, by metric.

    Raises:
        ValueError: a metric or a tolerance is wrong.
    """
    return {metric: parse_tolerance(metric, str(text)) for metric, text in texts.items()}


def parse_tolerances(text: str) -> dict[str, Tolerance]:
    """The tolerances meant by `marginal_bytes=5%,peak_bytes=2MB`.

    Raises:
        ValueError: a metric or a tolerance is wrong, or a metric is there twice.
    """
    found: dict[str, Tolerance] = {}
    for part in text.split(","):
        metric, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals:
            raise ValueError(
                f"expected METRIC=TOLERANCE, such as marginal_bytes=5%, found {shown(part)}"
            )
        if metric in found:
            raise ValueError(f"{metric} is there twice; leave one out")
        found[metric] = parse_tolerance(metric, value)
    return found


def _size(text: str) -> int:
    try:
        if _FRACTION.fullmatch(text):
            raise ValueError("no count of bytes")
        return parse_size(text)
    except ValueError:
        raise ValueError(
            "expected a percentage or a size, such as 5%, 2MB or 5% or 2MB, found "
            f"{shown(text.strip())}"
        ) from None
