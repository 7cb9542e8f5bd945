"""A view of each kind of report, from the committed examples and the tests' own reports."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from memprof.export.json_text import parse
from memprof.render import (
    Band,
    Bars,
    BarSeries,
    Chart,
    Level,
    Moment,
    Next,
    Node,
    Section,
    Series,
    Table,
    Tree,
    View,
    Waterfall,
    view_of,
)
from tests.conftest import ROOT
from tests.gate_reports import COMPARED, GATE, SELF_CHECK

KINDS = ("profile", "leak", "density", "run", "gate", "compare", "self_check", "everything")
EXAMPLES = {
    "profile": "grid-29.json",
    "leak": "prev-actions-leak-steps.json",
    "density": "grid-10-density.json",
    "run": "simulation-run.json",
}
MB = 1e6


def trees(name: Callable[[str], str] = str) -> tuple[Tree, Tree]:
    """A treemap and a flame graph, whose texts are `name` of what they would be."""

    def node(text: str, size: float, *children: Node) -> Node:
        return Node(name(text), size * MB, name(f"of {text}"), children)

    ledger = node(
        "20 agents",
        100,
        node("private", 60, node("A", 40), node("B", 20)),
        node("shared", 30, node("template", 30)),
        node("unexplained", 10),
    )
    control = node("control.py:991", 40, node("np.array", 30), node("reshape", 10))
    calls = node(
        "all calls",
        100,
        node("build", 60, node("agent.py:172", 60, control, node("maths.py:370", 15))),
        node("infer_states", 30, node("inference.py:10", 30)),
    )
    return (
        Tree(name("ledger"), name("private 60 MB"), "bytes", "treemap", ledger),
        Tree(name("calls"), name("build 60 MB"), "bytes", "flame", calls),
    )


def everything(name: Callable[[str], str] = str) -> View:
    """A view with all that a view can have, whose texts are `name` of what they would be."""
    chart = Chart(
        name("growth"),
        name("it grows"),
        name("agents"),
        "bytes",
        (
            Series(name("counted"), ((1.0, 1e3), (2.0, 2e3), (9.0, 9e3))),
            Series(name("left out"), ((0.0, 9e6),), fits=False, role="quiet"),
        ),
        (Band(name("interval"), ((1.0, 0.5e3, 1.5e3), (9.0, 8e3, 9e3))),),
        (Moment(0.0, name("build")), Moment(4.0, name("step"))),
    )
    bars = Bars(
        name("by component"),
        name("A most of all"),
        "bytes",
        (name("A"), name("beliefs")),
        (BarSeries(name("before"), (5e6, None), "before"), BarSeries(name("after"), (1e3, 0.0))),
    )
    levels = (Level(name("before"), 5e6), Level(name("share"), 2e6, name("exact")))
    tables = tuple(
        Table(name(kind), (name("what"), name("size")), ((name("A"), name("1 B")),), kind)
        for kind in ("figures", "prose", "source")
    )
    pictures = (bars, Waterfall(name("by pass"), name("less"), "bytes", levels), *trees(name))
    section = Section(name("Ledger"), (name("Said below."),), tables, (chart,), pictures)
    todo = Next(name("Renew it:"), name("memprof gate --update"))
    return View(name("case: 20 agents"), name("An agent costs."), (section,), chart, todo)


@cache
def views() -> dict[str, View]:
    """By the name of its kind; `everything` is made by hand."""
    examples = {
        name: view_of(parse((ROOT / "reports" / "examples" / file).read_text()))
        for name, file in EXAMPLES.items()
    }
    return {
        **examples,
        "gate": view_of(GATE),
        "compare": view_of(COMPARED),
        "self_check": view_of(SELF_CHECK),
        "everything": everything(),
    }
