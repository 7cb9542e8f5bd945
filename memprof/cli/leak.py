"""`memprof leak`: whether a population's memory grows from cycle to cycle, and where."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from memprof.cli import options
from memprof.errors import ScenarioError, UsageError

if TYPE_CHECKING:
    from memprof.scenario.file import LoadedScenario


@options.with_pass_options
def leak_command(
    *,
    scenario: options.OptionalScenario = None,
    cycles: options.Cycles = 10,
    mode: options.Mode = None,
    agents: options.Agents = None,
    steps: options.Steps = None,
    seed: options.Seed = None,
    passes: options.NamedPasses = None,
    loop: options.Loop = None,
    pass_options: options.PassOptions,
    repeats: options.Repeats = None,
    effort: options.Effort = None,
    timeout: options.Timeout = 900.0,
    memory_limit: options.MemoryLimit = None,
    json: options.Json = None,
    out: options.Out = Path("reports"),
    quiet: options.Quiet = False,
) -> None:
    """Check whether a population leaks: as its agents come and go, and as they live on. Without
    SCENARIO, small agents on a grid are checked.

    PyMDP's own histories grow as agents live on, which is known: without --mode they are bounded,
    so that anything else shows; with --mode steps they count.

    Exit codes: 0 clean; 1 it leaks; 2 the command line or the scenario is wrong; 3 inconclusive,
    or it could not be measured; 130 interrupted.
    """
    from memprof.scenario.file import load_default, load_scenario
    from memprof.stats.growth import FEWEST_CYCLES

    if cycles < FEWEST_CYCLES:
        raise UsageError(
            f"--cycles: expected {FEWEST_CYCLES} or more, found {cycles}; fewer cannot tell a "
            "leak from chance"
        )
    changed = options.overrides(
        agents=agents,
        steps=steps,
        seed=seed,
        passes=passes,
        loop=loop,
        **pass_options,
        repeats=repeats,
        effort=effort,
    )
    limit = options.memory_limit(memory_limit)
    seconds = options.seconds("--timeout", timeout)
    loaded = load_default("leak", changed) if scenario is None else load_scenario(scenario, changed)
    _check_passes(loaded, "--passes" if passes is not None else loaded.where("passes"))

    from memprof.cli.output import Output, Question, progress
    from memprof.launch.spawn import Limits
    from memprof.leak.run import leak
    from memprof.values.leak import MODES

    name = "-".join((loaded.scenario.name, "leak", *([mode] if mode else [])))
    output = Output(out, name, json, quiet)
    output.check(Question("leak", loaded.scenario.name))
    with progress(quiet=quiet) as observer:
        outcome = leak(loaded, (mode,) if mode else MODES, cycles, Limits(seconds, limit), observer)
    output.deliver(outcome.report, outcome.failure)


def _check_passes(loaded: LoadedScenario, where: str) -> None:
    if loaded.scenario.auto:
        raise ScenarioError(
            "passes",
            "auto chooses by measuring; `memprof profile` names the plan that it finds, give it "
            "with --passes",
            where=where,
        )
