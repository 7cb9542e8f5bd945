"""`memprof density`: how many agents fit, measured or, with --predict, by XLA's account."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import gcd
from pathlib import Path
from typing import Annotated, Any

import typer

from memprof.cli.options import (
    Destination,
    Engine,
    Overrides,
    WorkerLimits,
    fields_without,
    seconds,
    size_of,
    takes,
    within,
)
from memprof.errors import UsageError

_MOST_AGENTS = 10**8
_A_DAY = WorkerLimits(timeout=86_400.0)


@takes(**fields_without("agents", "instruments"))
def density_command(
    scenario: Annotated[
        Path | None,
        typer.Argument(metavar="SCENARIO", help="The scenario file.  [default: agents on a grid]"),
    ] = None,
    max_agents: Annotated[
        int | None,
        typer.Option(
            callback=within(2, _MOST_AGENTS),
            help="Largest population of the sweep.  [default: 100]",
        ),
    ] = None,
    agents: Annotated[
        int | None,
        typer.Option(
            callback=within(1, _MOST_AGENTS),
            help="After the sweep, also grow to this many.",
        ),
    ] = None,
    grow: Annotated[
        str | None,
        typer.Option(
            metavar="KIND",
            help="Grow this kind beside the others.",
        ),
    ] = None,
    verify: Annotated[
        bool,
        typer.Option(
            "--verify",
            help="Test whether as many fit under --memory-limit.",
        ),
    ] = False,
    time_limit: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            callback=seconds,
            help="End the sweep after this time.",
        ),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(help="Also run 30 agents on so many threads."),
    ] = None,
    suite: Annotated[
        bool,
        typer.Option(
            "--suite",
            help="Run the predecessor's benchmarks.",
        ),
    ] = False,
    predict: Annotated[
        bool,
        typer.Option(
            "--predict",
            help="Tell by XLA's account, without a run (JAX agents).",
        ),
    ] = False,
    device_memory: Annotated[
        int | None,
        typer.Option(
            metavar="SIZE",
            parser=size_of("--device-memory"),
            help="With --predict: in a device's memory, e.g. 80GB.",
        ),
    ] = None,
    *,
    changed: Overrides,
    engine: Engine,
    workers: WorkerLimits = _A_DAY,
    to: Destination,
) -> None:
    """Grow a population, and report how many agents fit. Exit codes: 0 success, even at a memory or
    time limit; 1 behaviour diverged; 2 wrong command line or scenario; 3 not measured; 130
    interrupted. More: memprof help density.
    """
    from memprof.catalogue.backends import BACKENDS
    from memprof.density.capacity import sweep_sizes
    from memprof.density.sweep import SUITE_SIZES, SUITE_THREADS, THREADED_AGENTS
    from memprof.scenario import load_or_default

    if predict:
        measured = {
            "--max-agents": max_agents,
            "--verify": verify,
            "--time-limit": time_limit,
            "--threads": threads,
            "--suite": suite,
            "--memory-limit": workers.memory_limit,
            "--grow": grow,
            "--engine": engine.engine,
        }
        _predict(scenario, agents, device_memory, measured, changed, workers, to)
        return
    if device_memory is not None:
        raise UsageError("--device-memory: is for --predict; add it, or remove --device-memory")
    if threads is not None and not 2 <= threads <= THREADED_AGENTS:
        raise UsageError(f"--threads: expected 2 to {THREADED_AGENTS}, found {threads:,}")
    if suite and max_agents is not None:
        raise UsageError("--max-agents: --suite has its own sizes; remove one of the two")
    loaded = load_or_default(scenario, "suite" if suite else "density", changed)
    shards = engine.asked(
        loaded.scenario.backend,
        loaded.scenario.loop,
        meet=loaded.scenario.world is not None,
        verify=verify,
        threads=threads,
        suite=suite,
        memory_limit=workers.memory_limit,
        grow=grow,
    )
    if verify and workers.memory_limit is None:
        raise UsageError("--verify: needs a limit to verify against; add --memory-limit, e.g. 2GiB")
    kinds = {each.kind: each for each in loaded.kinds}
    if grow is not None and grow not in kinds:
        has = f"expected {' or '.join(kinds)}" if kinds else "the scenario has no kinds"
        raise UsageError(f"--grow: {has}, found {grow}")
    if threads is not None and (kinds or loaded.scenario.world):
        raise UsageError(
            "--threads: is for agents of one kind that each live alone, which threads can step at "
            "once. Remove it"
        )
    if not BACKENDS[loaded.scenario.backend].together:
        threads = threads or (SUITE_THREADS if suite else None)
    elif threads is not None:
        raise UsageError(
            "--threads: is for backend numpy only; JAX agents step as one computation, which XLA "
            "spreads over the processors itself. Remove it"
        )

    from memprof.cli.output import Output, Question
    from memprof.density.run import Asked, density

    sizes = SUITE_SIZES if suite else sweep_sizes(100 if max_agents is None else max_agents)
    if grow is not None:
        loaded = kinds[grow]
    elif kinds:
        sizes = _in_proportion(sizes, agents, [each.scenario.agents for each in kinds.values()])
    asked = Asked(sizes, agents, verify, time_limit, threads, suite, shards)
    name = loaded.scenario.name
    Output(f"{name}-density", to).answer(
        Question("density", name),
        lambda observer: density(loaded, asked, workers.limits(), observer),
    )


def _in_proportion(
    sizes: Sequence[int], agents: int | None, counts: Sequence[int]
) -> tuple[int, ...]:
    """Sizes at which kinds have the proportions of their `counts` exactly: a slope over others
    would be that of the kinds that came last.

    Raises:
        UsageError: there is no room for two of them, or for one in `agents`.
    """
    period = sum(counts) // gcd(*counts)
    proportions = f"{period:,} agents of {len(counts)} kinds have the scenario's proportions"
    for option, least, found in (
        ("--max-agents", 2 * period, sizes[-1]),
        ("--agents", period, agents),
    ):
        if found is not None and found < least:
            raise UsageError(
                f"{option}: expected at least {least:,}, since {proportions}; found {found:,}. "
                "Raise it, or grow one kind with --grow"
            )
    return tuple(dict.fromkeys(max(period, size - size % period) for size in sizes))


def _predict(
    scenario: Path | None,
    agents: int | None,
    device_memory: int | None,
    measured: Mapping[str, Any],
    changed: Overrides,
    workers: WorkerLimits,
    to: Destination,
) -> None:
    """`memprof density --predict`; `measured` are options of what is measured, which it is not."""
    for option, value in measured.items():
        if value not in (None, False):
            raise UsageError(f"{option}: --predict runs no population; remove one of the two")
    from memprof.catalogue.backends import BACKENDS
    from memprof.scenario import load_or_default

    loaded = load_or_default(scenario, "density", changed)
    if not BACKENDS[loaded.scenario.backend].compiles:
        raise UsageError(
            "--predict: needs agents that live by a compiled program, as with backend jax; with "
            f"backend {loaded.scenario.backend}, run memprof density without it"
        )
    if loaded.scenario.auto:
        raise UsageError(
            "--predict: cannot search for passes, which have to run for that; name them with "
            "--passes"
        )
    from memprof.cli.output import Output, Question
    from memprof.density.predict import AskedAhead, predict

    name = loaded.scenario.name
    Output(f"{name}-predict", to).answer(
        Question("prediction", name),
        lambda observer: predict(
            loaded, AskedAhead(agents, device_memory), workers.limits(), observer
        ),
    )
