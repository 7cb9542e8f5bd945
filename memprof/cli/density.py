"""`memprof density`: how many agents fit, and how fast they go."""

from __future__ import annotations

from pathlib import Path

from memprof.cli import options
from memprof.errors import UsageError


def density_command(
    scenario: options.OptionalScenario = None,
    max_agents: options.MaxAgents = 100,
    agents: options.AgentsAtOnce = None,
    memory_limit: options.MemoryLimit = None,
    verify: options.Verify = False,
    time_limit: options.TimeLimit = None,
    steps: options.Steps = None,
    seed: options.Seed = None,
    passes: options.Passes = None,
    max_slowdown: options.MaxSlowdown = None,
    loop: options.Loop = None,
    chunk: options.Chunk = None,
    history_steps: options.HistorySteps = None,
    repeats: options.Repeats = None,
    timeout: options.Timeout = 7200.0,
    json: options.Json = None,
    out: options.Out = Path("reports"),
    quiet: options.Quiet = False,
) -> None:
    """Let a population grow, and say how many agents fit. Without SCENARIO, agents on a grid.

    Exit codes: 0 fine, memory or time limits that were met included; 1 behaviour diverged; 2 the
    command line or the scenario is wrong; 3 it could not be measured; 130 interrupted.
    """
    from memprof.scenario_file import load_default, load_scenario

    for name, value, least in (("--max-agents", max_agents, 2), ("--agents", agents, 1)):
        if value is not None and not least <= value <= _MOST_AGENTS:
            raise UsageError(
                f"{name}: expected {least} to {_MOST_AGENTS:,} agents, found {value:,}"
            )
    if verify and memory_limit is None:
        raise UsageError("--verify: needs a limit to verify against; add --memory-limit, as 2GiB")
    changed = options.overrides(
        steps=steps,
        seed=seed,
        passes=passes,
        max_slowdown=max_slowdown,
        loop=loop,
        chunk=chunk,
        history_steps=history_steps,
        repeats=repeats,
    )
    limit = options.memory_limit(memory_limit)
    seconds = options.positive("--timeout", timeout)
    until = None if time_limit is None else options.positive("--time-limit", time_limit)
    if scenario is None:
        loaded = load_default("density", changed)
    else:
        loaded = load_scenario(scenario, changed)

    from memprof.cli.output import Output
    from memprof.cli.progress import progress
    from memprof.reports.density import density_view
    from memprof.worker.spawn import Limits
    from memprof.workflows.density import Asked, density

    output = Output(out, f"{loaded.scenario.name}-density", json, quiet)
    output.check()
    with progress(quiet=quiet) as observer:
        asked = Asked(max_agents, agents, verify, until)
        outcome = density(loaded, asked, Limits(seconds, limit), observer)
    output.deliver(outcome.report, density_view(outcome.report), outcome.failure)


_MOST_AGENTS = 10**8
