"""`make figures`, the JAX half: what one template in place of PyMDP's batch has to reach.

`python -m tests.figures_jax [NAME ...]` measures by memprof's own clean workers, prints a table,
and ends with 1 if a figure is missed. What is compared in time runs in turn.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from statistics import median
from typing import NamedTuple

from memprof.launch.spawn import run_worker
from memprof.posix import Limits
from memprof.profile.judge import trend
from memprof.profile.passes import cost_of
from memprof.scenario import load_scenario
from memprof.stats.lines import memory_line
from memprof.values.instruments import InstrumentRun
from memprof.values.measurements import Measurement
from memprof.values.requests import Measure, ReadThrough
from tests.conftest import SCENARIOS

MODEL_BYTES = 4 * 841 * 841 * 6  # A and B of a 29 x 29 grid, single precision
KB, MB, GB = 10**3, 10**6, 10**9


class Row(NamedTuple):
    """One figure: what was found, in words, and whether it is reached."""

    what: str
    before: str
    after: str
    limit: str
    reached: bool


def worker(scenario: str, passes: tuple[str, ...], **fields: object) -> Measurement:
    """One clean worker of a shipped scenario."""
    spec = load_scenario(SCENARIOS / f"{scenario}.yaml", fields).spec(passes)
    found: Measurement = run_worker(Measure(spec), Limits(1800), lambda mark: None).value
    return found


def live_bytes() -> Iterator[Row]:
    """Live device bytes of 200 agents, counted by buffer; the batch by the slope over fewer."""
    totals = {}
    for passes, agents in (((), 20), (("share",), 200)):
        spec = load_scenario(SCENARIOS / "grid-29-jax.yaml", {"agents": agents, "steps": 1}).spec(
            passes
        )
        request = ReadThrough(spec, instrument="device")
        run: InstrumentRun = run_worker(request, Limits(1800), lambda mark: None).value
        totals[passes] = run.readings
    each = memory_line(totals[()]).slope
    after = totals[("share",)][-1][1]
    limit = 1.05 * MODEL_BYTES + 200 * 8 * 2**10
    before = f"200 x {each / MB:.1f} MB"
    yield Row(
        "grid-29, 200 agents: live device bytes",
        before,
        f"{after / MB:.1f} MB",
        f"{limit / MB:.1f} MB",
        after <= limit,
    )


def marginal() -> Iterator[Row]:
    """What an agent costs, by USS, up to 10,000 agents."""
    batch = cost_of([worker("grid-29-jax", (), steps=2)]).per_agent
    before = f"{batch.marginal_bytes / MB:.1f} MB"
    for passes, limit in ((("share",), 8 * KB), (("template",), KB)):
        run = worker("grid-29-jax", passes, agents=10_000, steps=2)
        found = cost_of([run]).per_agent
        low, high = found.ci95_bytes
        yield Row(
            f"grid-29, 10,000 agents: marginal with {passes[0]}",
            before,
            f"{found.marginal_bytes:,.0f} B ({low:,.0f} to {high:,.0f})",
            f"{limit:,.0f} B",
            found.marginal_bytes <= limit,
        )


def peak() -> Iterator[Row]:
    """Highest resident set of the whole process while 100,000 agents are built and step."""
    batch = cost_of([worker("grid-10-jax", (), agents=500, steps=2)]).per_agent
    run = worker("grid-10-jax", ("template",), agents=100_000, steps=3)
    found = run.sample.peak_rss_bytes or 0
    yield Row(
        "grid-10, 100,000 agents: peak resident set",
        f"{100_000 * batch.marginal_bytes / GB:.0f} GB by the slope",
        f"{found / GB:.2f} GB",
        "1.00 GB",
        found <= GB,
    )


def seconds() -> Iterator[Row]:
    """Time per agent and step, and of the first step with its compilation; three workers each."""
    runs: dict[tuple[str, ...], list[Measurement]] = {(): [], ("share",): []}
    for _ in range(3):
        for passes, found in runs.items():
            found.append(worker("grid-29-jax", passes, agents=50, steps=6))
    step = {p: median(s for run in found for s in run.step_seconds) for p, found in runs.items()}
    first = {p: median(run.compile_seconds or 0 for run in found) for p, found in runs.items()}
    for what, times, limit in (
        ("grid-29, 50 agents: time per agent and step", step, 0.2),
        ("grid-29, 50 agents: first step, compilation included", first, 1.0),
    ):
        before, after = times[()], times[("share",)]
        ratio = after / before
        yield Row(
            what, f"{before * 1e3:.2f} ms", f"{after * 1e3:.2f} ms ({ratio:.2f})", f"{limit}",
            ratio <= limit,
        )  # fmt: skip


def growth() -> Iterator[Row]:
    """Bytes per step of the compiled loop, over 200 steps after the first 200; three workers."""
    runs = [worker("grid-10-jax", (), agents=50, steps=200) for _ in range(3)]
    found = trend([run.sample.trend for run in runs])
    eager = worker("leak-eager-jax", ())
    leak = trend([eager.sample.trend])
    assert found.ci95_bytes is not None
    assert leak.bytes_per_step is not None
    low, high = (50 * end for end in found.ci95_bytes)
    yield Row(
        f"loop: jit, growth per step over steps {found.first_step} to {found.last_step}",
        f"{leak.bytes_per_step * eager.sample.trend.agents / MB:.2f} MB (loop: eager)",
        f"{low:,.0f} to {high:,.0f} B",
        "no growth within the interval",
        low <= 0,
    )


FIGURES: dict[str, Callable[[], Iterator[Row]]] = {
    "live_bytes": live_bytes,
    "marginal": marginal,
    "peak": peak,
    "seconds": seconds,
    "growth": growth,
}


def main(names: list[str]) -> int:
    print("| what | before | after | limit | reached |")
    print("|---|---|---|---|---|", flush=True)
    reached = True
    for name in names or list(FIGURES):
        for row in FIGURES[name]():
            print(f"| {' | '.join(row[:-1])} | {'yes' if row.reached else 'NO'} |", flush=True)
            reached = reached and row.reached
    return 0 if reached else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
