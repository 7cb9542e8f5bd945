"""`make equivalence`: every pass alone, and all that `auto` may choose together, on every shipped
scenario, over 20 agents and 30 steps, against the plain population on the same seeds.

`python -m tests.equivalence [--agents N] [--steps N] [SCENARIO ...]` prints a table and ends with 1
if an exact pass changes a bit, or a bounded one more than its bound.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from msgspec.structs import replace

from memprof.catalogue.passes import PASSES, bound_of, candidates, passes_for
from tests.conftest import SCENARIOS

ALL = "all of auto"
# JAX agents have passes of their own; see tests/integration/test_jax.py.
PATHS = sorted(path for path in SCENARIOS.glob("*.yaml") if "backend: jax" not in path.read_text())


def plans() -> dict[str, tuple[str, ...]]:
    """Passes by the name of the row; what a pass needs comes before it."""
    needed = {name: (*PASSES[name].requires, *PASSES[name].requires_one[:1]) for name in PASSES}
    alone = {name: (*needed[name], name) for name in passes_for("numpy")}
    return {**alone, ALL: candidates("numpy")}


def live(
    path: Path, passes: tuple[str, ...], agents: int, steps: int, trace: Path, **changes: Any
) -> dict:
    """One population's life in this fresh process: digests, and what differs from `trace`, which
    the plain population writes; `changes` are of its spec."""
    from memprof.catalogue import load_target
    from memprof.instruments import DirectCalls
    from memprof.populations import population_class
    from memprof.populations.trace import DigestTrace, ValueTrace
    from memprof.scenario import load_scenario

    spec = replace(load_scenario(path).spec(passes), agents=agents, steps=steps, **changes)
    for name in passes:
        if PASSES[name].early:
            load_target(PASSES[name].form("numpy").target)().install()
    digests = DigestTrace(agents, steps)
    with (
        trace.open("rb" if passes else "wb") as stream,
        contextlib.redirect_stdout(io.StringIO()) as printed,  # PyMDP's MMP prints
    ):
        values = ValueTrace(stream, compare=bool(passes))
        population = population_class(spec)(spec, DirectCalls())
        crowd = population.grow(agents)
        for step in range(steps):
            for lived in population.live(crowd, range(step, step + 1)):
                digests.record(*lived)
                values.record(*lived)
            printed.seek(0)
            printed.truncate()
        population.close()
        found = values.comparison()
    return {
        "digests": digests.per_agent(),
        "error": found.max_abs_belief_error,
        "actions": found.actions_equal / max(1, found.actions_compared),
    }


def check(path: Path, agents: int, steps: int, crew: ProcessPoolExecutor) -> bool:
    """Print the rows of one scenario; whether all passes keep their claims."""
    kept = True
    with TemporaryDirectory() as folder:
        trace = Path(folder) / "trace"
        plain = crew.submit(live, path, (), agents, steps, trace).result()
        runs = {
            row: crew.submit(live, path, passes, agents, steps, trace)
            for row, passes in plans().items()
        }
        for row, run in runs.items():
            found, bound = run.result(), bound_of(plans()[row], "numpy")
            exact = found["digests"] == plain["digests"]
            within = bound is not None and found["error"] is not None and found["error"] <= bound
            verdict = "exact" if exact else "bounded" if within else "DIVERGED"
            kept = kept and verdict != "DIVERGED"
            print(
                f"| {path.stem} | {row} | {agents} x {steps} | {verdict} | {found['error']:.1e} "
                f"| {found['actions']:.1%} |",
                flush=True,
            )
    return kept


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--agents", type=int, default=20)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("scenarios", nargs="*", default=[p.stem for p in PATHS])
    wanted = parser.parse_args()
    print("| scenario | pass | agents x steps | verdict | largest change | actions that agree |")
    print("|---|---|---|---|---|---|", flush=True)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=context, max_tasks_per_child=1) as crew:
        kept = [
            check(SCENARIOS / f"{name}.yaml", wanted.agents, wanted.steps, crew)
            for name in wanted.scenarios
        ]
    return 0 if all(kept) else 1


if __name__ == "__main__":
    sys.exit(main())
