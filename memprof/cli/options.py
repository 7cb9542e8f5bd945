"""The options that several commands share: each is declared once, with its type, help and check.

A command takes groups of them as parameters (dataclasses, of which each field is an option), and
names the fields of the scenario that it lets the command line replace (`takes`).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass, is_dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from typer import Argument, CallbackParam, Option

from memprof.catalogue.backends import OF_PROGRAMS
from memprof.catalogue.passes import OPTIONS, passes_with
from memprof.catalogue.passes import Option as PassOption
from memprof.errors import UsageError, option_of
from memprof.text import A_YEAR, cut, parse_size
from memprof.values.population import EffortName, EngineSpec, WorldPlace

if TYPE_CHECKING:
    from memprof.posix import Limits
    from memprof.values.gate import Tolerance


_MOST_SHARDS = 10_000


def within(least: int, most: int) -> Callable[[CallbackParam, Any], Any]:
    """A check that a number lies between two others."""

    def check(option: CallbackParam, value: Any) -> Any:
        if value is not None and not least <= value <= most:
            raise UsageError(f"{option.opts[0]}: expected {least} to {most:,}, found {value:,}")
        return value

    return check


def seconds(option: CallbackParam, value: float | None) -> float | None:
    """A check that a number of seconds is above zero, and within a year."""
    if value is not None and not 0 < value <= A_YEAR:
        raise UsageError(
            f"{option.opts[0]}: expected a number above 0, up to {A_YEAR:,.0f} (a year), "
            f"found {value:g}"
        )
    return value


def size_of(option: str) -> Callable[[str], int]:
    """A parser of sizes above 0, for the option of that name."""

    def parse(text: str) -> int:
        try:
            size = parse_size(text)
        except ValueError as error:
            raise UsageError(f"{option}: {error}, found {cut(text, 40)!r}") from None
        if size == 0:
            raise UsageError(f"{option}: expected a size above 0, found {text!r}")
        return size

    return parse


def _names(text: str) -> list[str]:
    return [] if text == "none" else [part.strip() for part in text.split(",")]


def _file(help: str) -> Any:
    return Option(metavar="FILE", help=help)


def _override(name: str, kind: Any, note: str = "", **how: Any) -> Any:
    """An option that replaces a field of the scenario."""
    about = f"Override the scenario's {name}{note}."
    return Annotated[kind | None, Option(option_of(name), help=about, **how)]


_TYPES: dict[str, Any] = {"count": int, "size": str}


def _of_passes(option: PassOption) -> Any:
    """The option for one that passes have."""
    those = [*passes_with(option)]
    note = "" if OF_PROGRAMS in those else f" (backend {' and '.join(those)})"
    metavar = {"metavar": "SIZE"} if option.kind == "size" else {}
    return _override(option.name, _TYPES[option.kind], note, **metavar)


Overrides = dict[str, Any]
"""The fields of the scenario that the command line replaces."""
FIELDS = {
    "agents": _override("agents", int),
    "steps": _override("steps", int),
    "seed": _override("seed", int),
    "passes": _override("passes", str, metavar="A,B|none|auto", parser=_names),
    "max_slowdown": _override("max_slowdown", float, " (auto)", metavar="RATIO"),
    "loop": _override("loop", str, " (JAX agents)", metavar="jit|eager|rollout"),
    **{each.name: _of_passes(each) for each in OPTIONS.values() if each.kind in _TYPES},
    "instruments": _override("instruments", str, metavar="A,B|none", parser=_names),
    "repeats": _override("repeats", int),
    "effort": Annotated[
        EffortName | None,
        Option("--effort", metavar="LEVEL", help="Time to spend: quick, normal or thorough."),
    ],
}
"""The options that replace fields of the scenario."""
FIXED_PASSES = _override("passes", str, metavar="A,B|none", parser=_names)


def fields_without(*names: str) -> dict[str, Any]:
    """The options that replace fields of the scenario, but for some."""
    return {name: option for name, option in FIELDS.items() if name not in names}


@dataclass(frozen=True)
class WorkerLimits:
    """What each worker may use."""

    timeout: Annotated[
        float, Option(metavar="SECONDS", callback=seconds, help="Time limit of a worker.")
    ] = 900.0
    memory_limit: Annotated[
        int | None,
        Option(
            metavar="SIZE",
            parser=size_of("--memory-limit"),
            help="Limit each worker's data segment, e.g. 2GiB.",
        ),
    ] = None

    def limits(self) -> Limits:
        """The same for those that start workers.

        Raises:
            MeasurementError: this system has no workers.
        """
        from memprof.posix import Limits

        return Limits(self.timeout, self.memory_limit)


@dataclass(frozen=True)
class Engine:
    """What a population also grows over, beside one process."""

    engine: Annotated[
        Literal["ray"] | None,
        Option("--engine", metavar="ray", help="Also spread the agents over Ray's shards:"),
    ] = None
    shards: Annotated[
        int | None,
        Option(
            callback=within(1, _MOST_SHARDS),
            help="Over so many.  [default: one per processor]",
        ),
    ] = None
    address: Annotated[
        str | None,
        Option(help="Of a cluster, or auto.  [default: this machine]"),
    ] = None
    world: Annotated[
        WorldPlace | None,
        Option(
            metavar="driver|actor",
            help="Where agents meet.  [default: driver]",
        ),
    ] = None

    def asked(
        self, backend: str, loop: str | None, *, meet: bool, **of_one_process: object
    ) -> EngineSpec | None:
        """The engine, for agents of that backend and loop, which may `meet` in one world; None
        where one process is to do.

        Args:
            of_one_process: options, by their fields, that are about one process.

        Raises:
            UsageError: options contradict each other or the scenario, or there is no Ray.
        """
        if self.engine is None:
            for name in ("shards", "address", "world"):
                if getattr(self, name) is not None:
                    raise UsageError(f"--{name}: is for --engine ray; add it, or remove --{name}")
            return None
        for name, value in of_one_process.items():
            if value not in (None, False):
                option = option_of(name)
                raise UsageError(
                    f"{option}: is about one process, which --engine ray is not; remove one of the "
                    "two"
                )
        if loop == "rollout":
            raise UsageError(
                f"--engine: expected agents that live step by step, found loop rollout of backend "
                f"{backend}; add --loop jit"
            )
        if self.world is not None and not meet:
            raise UsageError(
                "--world: is for a world in which agents meet, and the scenario has none; remove it"
            )
        from memprof.distributed.installed import check_installed

        check_installed()
        return EngineSpec(self.shards, self.address, self.world or "driver")


OptionalScenario = Annotated[
    Path | None, Argument(metavar="SCENARIO", help="The scenario file (YAML).")
]
Full = Annotated[bool, Option("--full", help="Print the whole report, not one screen.")]


@dataclass(frozen=True)
class Destination:
    """Where a report goes.

    Attributes:
        json: a further file for the JSON; `-` is standard output, without the report for people.
        out: `<name>.json`, `<name>.md` and so on are written there, one for each format.
        quiet: nothing for people on standard output, and no progress.
        full: all of the report on standard output, not one screen.
    """

    json: Annotated[str | None, _file("Write the JSON report here; - for stdout.")] = None
    out: Annotated[Path, Option(metavar="DIR", help="Folder for the report.")] = Path("reports")
    quiet: Annotated[bool, Option("--quiet", "-q", help="Print no progress and no report.")] = False
    full: Full = False


@dataclass(frozen=True)
class Verdicts:
    """How a gate or a comparison judges, and what CI servers take from it."""

    tolerance: Annotated[
        str | None,
        Option(
            metavar="METRIC=SIZE,...",
            help="Allowed change, e.g. marginal_bytes=5%.",
        ),
    ] = None
    junit: Annotated[Path | None, _file("Write the verdicts as JUnit XML.")] = None
    benchmark_json: Annotated[Path | None, _file("Write figures for github-action-benchmark.")] = (
        None
    )
    bencher_json: Annotated[Path | None, _file("Write the figures in Bencher Metric Format.")] = (
        None
    )
    github: Annotated[bool, Option("--github", help="Also print annotations for GitHub.")] = False

    def tolerances(self) -> dict[str, Tolerance]:
        """The tolerances, read.

        Raises:
            UsageError: one is wrong.
        """
        from memprof.values.gate import parse_tolerances

        try:
            return parse_tolerances(self.tolerance) if self.tolerance is not None else {}
        except ValueError as error:
            raise UsageError(f"--tolerance: {error}") from None


def takes(**fields: Any) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Show the command line the options in a command's parameters: those in its groups, with the
    defaults of the group that is the parameter's own, and the scenario's `fields` that its
    parameter `changed` holds."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        shown: list[inspect.Parameter] = []
        groups: dict[str, tuple[Callable[..., Any], list[str]]] = {}
        for each in _parameters(command):
            group = each.annotation
            if group is Overrides:
                group = _given
                options = [
                    each.replace(name=name, annotation=fields[name], default=None)
                    for name in fields
                ]
            elif is_dataclass(group):
                options = list(_parameters(group))
                if each.default is not each.empty:
                    options = [o.replace(default=getattr(each.default, o.name)) for o in options]
            else:
                shown.append(each)
                continue
            groups[each.name] = group, [option.name for option in options]
            shown += options

        @wraps(command)
        def run(**given: Any) -> None:
            for name, (group, options) in groups.items():
                given[name] = group(**{option: given.pop(option) for option in options})
            command(**given)

        shown = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in shown]
        run.__signature__ = inspect.Signature(shown)  # type: ignore[attr-defined]
        run.__annotations__ = {each.name: each.annotation for each in shown}
        return run

    return decorate


def _given(**options: Any) -> Overrides:
    return {name: value for name, value in options.items() if value is not None}


def _parameters(command: Any) -> Iterable[inspect.Parameter]:
    return inspect.signature(command, eval_str=True).parameters.values()
