"""`memprof density --predict`: how many agents fit, by XLA's account, without running them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from memprof.catalogue.passes import OPTIONS, passes_with
from memprof.errors import UsageError
from memprof.launch.limits import bounds
from memprof.launch.machine import describe_environment
from memprof.launch.runner import Crew, Observer, Outcome
from memprof.posix import Limits
from memprof.scenario import LoadedScenario
from memprof.text import format_size
from memprof.values.density import Bound
from memprof.values.prediction import (
    Forecasted,
    ForecastRun,
    Prediction,
    PredictionReport,
    RoomName,
)
from memprof.values.report import Caution, VariantName
from memprof.values.requests import Forecast

_CHUNKS = (None, 16, 64, 256, 1024, 4096)
_AS_MANY = 0.99
"""Populations are searched to a hundredth: so many count as equally many."""


@dataclass(frozen=True, slots=True)
class AskedAhead:
    """What a user asks for.

    Attributes:
        agents: of the population that is told of, beside the largest; None for the scenario's.
        device_bytes: memory of a device that is not here; None for this one.
    """

    agents: int | None
    device_bytes: int | None


def predict(
    loaded: LoadedScenario, asked: AskedAhead, limits: Limits, observer: Observer
) -> Outcome[PredictionReport]:
    """A worker for each variant builds a few agents and compiles the program of many.

    Raises:
        UsageError: XLA has no account of what these agents do.
        MeasurementError: a worker failed.
    """
    scenario = loaded.scenario
    found = bounds(None)
    lowest = min((b for b in found if b.gauge == "resident"), key=lambda b: b.limit_bytes)
    crew = Crew(loaded, limits, observer)
    plan = tuple(scenario.passes)
    variants: list[tuple[VariantName, tuple[str, ...]]] = [("before", ())]
    variants += [("after", plan)] if plan else []
    crew.total = len(variants)
    runs = []
    for name, passes in variants:
        request = Forecast(
            loaded.spec(passes),
            sizes=(asked.agents or scenario.agents,),
            room_bytes=lowest.limit_bytes,
            device_bytes=asked.device_bytes,
            chunks=_CHUNKS if _chunked(passes) else (None,),
        )
        runs.append(crew.run(f"{name}, predict", request).value)
    if all(run.refused for run in runs):
        raise UsageError(f"--predict: {runs[-1].refused}")
    limit, limit_bytes = _limit(lowest, asked, runs[-1])
    report = PredictionReport(
        scenario=scenario.reported,
        file=loaded.file,
        environment=describe_environment(scenario.backend, runs[-1], None, Forecast),
        warnings=tuple(_cautions(runs[-1], asked, found)),
        complete=True,
        limit=limit,
        limit_bytes=limit_bytes,
        predictions=tuple(
            Prediction(
                variant=name,
                passes=passes,
                few=run.few,
                baseline_bytes=run.baseline.rss_bytes,
                own_bytes=run.own_bytes,
                scenario=run.sizes[0] if run.sizes else None,
                fitting=_best_first(run.fitting),
                refused=run.refused,
            )
            for (name, passes), run in zip(variants, runs, strict=True)
        ),
    )
    return Outcome(report, None)


def _chunked(passes: Sequence[str]) -> bool:
    return any(name in passes_with(OPTIONS["chunk"]).get("jax", ()) for name in passes)


def _limit(lowest: Bound, asked: AskedAhead, run: ForecastRun) -> tuple[RoomName, int]:
    if asked.device_bytes is not None:
        return "--device-memory", asked.device_bytes
    if run.device_limit_bytes is not None:
        return "device", run.device_limit_bytes
    return lowest.name, lowest.limit_bytes


def _best_first(fitting: Sequence[Forecasted]) -> tuple[Forecasted, ...]:
    """Of those that hold equally many, the one in the largest chunks: a step takes fewest calls."""
    most = max((each.account.agents for each in fitting), default=0)

    def order(each: Forecasted) -> tuple[bool, int, int]:
        as_many = each.account.agents >= _AS_MANY * most
        chunk = each.account.program.agents
        return as_many, chunk if as_many else each.account.agents, chunk

    return tuple(sorted(fitting, key=order, reverse=True))


def _cautions(run: ForecastRun, asked: AskedAhead, found: Sequence[Bound]) -> Iterator[Caution]:
    if asked.device_bytes is not None:
        yield Caution(
            "another_device",
            f"temporary arrays are those of XLA's compiler for {run.facts['device']}, the device "
            "here; another device's compiler may need more or less for them",
            "run it where that device is, without --device-memory",
        )
        return
    for each in found if run.device_limit_bytes is None else ():
        if each.gauge != "resident":
            yield Caution(
                "bound_not_judged",
                f"{each.name} ({format_size(each.limit_bytes)}) also counts memory that is mapped "
                "and never touched, which XLA's account leaves out",
                "measure it without --predict",
            )
