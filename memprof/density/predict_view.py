"""The view of what `memprof density --predict` found."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from memprof.density.pictures import count
from memprof.render import (
    Next,
    Section,
    Table,
    View,
    brief_warnings,
    environment_section,
    warnings_section,
)
from memprof.text import format_limit, format_size
from memprof.values.prediction import MOST_AGENTS, Forecasted, Prediction, PredictionReport

_ROOMS = {
    "--device-memory": "--device-memory",
    "device": "the device's memory",
    "cgroup": "what is left in the control group",
    "machine": "the machine's free memory",
}
_ON_DEVICE = ("--device-memory", "device")


def predict_view(report: PredictionReport) -> View:
    """What a person reads of a prediction, in the order in which it matters."""
    known = [each for each in report.predictions if not each.refused]
    tables = tuple(_tables(report, known))
    sections = [
        Section("Prediction", tuple(_refusals(report)), tables),
        *warnings_section(report.warnings),
        Section("What it is made of", tuple(_made_of(report, known)), reference=True),
        environment_section(report.environment),
    ]
    title = f"{report.scenario.name}: predicted from shapes, without running the agents"
    measure = Next("Measure it, and see how fast they run:", f"memprof density {report.named}")
    brief = (Section("", tuple(_refusals(report)), tables[:1]), *brief_warnings(report.warnings))
    return View(title, headline(report), tuple(sections), next=measure, brief=brief)


def headline(report: PredictionReport) -> str:
    """How many agents fit, before and after."""
    room = f"{format_limit(report.limit_bytes)} ({_ROOMS[report.limit]})"
    parts = [f"{_fit(each)}{_how(each)}" for each in report.predictions if not each.refused]
    return f"In {room}, {'; '.join(parts)}."


def _fit(each: Prediction) -> str:
    if each.best is None:
        return "not one agent fits"
    agents = each.best.account.agents
    return f"{'at least ' if agents >= MOST_AGENTS else ''}{count(agents)} agents fit"


def _how(each: Prediction) -> str:
    if not each.passes:
        return " without passes"
    chunk = f", best in chunks of {_named(each.best)}" if each.best and _chunks(each) else ""
    return f" with {', '.join(each.passes)}{chunk}"


def _chunk(found: Forecasted) -> int:
    return found.account.program.agents


def _named(found: Forecasted) -> str:
    """The size of chunks to set."""
    return f"{count(_chunk(found))} (default)" if found.chunk is None else count(found.chunk)


def _chunks(each: Prediction) -> bool:
    return len(each.fitting) > 1


def _refusals(report: PredictionReport) -> Iterator[str]:
    for each in report.predictions:
        if each.refused:
            yield f"{each.variant}: not predicted. {each.refused}."


def _tables(report: PredictionReport, known: Sequence[Prediction]) -> Iterator[Table]:
    on_device = report.limit in _ON_DEVICE
    for title, found in (
        ("the largest population", [each.best for each in known]),
        ("the scenario's population", [each.scenario for each in known]),
    ):
        if any(each is not None for each in found):
            names = tuple(each.variant for each in known)
            yield Table(title, ("", *names), tuple(_account(known, found, on_device)))
    for each in known:
        if _chunks(each):
            rows = [
                (_named(f), count(f.account.agents), format_size(_call_bytes(f)))
                for f in each.fitting
            ]
            columns = ("chunk", "agents that fit", "a call takes")
            yield Table(f"{each.variant}, by chunk", columns, tuple(rows))


def _growing_bytes(found: Forecasted) -> int:
    return found.account.peak_bytes + found.beside_bytes


def _call_bytes(found: Forecasted) -> int:
    return found.account.program.added_bytes + found.account.copied_bytes


def _account(
    known: Sequence[Prediction], found: Sequence[Forecasted | None], on_device: bool
) -> Iterator[tuple[str, ...]]:
    """Rows: what the agents take, part by part."""

    def row(label: str, read: Callable[[Forecasted], str]) -> tuple[str, ...]:
        return (label, *("-" if each is None else read(each) for each in found))

    yield row("agents", lambda f: count(f.account.agents))
    yield row("agents in one call", lambda f: count(_chunk(f)))
    yield row("steps in one call", lambda f: count(f.account.program.steps))
    yield row("arguments of a call", lambda f: format_size(f.account.program.argument_bytes))
    yield row("outputs", lambda f: format_size(f.account.program.output_bytes))
    yield row("temporaries", lambda f: format_size(f.account.program.temporary_bytes))
    yield row("code", lambda f: format_size(f.account.program.code_bytes))
    if on_device:
        yield row("peak on the device", lambda f: format_size(f.peak_bytes))
    else:
        yield row("held between calls", lambda f: format_size(f.account.held_bytes))
        yield row("agents' own objects, measured", lambda f: format_size(f.beside_bytes))
        yield row("copies on the host", lambda f: format_size(f.account.copied_bytes))
        own = (format_size(each.own_bytes) for each in known)
        yield ("the process itself, measured", *own)
        yield row("peak above the baseline", lambda f: format_size(f.peak_bytes))
    yield row("  per agent", lambda f: format_size(_growing_bytes(f) / f.account.agents))
    yield row(
        "  per agent and step",
        lambda f: format_size(f.account.program.each_bytes),
    )


def _made_of(report: PredictionReport, known: Sequence[Prediction]) -> Iterator[str]:
    few = max((each.few for each in known), default=0)
    yield (
        "Arguments, outputs, temporaries and code are XLA's own account of one call "
        "(memory_analysis) of the compiled program, from shapes alone; code is 0 where XLA does "
        "not tell, as on a CPU. Per agent and step is what a call adds: outputs, temporaries and "
        "code."
    )
    if report.limit not in _ON_DEVICE:
        yield (
            f"The process itself is measured, with {few} agents that live the scenario's steps: "
            "what it takes above its baseline and beyond the account of these, most of it for "
            "compiling. How much that is depends on chance, by about 5 %. What agents take at "
            "rest under template, and objects of their own, is measured with a few, too."
        )
    yield (
        "Largest populations are searched to 1 %. Of chunk sizes with which equally many fit (to "
        "1 %), the largest comes first, because a step then takes the fewest calls; how long they "
        "take is not predicted."
    )
