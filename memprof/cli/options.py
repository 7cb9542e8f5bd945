"""Options that several commands share, and what they mean."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from memprof.catalogue.passes import OPTIONS, Option, passes_with
from memprof.errors import UsageError
from memprof.text import parse_size
from memprof.values.gate import Tolerance, parse_tolerances
from memprof.values.population import EffortName

ScenarioArgument = Annotated[
    Path, typer.Argument(metavar="SCENARIO", help="The scenario file (YAML).", show_default=False)
]
OptionalScenario = Annotated[
    Path | None, typer.Argument(metavar="SCENARIO", help="The scenario file (YAML).")
]
Cycles = Annotated[int, typer.Option(help="Cycles in each repeat, 7 or more.")]
Mode = Annotated[
    Literal["lifecycle", "steps"] | None,
    typer.Option(
        help="What a cycle is: agents are built, step and go; or the same ones step on.  "
        "[default: both, until one leaks]"
    ),
]
MaxAgents = Annotated[
    int | None,
    typer.Option(
        help="Largest population of the sweep: 1, a tenth, ... all of it.  [default: 100]"
    ),
]
Threads = Annotated[
    int | None,
    typer.Option(help="Let 30 agents live 50 steps from so many threads too, against one."),
]
Suite = Annotated[
    bool,
    typer.Option("--suite", help="The predecessor's benchmarks, beside its published figures."),
]
AgentsAtOnce = Annotated[
    int | None,
    typer.Option("--agents", help="Let so many live at once, after the sweep, with the passes."),
]
Verify = Annotated[
    bool,
    typer.Option("--verify", help="Run as many agents as fit under --memory-limit, and more."),
]
TimeLimit = Annotated[
    float | None,
    typer.Option(metavar="SECONDS", help="End the sweep after this, with what it has."),
]
Agents = Annotated[int | None, typer.Option(help="Override the scenario's agents.")]
Steps = Annotated[int | None, typer.Option(help="Override the scenario's steps.")]
Seed = Annotated[int | None, typer.Option(help="Override the scenario's seed.")]
Repeats = Annotated[int | None, typer.Option(help="Override the scenario's repeats.")]
Effort = Annotated[
    EffortName | None,
    typer.Option(help="Override the scenario's effort: time spent on knowing figures better."),
]
Passes = Annotated[
    str | None, typer.Option(metavar="A,B|none|auto", help="Override the scenario's passes.")
]
NamedPasses = Annotated[
    str | None, typer.Option("--passes", metavar="A,B|none", help="Override the scenario's passes.")
]
Instruments = Annotated[
    str | None, typer.Option(metavar="A,B|none", help="Override the scenario's instruments.")
]
Loop = Annotated[
    str | None,
    typer.Option(metavar="jit|eager|rollout", help="Override the scenario's loop (JAX agents)."),
]
MaxSlowdown = Annotated[
    float | None,
    typer.Option(
        metavar="RATIO", help="Largest time per step, against before, that auto may accept."
    ),
]
Timeout = Annotated[
    float, typer.Option(metavar="SECONDS", help="End a worker that runs longer than this.")
]
MemoryLimit = Annotated[
    str | None,
    typer.Option(metavar="SIZE", help="Limit a worker's data segment (RLIMIT_DATA), as 2GiB."),
]
Json = Annotated[
    str | None,
    typer.Option("--json", metavar="FILE", help="Write the JSON report here; - is stdout."),
]
Out = Annotated[
    Path, typer.Option("--out", metavar="DIR", help="Folder for the report, in all formats.")
]
Tolerances = Annotated[
    str | None,
    typer.Option(
        "--tolerance",
        metavar="METRIC=SIZE,...",
        help="What may change, as marginal_bytes=5%,peak_bytes=2MB; replaces the scenario's.",
    ),
]
Junit = Annotated[
    Path | None, typer.Option("--junit", metavar="FILE", help="Write the verdicts as JUnit XML.")
]
BenchmarkJson = Annotated[
    Path | None,
    typer.Option(
        "--benchmark-json",
        metavar="FILE",
        help="Write the figures for github-action-benchmark (customSmallerIsBetter).",
    ),
]
BencherJson = Annotated[
    Path | None,
    typer.Option(
        "--bencher-json", metavar="FILE", help="Write the figures in Bencher Metric Format."
    ),
]
Github = Annotated[bool, typer.Option("--github", help="Print annotations for GitHub, too.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no report on screen.")]


_YEAR = 365 * 24 * 3600
_SHOWN = 40  # characters of what was found, in a message


PassOptions = dict[str, Any]


def with_pass_options(command: Callable[..., None]) -> Callable[..., None]:
    """The command with an option for each that passes have (`memprof.catalogue.passes`), in place
    of its parameter `pass_options`, which gets their values by name."""
    own = inspect.signature(command, eval_str=True)
    of_passes = [option for option in OPTIONS.values() if option.kind in _TYPES]

    def with_them(**given: Any) -> None:
        command(pass_options={each.name: given.pop(each.name) for each in of_passes}, **given)

    parameters: list[inspect.Parameter] = []
    for name, parameter in own.parameters.items():
        added = map(_parameter, of_passes) if name == "pass_options" else [parameter]
        parameters += (each.replace(kind=parameter.KEYWORD_ONLY) for each in added)
    with_them.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
    with_them.__annotations__ = {each.name: each.annotation for each in parameters}
    with_them.__doc__ = command.__doc__
    return with_them


_TYPES: dict[str, Any] = {"count": int, "size": str}


def _parameter(option: Option) -> inspect.Parameter:
    kind, size = _TYPES[option.kind], option.kind == "size"
    jax = " (JAX agents)" if [*passes_with(option)] == ["jax"] else ""
    told = typer.Option(
        f"--{option.name.replace('_', '-')}",
        metavar="SIZE" if size else None,
        help=f"Override the scenario's {option.name}{', as 64MiB' if size else ''}{jax}.",
    )
    return inspect.Parameter(
        option.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[kind | None, told],
    )


def overrides(**options: Any) -> dict[str, Any]:
    """The scenario fields that the command line replaces; `none` is an empty list."""
    given = {name: value for name, value in options.items() if value is not None}
    for name in ("passes", "instruments"):
        if name in given:
            text = given[name]
            given[name] = [] if text == "none" else [part.strip() for part in text.split(",")]
    return given


def memory_limit(text: str | None) -> int | None:
    """Bytes of `--memory-limit`.

    Raises:
        UsageError: it is no size.
    """
    if text is None:
        return None
    try:
        size = parse_size(text)
    except ValueError as error:
        raise UsageError(f"--memory-limit: {error}, found {_start(text)}") from None
    if size == 0:
        raise UsageError(f"--memory-limit: expected a size above 0, found {text!r}")
    return size


def _start(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}...")


def tolerances(text: str | None) -> dict[str, Tolerance]:
    """The tolerances of `--tolerance`.

    Raises:
        UsageError: one is wrong.
    """
    try:
        return parse_tolerances(text) if text is not None else {}
    except ValueError as error:
        raise UsageError(f"--tolerance: {error}") from None


def seconds(name: str, value: float) -> float:
    """`value`, checked to be a number of seconds above zero, and within a year.

    Raises:
        UsageError: it is not.
    """
    if not 0 < value <= _YEAR:
        raise UsageError(
            f"{name}: expected a number above 0, up to {_YEAR:,} (a year), found {value:g}"
        )
    return value
