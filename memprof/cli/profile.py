"""`memprof profile`: where the memory of a scenario's population goes, and what its passes save."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from memprof.cli.options import FIELDS, Destination, Engine, Overrides, WorkerLimits, takes


@takes(**FIELDS)
def profile_command(
    scenario: Annotated[
        Path,
        typer.Argument(metavar="SCENARIO", help="The scenario file (YAML).", show_default=False),
    ],
    changed: Overrides,
    engine: Engine,
    workers: WorkerLimits,
    to: Destination,
) -> None:
    """Measure a population before and after its passes.

    Exit codes: 0 success; 1 the budget is exceeded or behaviour diverged; 2 the command line or the
    scenario is wrong; 3 the measurement failed; 130 interrupted. More: memprof help reports.
    """
    from memprof.scenario import load_scenario

    loaded = load_scenario(scenario, changed)
    shards = engine.asked(
        loaded.scenario.backend,
        loaded.scenario.loop,
        meet=loaded.scenario.world is not None,
        memory_limit=workers.memory_limit,
    )

    from memprof.cli.output import Output, Question
    from memprof.profile.run import profile

    name = loaded.scenario.name
    Output(name, to).answer(
        Question("profile", name),
        lambda observer: profile(loaded, workers.limits(), observer, shards),
    )
