"""JUnit XML against the schema that CI servers check, and as junitparser reads it."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import junitparser
import pytest
import xmlschema
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from memprof.gate.ci import junit
from memprof.values.gate import ComponentChange, GateReport
from memprof.values.report import Caution
from tests.gate_reports import ALL, COMPARED, GATE, SELF_CHECK, WORSE

SCHEMA = xmlschema.XMLSchema10(str(Path(__file__).parents[1] / "golden" / "junit-10.xsd"))


def checked(report: GateReport) -> junitparser.JUnitXml:
    text = junit(report)
    SCHEMA.validate(ElementTree.fromstring(text.encode()))
    return junitparser.JUnitXml.fromstring(text.encode())


def outcomes(report: GateReport) -> dict[str, dict[str, str]]:
    return {
        suite.name: {
            case.name: type(case.result[0]).__name__ if case.result else "passed" for case in suite
        }
        for suite in checked(report)
    }


@pytest.mark.parametrize("report", ALL, ids=lambda report: report.kind)
def test_it_is_valid_and_the_numbers_are_those_of_its_cases(report):
    xml = checked(report)
    stated = (xml.tests, xml.failures, xml.errors)
    xml.update_statistics()
    assert stated == (xml.tests, xml.failures, xml.errors)


def test_a_suite_is_a_scenario_and_a_case_a_metric():
    assert outcomes(GATE) == {
        "grid-29": {
            "measured": "passed",
            "marginal_bytes": "Failure",
            "fixed_bytes": "passed",
            "peak_bytes": "Error",
            "growth_bytes_per_step": "passed",
            "step_ratio": "Failure",
            "equivalence": "Failure",
            "budget": "passed",
        },
        "grid-5": {"measured": "passed", "growth_bytes_per_step": "passed", "budget": "passed"},
        "grid-10": {"measured": "passed", "fixed_bytes": "passed"},
        "t-maze": {"measured": "Error"},
    }
    assert {case.classname for case in next(iter(checked(GATE)))} == {"memprof.grid-29"}


def test_a_failure_has_the_figures_and_what_is_behind_them():
    case = next(case for case in next(iter(checked(COMPARED))) if case.name == "marginal_bytes")
    (failure,) = case.result
    assert failure.type == "worse"
    assert failure.message.startswith("grid-29: marginal_bytes worse by +28.3 MB per agent (B: ")
    assert failure.text.splitlines()[1:] == [
        "then: 14.7 KB (14.5 KB .. 14.9 KB)",
        "now: 28.3 MB (28.2 MB .. 28.4 MB)",
        "change: +28.3 MB (+28.2 MB .. +28.4 MB)",
        "tolerance: 735 B",
        "B: +28.3 MB private per agent and -28.3 MB shared",
        "template: saved 31.4 MB per agent, saves nothing now",
        "history: saved nothing, saves 170 B per agent now",
    ]


def test_a_suite_says_what_it_was_measured_with_and_how_long_it_took():
    suite = next(iter(checked(GATE)))
    assert {each.name: each.value for each in suite.properties()} == {
        "baseline": "baseline.json",
        "workers then": "5",
        "workers now": "5",
    }
    assert (suite.time, suite._elem.get("file")) == (31.5, "scenarios/grid-29.yaml")
    said = suite._elem.findtext("system-out")
    assert said == "environment: numpy was 2.3, is 2.4; renew the baseline"
    assert checked(GATE).time == 44.5


def test_the_rates_of_a_self_check_are_no_failures():
    assert outcomes(SELF_CHECK) == {
        "grid-5": dict.fromkeys(("marginal_bytes", "step_ratio", "equivalence"), "passed")
    }


@given(st.text(st.characters(codec=None) | st.sampled_from("\x00\x1b<>&\"']]>\ud800\uffff\r\n")))
def test_any_text_leaves_it_valid(text):
    found = replace(
        WORSE,
        name=text,
        file=text,
        failure=f"x{text}",
        metrics=tuple(replace(each, detail=text) for each in WORSE.metrics),
        components=(ComponentChange(text, 1e6, 0.0),),
        warnings=(Caution(text, text, text),),
    )
    alarms = tuple(replace(each, scenario=text) for each in SELF_CHECK.alarms)
    suites = list(checked(GateReport(baseline=text, scenarios=(found,), alarms=alarms)))
    assert [len(list(suite)) for suite in suites] == [len(WORSE.metrics) + 1, len(alarms)]
