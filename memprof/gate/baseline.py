"""What a new baseline can judge: whether later runs can be told from it within the tolerances."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from memprof.gate.judge import FIGURES
from memprof.gate.words import amount
from memprof.stats.lines import Estimate
from memprof.stats.repeats import least_change, repeats_to_tell
from memprof.values.gate import METRICS, MetricName, Tolerance
from memprof.values.profile import Report
from memprof.values.report import Caution

TOO_WIDE = "wide_baseline"
"""The caution about a baseline that cannot judge its own tolerances."""


@dataclass(frozen=True, slots=True)
class _Wide:
    """A metric whose tolerance is less than the `least` change that can be told; None where nothing
    shows how much workers differ. With `repeats` workers it would do; None where none do."""

    name: MetricName
    was: float
    least: float | None
    allowed: float
    repeats: int | None

    def __str__(self) -> str:
        if self.least is None:
            return f"{self.name} unknown from one worker (tolerance {self._size(self.allowed)})"
        told = f"{self.name} {self._size(self.least)}"
        return f"{told} (tolerance {self._size(self.allowed)})"

    def _size(self, change: float) -> str:
        unit = METRICS[self.name].unit
        return f"{change / self.was:.1%}" if unit == "ratio" and self.was else amount(unit, change)


def cautions(
    report: Report, tolerances: Mapping[str, Tolerance], max_repeats: int
) -> tuple[Caution, ...]:
    """That this run, as a baseline, cannot judge some metrics, though a later run takes up to
    `max_repeats` workers; none if it can."""
    wide = list(_wide(report, tolerances, max_repeats))
    if not wide:
        return ()
    evidence = f"the least change that it can tell: {', '.join(map(str, wide))}"
    repeats = [each.repeats for each in wide if each.repeats is not None]
    remedy = f"run this command again with --force --repeats {max(repeats, default=0)}"
    if len(repeats) < len(wide):
        remedy = "allow more (--tolerance), measure more agents, or use a quieter machine"
    elif max(repeats) > max_repeats:
        remedy += f", and later gates with --max-repeats {max(repeats)}"
    return (Caution(TOO_WIDE, evidence, remedy),)


def _wide(report: Report, tolerances: Mapping[str, Tolerance], max_repeats: int) -> Iterator[_Wide]:
    for name, measure in FIGURES.items():
        found: Estimate | None = measure(report.variants.final)
        if found is None:
            continue
        allowed = tolerances[name].allowed(found.value)
        least = least_change(found, max_repeats)
        if least is None or least > allowed:
            repeats = repeats_to_tell(found, max_repeats, allowed)
            yield _Wide(name, found.value, least, allowed, repeats)
