"""Reports of the right types whose fields contradict each other are refused by the field's path."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from memprof.export.json_text import parse, parse_baseline, render_baseline
from memprof.values.gate import Baseline, BaselineEntry
from tests.hostile.reports import bases

BASES = bases()
Change = Callable[[Any], Any]


def before(values: Any) -> Any:
    return values["variants"]["before"]


def sample(values: Any) -> Any:
    return before(values)["samples"][0]


PROFILES: list[tuple[Change, str]] = [
    (lambda v: v["scenario"].pop("agents"), "scenario.agents: is missing"),
    (lambda v: v["scenario"].update(steps=True), "scenario.steps: expected a whole number"),
    (lambda v: v["scenario"].update(name=5), "scenario.name: expected text, found 5"),
    (lambda v: v["scenario"].update(passes="share"), "scenario.passes: expected a list, fo"),
    (lambda v: v["scenario"].update(keep=5), "scenario.keep: expected a list of names, found 5"),
    (lambda v: v["scenario"].update(working_set="1 MB"), "scenario.working_set: expected a whole"),
    (lambda v: v["scenario"].update(max_slowdown="x"), "scenario.max_slowdown: expected a number"),
    (lambda v: v["scenario"].update(tolerances={"no": 1}), "scenario.tolerances: unknown metr"),
    (lambda v: v["scenario"].update(tolerances=[]), "scenario.tolerances: expected fields"),
    (lambda v: before(v)["ledger"].update(agents=0), "before.ledger.agents: expected a wh"),
    (lambda v: before(v).update(repeats=-1), "before.repeats: expected a whole n"),
    (lambda v: before(v)["per_agent"].update(ci95_bytes=[2.0, 1.0]), "ci95_bytes: expected an in"),
    (lambda v: before(v)["per_agent"].update(marginal_bytes=0.0), "per_agent.marginal_bytes: exp"),
    (lambda v: before(v)["per_agent"].update(marginal_bytes=1.0, ci95_bytes=[-1.0, 2.0]),
     "per_agent.resolved: is true, but ci95_bytes includes 0"),
    (lambda v: sample(v)["points"].clear(), "samples.0.points: expected a list"),
    (lambda v: sample(v)["points"].reverse(), "points.1.agents: expected "),
    (lambda v: sample(v).update(batches=0), "samples.0.batches: expected a whole"),
    (lambda v: sample(v)["step_cpu_seconds"].clear(), "step_cpu_seconds: expected "),
    (lambda v: sample(v).update(reference_cpu_seconds=[0.0]), "reference_cpu_seconds.0: expected"),
    (lambda v: sample(v)["trend"].update(stride=0), "trend.stride: expected a whole"),
    (lambda v: sample(v)["trend"].update(heap_bytes=[1] * 1001), "heap_bytes: expected a list"),
    (lambda v: before(v)["timeline"]["samples"].reverse(), "timeline.samples.1.seconds: expected"),
    (lambda v: before(v)["hotspots"]["stacks"][0].update(
        frames=before(v)["hotspots"]["stacks"][0]["frames"][:1] * 501), "frames: expected 0 to"),
    (lambda v: before(v).update(rss_bytes=1e200), "found 1e+200 as a number"),
    (lambda v: v["environment"].update(cpu_count=10**400), "as a number"),
    (lambda v: v.update(more=[[]] * 2_000_001), "expected 2,000,000 values at most"),
]  # fmt: skip
LEAKS: list[tuple[Change, str]] = [
    (lambda v: v["scenario"].pop("repeats"), "scenario.repeats: is missing"),
    (lambda v: v["leak"]["signals"].clear(), "leak.signals: expected one or more, found none"),
    (lambda v: v["leak"]["warm_up_cycles"].pop(), "leak.warm_up_cycles: expected one for each"),
    (lambda v: v["leak"]["signals"][1]["series"].pop(), "signals.1.series: expected one for each"),
    (lambda v: v["leak"]["signals"][1]["series"][0].pop(), "signals.1.series: expected as many"),
    (lambda v: v["leak"].update(warm_up_cycles=[99] * v["leak"]["repeats"]), "warm_up_cycles.0: e"),
    (lambda v: [each["series"][0].clear() for each in v["leak"]["signals"]], "expected "),
    (lambda v: v["leak"].update(signals=[each for each in v["leak"]["signals"]
                                         if each["verdict"] != "leak"]),
     "leak.signals: expected one that leaks, as leak.verdict says, found none"),
    (lambda v: v.update(also=[{**v["leak"], "signals": []}]), "also.0.signals: expected one or"),
]  # fmt: skip
DENSITIES: list[tuple[Change, str]] = [
    (lambda v: v["density"]["capacity"].clear(), "density.capacity: expected before and after"),
    (lambda v: v["density"]["capacity"].reverse(), "density.capacity: expected before and after"),
    (lambda v: v["density"]["points"].clear(), "density.points: expected sizes"),
    (lambda v: v["density"]["points"].reverse(), "density.points.1.agents: expected"),
    (lambda v: v["density"]["points"].pop(0), "density.points: expected sizes that both"),
    (lambda v: v["density"]["points"][0].update(agents=0), "density.points.0.agents: expected a"),
    (lambda v: before(v).update(agents_per_gib=0.0), "agents_per_gib: expected more than 0"),
    (lambda v: before(v).update(baseline_bytes=0.0), "baseline_bytes: expected more than 0"),
    (lambda v: v["density"]["capacity"][0].update(
        verification={"asked": 1, "found": 1, "ended": "memory"}) or
     v["density"]["capacity"][0]["room"].update(expected=0), "capacity.0.room.expected: exp"),
]  # fmt: skip
ALL = [
    (name, change, said)
    for name, cases in (
        ("grid-29", PROFILES),
        ("prev-actions-leak-steps", LEAKS),
        ("grid-10-density", DENSITIES),
    )
    for change, said in cases
    if said is not None
]


@pytest.mark.parametrize(("name", "change", "said"), ALL, ids=[each[2][:45] for each in ALL])
def test_what_contradicts_is_said_by_its_path_in_a_short_line(name, change, said):
    values = json.loads(json.dumps(BASES[name]))
    change(values)
    with pytest.raises(ValueError) as raised:
        parse(json.dumps(values))
    assert said in str(raised.value)
    assert len(str(raised.value)) < 300
    assert str(raised.value).isprintable()


def test_a_baselines_reports_are_held_to_the_same():
    values = json.loads(
        render_baseline(
            Baseline({"a": BaselineEntry("a", "b", parse(json.dumps(BASES["grid-29"])))})
        )
    )
    values["scenarios"]["a"]["report"]["variants"]["before"]["samples"][0]["points"].clear()
    with pytest.raises(ValueError, match=r"^scenarios\.a\.report\.variants\.before\.samples\.0\.p"):
        parse_baseline(json.dumps(values))
