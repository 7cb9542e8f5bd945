"""`memprof leak`: whether a population leaks, and where."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from memprof.cli.options import (
    FIXED_PASSES,
    Destination,
    OptionalScenario,
    Overrides,
    WorkerLimits,
    fields_without,
    takes,
)
from memprof.errors import ScenarioError, UsageError


@takes(**fields_without("max_slowdown", "instruments") | {"passes": FIXED_PASSES})
def leak_command(
    scenario: OptionalScenario = None,
    cycles: Annotated[int, typer.Option(help="Cycles per repeat, at least 7.")] = 10,
    mode: Annotated[
        Literal["lifecycle", "steps"] | None,
        typer.Option(
            help="What a cycle does: build, step and release agents; or step the same agents "
            "further.  [default: both, until one leaks]"
        ),
    ] = None,
    *,
    changed: Overrides,
    workers: WorkerLimits,
    to: Destination,
) -> None:
    """Check whether a population leaks as agents come and go, and as they keep running. Without
    SCENARIO, check small agents on a grid.

    PyMDP's own histories are known to grow. Without --mode they are capped, so that any other
    growth shows; with --mode steps they count.

    Exit codes: 0 clean; 1 it leaks; 2 the command line or the scenario is wrong; 3 inconclusive,
    or the measurement failed; 130 interrupted. More: memprof help leaks.
    """
    from memprof.scenario import load_or_default
    from memprof.stats.growth import FEWEST_CYCLES

    if cycles < FEWEST_CYCLES:
        raise UsageError(
            f"--cycles: expected {FEWEST_CYCLES} or more, found {cycles}; fewer cannot "
            "distinguish a leak from chance"
        )
    loaded = load_or_default(scenario, "leak", changed)
    if loaded.scenario.auto:
        raise ScenarioError(
            "passes",
            "memprof leak cannot search for passes; run `memprof profile --passes auto`, and name "
            "the plan that it finds with --passes",
            where="--passes" if "passes" in changed else loaded.where("passes"),
        )

    from memprof.cli.output import Output, Question
    from memprof.leak.run import leak
    from memprof.values.leak import MODES

    name = loaded.scenario.name
    Output("-".join((name, "leak", *([mode] if mode else []))), to).answer(
        Question("leak", name),
        lambda observer: leak(
            loaded, (mode,) if mode else MODES, cycles, workers.limits(), observer
        ),
    )
