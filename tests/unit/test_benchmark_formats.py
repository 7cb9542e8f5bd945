"""The figures of a run as services that draw their history take them."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from memprof.gate import ci
from memprof.values.gate import GateReport
from tests.gate_reports import ALL, FAILED, GATE, GROWN, SELF_CHECK, WORSE

# github-action-benchmark reads with JSON.parse and takes name, value, unit, range and extra of each
# entry (extractCustomBenchmarkResult in its src/extract.ts); these are the types of its interface
# BenchmarkResult. It fails where the array is empty.
ACTION = {
    "type": "array",
    "items": {
        "type": "object",
        "properties": {
            "name": {"type": "string", "minLength": 1},
            "unit": {"type": "string", "minLength": 1},
            "value": {"type": "number"},
            # What its src/extractRangeInfo.ts can read as a number after the sign.
            "range": {"type": "string", "pattern": r"^± \d+(\.\d+)?(e[+-]\d+)?$"},
            "extra": {"type": "string"},
        },
        "required": ["name", "unit", "value"],
        "additionalProperties": False,
    },
}
# The rules of https://bencher.dev/bmf.json, and what the reference adds: a measure is known by a
# slug of 64 characters or fewer, a benchmark by a name of 1,024 or fewer.
BENCHER = {
    "$schema": "http://json-schema.org/draft-07/schema#",
    "type": "object",
    "propertyNames": {"minLength": 1, "maxLength": 1024},
    "additionalProperties": {
        "type": "object",
        "propertyNames": {"pattern": "^[a-z0-9]+(-[a-z0-9]+)*$", "maxLength": 64},
        "additionalProperties": {
            "type": "object",
            "properties": {
                "value": {"type": "number"},
                "lower_value": {"type": "number"},
                "upper_value": {"type": "number"},
            },
            "required": ["value"],
            "additionalProperties": False,
        },
    },
}


def action(report: GateReport) -> list[dict[str, Any]]:
    found = json.loads(ci.benchmark_action(report))
    jsonschema.validate(found, ACTION)
    return found


def measures(report: GateReport) -> dict[str, Any]:
    found = json.loads(ci.bencher(report))
    jsonschema.validate(found, BENCHER)
    return found


@pytest.mark.parametrize("report", ALL, ids=lambda report: report.kind)
def test_every_report_keeps_to_the_schemas(report):
    assert len(action(report)) == sum(len(each) for each in measures(report).values())


def test_the_action_gets_what_was_measured_now_under_stable_names():
    found = action(GATE)
    assert [each["name"] for each in found] == [
        "grid-29: marginal_bytes",
        "grid-29: fixed_bytes",
        "grid-29: growth_bytes_per_step",
        "grid-29: step_ratio",
        "grid-5: growth_bytes_per_step",
        "grid-10: fixed_bytes",
    ]
    assert found[0] == {
        "name": "grid-29: marginal_bytes",
        "unit": "bytes per agent",
        "value": 28_300_000.0,
        "range": "± 100000",
        "extra": "5 fresh workers\nscenarios/grid-29.yaml",
    }


def test_the_range_of_the_action_covers_the_whole_interval():
    lopsided = replace(GROWN, now_ci95=(28.1e6, 28.4e6))
    unsure = replace(GROWN, now_ci95=None)
    first, second = action(
        GateReport(baseline="b", scenarios=(replace(WORSE, metrics=(lopsided, unsure)),))
    )
    assert first["range"] == "± 200000"
    assert "range" not in second


def test_bencher_gets_measures_by_slug_with_both_ends():
    found = measures(GATE)
    assert list(found) == ["grid-29", "grid-5", "grid-10"]
    assert found["grid-29"]["marginal-bytes"] == {
        "value": 28_300_000.0,
        "lower_value": 28_200_000.0,
        "upper_value": 28_400_000.0,
    }
    assert set(found["grid-29"]) == {
        "marginal-bytes", "fixed-bytes", "growth-bytes-per-step", "step-ratio",
    }  # fmt: skip


def test_without_figures_there_is_nothing():
    for report in (GateReport(baseline="b", scenarios=(FAILED,)), SELF_CHECK):
        assert (action(report), measures(report)) == ([], {})


@given(
    st.text(st.characters(codec=None), min_size=1),
    st.floats(-1e15, 1e15),
    st.floats(0, 1e15),
)
def test_any_name_and_figure_keeps_to_the_schemas(name, now, reach):
    metric = replace(GROWN, now=now, now_ci95=(now - reach, now + reach))
    report = GateReport(baseline="b", scenarios=(replace(WORSE, name=name, metrics=(metric,)),))
    (entry,) = action(report)
    assert entry["value"] == now
    (values,) = measures(report)[name].values()
    assert values["lower_value"] <= values["value"] <= values["upper_value"]
