"""`memprof density`: how many agents fit, and how fast they go."""

from __future__ import annotations

from pathlib import Path

from memprof.cli import options
from memprof.errors import UsageError


@options.with_pass_options
def density_command(
    *,
    scenario: options.OptionalScenario = None,
    max_agents: options.MaxAgents = None,
    agents: options.AgentsAtOnce = None,
    memory_limit: options.MemoryLimit = None,
    verify: options.Verify = False,
    time_limit: options.TimeLimit = None,
    threads: options.Threads = None,
    suite: options.Suite = False,
    steps: options.Steps = None,
    seed: options.Seed = None,
    passes: options.Passes = None,
    max_slowdown: options.MaxSlowdown = None,
    loop: options.Loop = None,
    pass_options: options.PassOptions,
    repeats: options.Repeats = None,
    effort: options.Effort = None,
    timeout: options.Timeout = 86_400.0,
    json: options.Json = None,
    out: options.Out = Path("reports"),
    quiet: options.Quiet = False,
) -> None:
    """Let a population grow, and say how many agents fit. Without SCENARIO, agents on a grid.

    Exit codes: 0 fine, memory or time limits that were met included; 1 behaviour diverged; 2 the
    command line or the scenario is wrong; 3 it could not be measured; 130 interrupted.
    """
    from memprof.catalogue.backends import BACKENDS
    from memprof.density.capacity import sweep_sizes
    from memprof.density.sweep import SUITE_SIZES, SUITE_THREADS, THREADED_AGENTS
    from memprof.scenario.file import load_default, load_scenario

    _check("--max-agents", max_agents, 2, _MOST_AGENTS)
    _check("--agents", agents, 1, _MOST_AGENTS)
    _check("--threads", threads, 2, THREADED_AGENTS)
    if suite and max_agents is not None:
        raise UsageError("--max-agents: --suite has sizes of its own; leave one of the two out")
    if verify and memory_limit is None:
        raise UsageError("--verify: needs a limit to verify against; add --memory-limit, as 2GiB")
    changed = options.overrides(
        steps=steps,
        seed=seed,
        passes=passes,
        max_slowdown=max_slowdown,
        loop=loop,
        **pass_options,
        repeats=repeats,
        effort=effort,
    )
    limit = options.memory_limit(memory_limit)
    seconds = options.seconds("--timeout", timeout)
    until = None if time_limit is None else options.seconds("--time-limit", time_limit)
    if scenario is None:
        loaded = load_default("suite" if suite else "density", changed)
    else:
        loaded = load_scenario(scenario, changed)

    if not BACKENDS[loaded.scenario.backend].together:
        threads = threads or (SUITE_THREADS if suite else None)
    elif threads is not None:
        raise UsageError(
            "--threads: is for the backend numpy; JAX agents live as one computation for all of "
            "them, which XLA spreads over the processors itself. Leave it out"
        )

    from memprof.cli.output import Output, Question, progress
    from memprof.density.run import Asked, density
    from memprof.launch.spawn import Limits

    output = Output(out, f"{loaded.scenario.name}-density", json, quiet)
    output.check(Question("density", loaded.scenario.name))
    with progress(quiet=quiet) as observer:
        sizes = SUITE_SIZES if suite else sweep_sizes(max_agents or _MAX_AGENTS)
        asked = Asked(sizes, agents, verify, until, threads, suite)
        outcome = density(loaded, asked, Limits(seconds, limit), observer)
    output.deliver(outcome.report, outcome.failure)


_MAX_AGENTS = 100
_MOST_AGENTS = 10**8


def _check(name: str, value: int | None, least: int, most: int) -> None:
    if value is not None and not least <= value <= most:
        raise UsageError(f"{name}: expected {least} to {most:,}, found {value:,}")
