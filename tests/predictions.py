"""`make predict`: what populations were predicted to take, against what they took.

`python -m tests.predictions [NAME ...]` asks memprof's own workers, prints a row for each
population as it is known, and ends with 1 if one is further off than `LIMIT`. Populations that the
machine has no memory for are named and left out.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from statistics import median
from typing import NamedTuple

from memprof.launch.limits import left_bytes
from memprof.launch.spawn import run_worker
from memprof.posix import Limits
from memprof.scenario import load_scenario
from memprof.text import format_size
from memprof.values.population import PopulationSpec
from memprof.values.prediction import ForecastRun
from memprof.values.requests import Forecast, Grow
from tests.conftest import SCENARIOS

LIMIT = 0.05
REPEATS = 3  # how much memory a compilation takes depends on chance: by 5 %, one by one
SIZES = (50, 200, 2000)
SPARE = 0.8  # of the memory that is left
LARGE_BYTES = (
    2 * 10**9
)  # a population of so much takes minutes, and its compilation is no part of it

PASSES: dict[str, tuple[tuple[str, ...], ...]] = {
    "jit": ((), ("share",), ("template",)),
    "rollout": (("jit",), ("share",), ("template",)),
}


class Case(NamedTuple):
    """One population, at several sizes."""

    scenario: str
    loop: str
    passes: tuple[str, ...]

    @property
    def spec(self) -> PopulationSpec:
        fields = {"loop": self.loop, "agents": SIZES[-1]}
        return load_scenario(SCENARIOS / f"{self.scenario}.yaml", fields).spec(self.passes)


CASES = [
    Case(scenario, loop, passes)
    for scenario, loop in (
        ("t-maze-jax", "jit"),
        ("learning-10-jax", "jit"),
        ("grid-29-jax", "jit"),
        ("learning-10-jax", "rollout"),
    )
    for passes in PASSES[loop]
]


def predicted(spec: PopulationSpec) -> dict[int, float]:
    """The peak above the baseline, by size; what the process takes of itself is a median."""
    own, first = [], None
    for _ in range(REPEATS):
        request = Forecast(spec, sizes=SIZES if first is None else ())
        run: ForecastRun = run_worker(request, Limits(1800), lambda mark: None).value
        own.append(run.own_bytes)
        first = first or run
    assert first is not None
    return {each.account.agents: median(own) + each.account.peak_bytes for each in first.sizes}


def measured(spec: PopulationSpec, agents: int, repeats: int) -> float:
    """The same of a clean worker that builds them and lets them live the scenario's steps."""
    peaks = []
    for _ in range(repeats):
        run = run_worker(Grow(spec, sizes=(agents,)), Limits(1800), lambda mark: None).value
        peak = run.points[-1].peak_rss_bytes
        assert peak is not None
        peaks.append(peak - run.baseline.rss_bytes)
    return median(peaks)


def rows(case: Case) -> Iterator[bool]:
    """Print one for each size; whether it is near enough."""
    for agents, expected in predicted(case.spec).items():
        what = f"{case.scenario:<16} {case.loop:<8} {'+'.join(case.passes) or '-':<9} {agents:>6,}"
        if expected > SPARE * left_bytes():
            print(f"{what} {format_size(expected):>10}  no memory here", flush=True)
            continue
        found = measured(case.spec, agents, 1 if expected > LARGE_BYTES else REPEATS)
        off = expected / found - 1
        note = "" if abs(off) <= LIMIT else "  MISSED"
        print(
            f"{what} {format_size(expected):>10} {format_size(found):>10} {off:>+7.1%}{note}",
            flush=True,
        )
        yield not note


def main(names: list[str]) -> int:
    """Measure the cases of the named scenarios, or all."""
    print(f"{'scenario':<16} {'loop':<8} {'passes':<9} {'agents':>6}  predicted   measured    off")
    near = [ok for each in CASES if not names or each.scenario in names for ok in rows(each)]
    return 0 if all(near) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
