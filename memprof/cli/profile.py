"""`memprof profile`: where an agent's memory goes, before and after the passes."""

from __future__ import annotations

from pathlib import Path

from memprof.cli import options


@options.with_pass_options
def profile_command(
    *,
    scenario: options.ScenarioArgument,
    agents: options.Agents = None,
    steps: options.Steps = None,
    seed: options.Seed = None,
    passes: options.Passes = None,
    max_slowdown: options.MaxSlowdown = None,
    loop: options.Loop = None,
    pass_options: options.PassOptions,
    instruments: options.Instruments = None,
    repeats: options.Repeats = None,
    effort: options.Effort = None,
    timeout: options.Timeout = 900.0,
    memory_limit: options.MemoryLimit = None,
    json: options.Json = None,
    out: options.Out = Path("reports"),
    quiet: options.Quiet = False,
) -> None:
    """Measure a population before and after its passes.

    Exit codes: 0 fine; 1 the budget is broken or behaviour diverged; 2 the command line or the
    scenario is wrong; 3 it could not be measured; 130 interrupted.
    """
    from memprof.scenario.file import load_scenario

    changed = options.overrides(
        agents=agents,
        steps=steps,
        seed=seed,
        passes=passes,
        max_slowdown=max_slowdown,
        loop=loop,
        **pass_options,
        instruments=instruments,
        repeats=repeats,
        effort=effort,
    )
    limit = options.memory_limit(memory_limit)
    seconds = options.seconds("--timeout", timeout)
    loaded = load_scenario(scenario, changed)

    from memprof.cli.output import Output, Question, progress
    from memprof.launch.spawn import Limits
    from memprof.profile.run import profile

    output = Output(out, loaded.scenario.name, json, quiet)
    output.check(Question("profile", loaded.scenario.name))
    with progress(quiet=quiet) as observer:
        outcome = profile(loaded, Limits(seconds, limit), observer)
    output.deliver(outcome.report, outcome.failure)
