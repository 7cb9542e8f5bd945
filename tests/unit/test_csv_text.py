"""The long table read back, against the reports it was made of."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from memprof.export.csv_text import COLUMNS, render
from memprof.export.json_text import parse
from memprof.values.gate import GateReport
from tests import gate_reports

EXAMPLES = Path(__file__).parents[2] / "reports" / "examples"
NUMBERS = ("x", "y", "low", "high")


def read(report) -> list[dict]:
    """The rows, with numbers as numbers and what is empty as None."""
    table = csv.DictReader(io.StringIO(render(report), newline=""), strict=True)
    assert tuple(table.fieldnames or ()) == COLUMNS
    rows = list(table)
    assert all(None not in row and None not in row.values() for row in rows), "cells of the head"
    return [
        {name: (float(cell) if cell else None) if name in NUMBERS else cell for name, cell in
         row.items()}
        for row in rows
    ]  # fmt: skip


def example(name):
    return parse((EXAMPLES / f"{name}.json").read_text())


def points(rows, series, variant="", repeat="") -> list[tuple]:
    return [
        (row["x"], row["y"])
        for row in rows
        if (row["series"], row["variant"], row["repeat"]) == (series, variant, repeat)
    ]


def test_a_profile_has_every_repeat_of_every_series(full_report):
    rows = read(full_report())
    assert {(row["kind"], row["scenario"]) for row in rows} == {("profile", "case")}
    assert {row["variant"] for row in rows} == {"before", "after"}
    for variant in ("before", "after"):
        for repeat in ("1", "2"):
            assert points(rows, "uss_bytes", variant, repeat) == [(4, 200), (20, 900)]
            assert points(rows, "pss_bytes", variant, repeat) == [], "the platform has none"
            assert points(rows, "trend_heap_bytes", variant, repeat) == [(21, 1000), (23, 1170)]
            steps = points(rows, "step_cpu_seconds", variant, repeat)
            assert steps == [(1, 0.5), (2, 0.25), (1, 0.125), (2, 1e-9)]
    assert {row["note"] for row in rows if row["series"] == "step_cpu_seconds"} == {
        "batch 1", "batch 2",
    }  # fmt: skip
    marginal = next(row for row in rows if row["series"] == "marginal_bytes")
    assert [marginal[name] for name in NUMBERS] == [None, 1000.0, 900.0, 1100.0]
    assert len(points(rows, "timeline_rss_bytes", "before")) == 10
    marks = [row["note"] for row in rows if row["series"] == "timeline_mark"]
    assert marks[:6] == ["import", "warm up", "build", "step", "build", "done"]
    assert {row["y_unit"] for row in rows} == {"bytes", "seconds", "agents"}


def test_a_real_profile_is_whole():
    found = example("grid-29")
    rows = read(found)
    for name, variant in (("before", found.variants.before), ("after", found.variants.after)):
        for repeat, sample in enumerate(variant.samples, 1):
            expected = [(each.agents, each.reading.uss_bytes) for each in sample.points]
            assert points(rows, "uss_bytes", name, str(repeat)) == expected
            steps = points(rows, "step_cpu_seconds", name, str(repeat))
            assert [y for _, y in steps] == list(sample.step_cpu_seconds)
        timeline = [(each.seconds, each.rss_bytes) for each in variant.timeline.samples]
        assert points(rows, "timeline_rss_bytes", name) == timeline


def test_a_leak_says_which_cycles_are_counted():
    found = example("prev-actions-leak-steps")
    rows = read(found)
    in_bytes = ("native", "python", "process", "mapped")
    assert {row["variant"] for row in rows} == {"after" if found.leak.passes else "before"}
    for signal in found.leak.signals:
        for repeat, values in enumerate(signal.series):
            mine = [
                row for row in rows
                if row["series"] == signal.name and row["repeat"] == str(repeat + 1)
            ]  # fmt: skip
            assert [(row["x"], row["y"]) for row in mine] == list(enumerate(values))
            left = found.leak.warm_up_cycles[repeat]
            assert [row["note"] for row in mine] == ["warm-up"] * left + ["counted"] * (
                len(values) - left
            )
            unit = "bytes" if signal.name in in_bytes else signal.name
            assert {row["y_unit"] for row in mine} == {unit}


def test_density_has_its_sizes_and_the_readings_of_each_repeat():
    found = example("grid-10-density")
    rows = read(found)
    for variant in ("before", "after"):
        sizes = [each for each in found.density.points if each.variant == variant]
        expected = [(each.agents, each.total_bytes) for each in sizes]
        assert points(rows, "total_bytes", variant) == expected
        speeds = [(e.agents, e.steps_per_second) for e in sizes if e.steps_per_second is not None]
        assert points(rows, "steps_per_second", variant) == speeds
        samples = getattr(found.variants, variant).samples
        for repeat, sample in enumerate(samples, 1):
            expected = [(each.agents, each.reading.private_bytes) for each in sample]
            assert points(rows, "private_bytes", variant, str(repeat)) == expected


def test_a_gate_has_each_metric_then_and_now():
    rows = read(gate_reports.GATE)
    grown = {
        row["variant"]: (row["y"], row["low"], row["high"], row["note"])
        for row in rows
        if (row["scenario"], row["series"]) == ("grid-29", "marginal_bytes")
    }
    assert grown == {
        "then": (14_700, 14_500, 14_900, "worse"),
        "now": (28.3e6, 28.2e6, 28.4e6, "worse"),
        "change": (28_285_300, 28_185_000, 28_385_000, "worse"),
        "allowed": (735, None, None, "worse"),
    }
    peak = [(row["variant"], row["note"]) for row in rows if row["series"] == "peak_bytes"]
    assert peak == [("then", "could_not_measure")]
    smaller = next(r["y"] for r in rows if (r["series"], r["variant"]) == ("fixed_bytes", "change"))
    assert smaller == -55e6, "a number may begin with a minus"
    rates = [r for r in read(gate_reports.SELF_CHECK) if r["series"] == "step_ratio"]
    assert {row["note"]: row["y"] for row in rates} == {
        "comparisons": 20, "false_alarms": 1, "undecided": 0, "most_ci95": 0.216,
        "largest_change": 0.4,
    }  # fmt: skip


@pytest.mark.parametrize(
    "name", ["=1+1", "+1", "-1", "@SUM(A1)", " =1", "\t=1", "\r\n@x", "\uff1d1"]
)
def test_a_name_is_no_formula(full_report, name):
    (cell,) = {row["scenario"] for row in read(full_report(name=name))}
    assert cell.startswith("'")
    assert cell.endswith(name.strip())


@given(st.text())
def test_any_name_is_one_cell_of_one_line(name):
    worse = replace(gate_reports.WORSE, name=name)
    rows = read(GateReport(baseline="b", scenarios=(worse,)))
    text = render(GateReport(baseline="b", scenarios=(worse,)))
    text.encode()
    assert len(rows) == len(read(GateReport(baseline="b", scenarios=(gate_reports.WORSE,))))
    assert text.count("\n") == len(rows) + 1
    (cell,) = {row["scenario"] for row in rows}
    assert not cell.lstrip().startswith(("=", "+", "-", "@"))
