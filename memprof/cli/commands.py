"""The root command, the commands that measure one scenario, and the registration of the others."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from memprof.cli import doctor, gate, help, init, lists, report, run, top
from memprof.cli.options import (
    FIELDS,
    FIXED_PASSES,
    Destination,
    Overrides,
    WorkerLimits,
    fields_without,
    seconds,
    size_of,
    takes,
    within,
)
from memprof.errors import ScenarioError, UsageError

if TYPE_CHECKING:
    from memprof.scenario import LoadedScenario

app = typer.Typer(
    name="memprof",
    help="Profile, optimise and benchmark the memory of populations of PyMDP agents.",
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"max_content_width": 100},
    pretty_exceptions_enable=False,
)
_OptionalScenario = Annotated[
    Path | None, typer.Argument(metavar="SCENARIO", help="The scenario file (YAML).")
]
_MOST_AGENTS = 10**8
_A_DAY = WorkerLimits(timeout=86_400.0)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib import metadata

        print(f"memprof {metadata.version('memprof-pymdp')}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Profile, optimise and benchmark the memory of populations of PyMDP agents."""


@app.command("profile")
@takes(**FIELDS)
def profile_command(
    scenario: Annotated[
        Path,
        typer.Argument(metavar="SCENARIO", help="The scenario file (YAML).", show_default=False),
    ],
    changed: Overrides,
    workers: WorkerLimits,
    to: Destination,
) -> None:
    """Measure a population before and after its passes.

    Exit codes: 0 success; 1 the budget is exceeded or behaviour diverged; 2 the command line or the
    scenario is wrong; 3 the measurement failed; 130 interrupted. More: memprof help reports.
    """
    from memprof.scenario import load_scenario

    loaded = load_scenario(scenario, changed)

    from memprof.cli.output import Output, Question
    from memprof.profile.run import profile

    name = loaded.scenario.name
    Output(name, to).answer(
        Question("profile", name), lambda observer: profile(loaded, workers.limits(), observer)
    )


@app.command("leak", short_help="Check whether a population leaks, and where.")
@takes(**fields_without("max_slowdown", "instruments") | {"passes": FIXED_PASSES})
def leak_command(
    scenario: _OptionalScenario = None,
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
    from memprof.stats.growth import FEWEST_CYCLES

    if cycles < FEWEST_CYCLES:
        raise UsageError(
            f"--cycles: expected {FEWEST_CYCLES} or more, found {cycles}; fewer cannot "
            "distinguish a leak from chance"
        )
    loaded = _loaded(scenario, "leak", changed)
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


@app.command("density")
@takes(**fields_without("agents", "instruments"))
def density_command(
    scenario: _OptionalScenario = None,
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
            help="Tell how many fit by XLA's account, without running them (JAX agents).",
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
    workers: WorkerLimits = _A_DAY,
    to: Destination,
) -> None:
    """Grow a population, and report how many agents fit. Without SCENARIO, use agents on a grid.

    Exit codes: 0 success, even if a memory or time limit was reached; 1 behaviour diverged; 2 the
    command line or the scenario is wrong; 3 the measurement failed; 130 interrupted. More:
    memprof help density.
    """
    from memprof.catalogue.backends import BACKENDS
    from memprof.density.capacity import sweep_sizes
    from memprof.density.sweep import SUITE_SIZES, SUITE_THREADS, THREADED_AGENTS

    if predict:
        measured = {
            "--max-agents": max_agents,
            "--verify": verify,
            "--time-limit": time_limit,
            "--threads": threads,
            "--suite": suite,
            "--memory-limit": workers.memory_limit,
        }
        _predict(scenario, agents, device_memory, measured, changed, workers, to)
        return
    if device_memory is not None:
        raise UsageError("--device-memory: is for --predict; add it, or remove --device-memory")
    if threads is not None and not 2 <= threads <= THREADED_AGENTS:
        raise UsageError(f"--threads: expected 2 to {THREADED_AGENTS}, found {threads:,}")
    if suite and max_agents is not None:
        raise UsageError("--max-agents: --suite has its own sizes; remove one of the two")
    if verify and workers.memory_limit is None:
        raise UsageError("--verify: needs a limit to verify against; add --memory-limit, e.g. 2GiB")
    loaded = _loaded(scenario, "suite" if suite else "density", changed)
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
    asked = Asked(sizes, agents, verify, time_limit, threads, suite)
    name = loaded.scenario.name
    Output(f"{name}-density", to).answer(
        Question("density", name),
        lambda observer: density(loaded, asked, workers.limits(), observer),
    )


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
    loaded = _loaded(scenario, "density", changed)
    from memprof.catalogue.backends import BACKENDS

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


def _loaded(path: Path | None, default: str, changed: Overrides) -> LoadedScenario:
    """The scenario of the file, or the one that comes with memprof."""
    from memprof.scenario import load_default, load_scenario

    return load_default(default, changed) if path is None else load_scenario(path, changed)


app.command("run", cls=run.RunCommand, context_settings=run.OWN_ARGUMENTS)(run.run_command)
app.command("top", short_help="Follow a living process and its agents.")(top.top_command)
app.command("gate")(gate.gate_command)
app.command("compare")(gate.compare_command)
app.command("report", short_help="Show a saved report, or write it in other formats.")(
    report.report_command
)
app.command("init")(init.init_command)
app.command("doctor", short_help="Check what makes figures here less reliable.")(
    doctor.doctor_command
)
app.command("help", short_help="Show a page of the documentation.")(help.help_command)
app.command("models")(lists.models_command)
app.command("instruments")(lists.instruments_command)
app.command("passes")(lists.passes_command)
app.command("formats")(lists.formats_command)
app.command("schema")(lists.schema_command)
