"""Reports and baselines read back from their JSON, and what is none is refused in one sentence."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from memprof.export.json_text import parse, parse_baseline, render, render_baseline
from memprof.values.gate import Baseline, BaselineEntry, GateReport
from tests import gate_reports

MISSING = "is missing; if an older memprof wrote the file, measure again"
EXAMPLES = Path(__file__).parents[2] / "reports" / "examples"
OLDER = sorted((Path(__file__).parents[1] / "older_reports").glob("*.json"))
REPORTS = sorted(
    path for path in EXAMPLES.glob("*.json") if "schema" in json.loads(path.read_text())
)


@pytest.mark.parametrize("path", REPORTS, ids=lambda path: path.stem)
def test_a_real_report_reads_back_whole(path):
    found = parse(path.read_text())
    assert json.loads(render(found)) == json.loads(path.read_text())
    assert parse(render(found)) == found


@pytest.mark.parametrize("path", OLDER, ids=lambda path: path.stem)
def test_a_report_of_an_older_schema_is_read_and_written_as_one_of_today(path):
    older = json.loads(path.read_text())
    assert older["schema"] == "memprof.report/1"
    found = json.loads(render(parse(path.read_text())))
    assert found["schema"] == "memprof.report/2"
    older["schema"] = found["schema"]
    assert _without_later_fields(found, older) == older


def _without_later_fields(found: Any, older: Any) -> Any:
    """What is rendered now, without what an older memprof did not write."""
    if isinstance(found, dict):
        return {k: _without_later_fields(v, older[k]) for k, v in found.items() if k in older}
    if isinstance(found, list):
        return [_without_later_fields(*pair) for pair in zip(found, older, strict=True)]
    return found


def test_every_kind_of_profile_leak_and_density_has_a_real_example():
    kinds = {json.loads(path.read_text())["kind"] for path in REPORTS}
    assert kinds >= {"profile", "leak", "density"}


@pytest.mark.parametrize("found", gate_reports.ALL, ids=lambda found: found.kind)
def test_a_gates_report_reads_back_whole(found):
    values = json.loads(render(found))
    assert list(values)[:2] == ["schema", "kind"]
    assert values["kind"] == found.kind
    assert parse(render(found)) == found


def test_a_built_report_reads_back_whole(report, good_variant, device):
    found = report(after=good_variant(10.0, passes=("jit",), device=device()))
    assert parse(render(found)) == found


@pytest.fixture
def baseline(report) -> Baseline:
    return Baseline(
        {name: BaselineEntry(f"{name}.yaml", "abc", report(name=name)) for name in ("b", "a")}
    )


def test_a_baseline_reads_back_whole_and_is_written_the_same_again(baseline):
    text = render_baseline(baseline)
    assert parse_baseline(text) == baseline
    assert render_baseline(parse_baseline(text)) == text
    values = json.loads(text)
    assert next(iter(values)) == "schema"
    assert list(values["scenarios"]) == ["a", "b"]
    assert list(values["scenarios"]["a"]) == ["file", "scenario_hash", "report"]
    assert list(values["scenarios"]["a"]["report"])[:2] == ["schema", "kind"]
    assert text.endswith("}\n")


def test_a_scenario_that_is_replaced_leaves_the_lines_of_the_others(baseline, report):
    lines = render_baseline(baseline).splitlines()
    read = parse_baseline(render_baseline(baseline))
    other = replace(read, scenarios={**read.scenarios, "c": BaselineEntry("c.yaml", "d", report())})
    assert render_baseline(other).splitlines()[: len(lines) - 3] == lines[:-3]


def damaged(change: Callable[[Any], None]) -> str:
    values = json.loads((EXAMPLES / "grid-29.json").read_text())
    change(values)
    return json.dumps(values)


def before(values: dict[str, Any]) -> dict[str, Any]:
    return values["variants"]["before"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda v: v.update(schema="memprof.report/3"),
         'schema: expected memprof.report/2, found "memprof.report/3"'),
        (lambda v: v.update(schema="memprof.baseline/1"),
         'schema: expected memprof.report/2, found "memprof.baseline/1"'),
        (lambda v: v.pop("schema"), "schema: expected memprof.report/2, but there is none"),
        (lambda v: v.update(kind="poem"),
         "kind: expected one of profile, leak, density, prediction, run, gate, compare, "
         'self_check, found "poem"'),
        (lambda v: v.update(kind=["gate"]), 'self_check, found ["gate"]'),
        (lambda v: v.update(kind="leak"), f"leak: {MISSING}"),
        (lambda v: before(v)["per_agent"].pop("fixed_bytes"),
         f"variants.before.per_agent.fixed_bytes: {MISSING}"),
        (lambda v: before(v)["per_agent"].update(marginal_bytes="1"),
         'variants.before.per_agent.marginal_bytes: expected a number, found "1"'),
        (lambda v: before(v)["per_agent"].update(marginal_bytes="1" * 500), f'{"1" * 58}…'),
        (lambda v: before(v).update(repeats=True),
         "variants.before.repeats: expected a whole number, found true"),
        (lambda v: v["equivalence"].update(verdict="yes"),
         "equivalence.verdict: expected 'bounded', 'diverged', 'exact' or 'not_checked', "
         'found "yes"'),
        (lambda v: v.update(variants=5), "variants: expected fields, found 5"),
        (lambda v: before(v).update(uss_bytes=float("nan")), "found NaN as a number"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_by_field(change, said):
    with pytest.raises(ValueError) as raised:
        parse(damaged(change))
    assert str(raised.value).endswith(said)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "text", ["", "[", "[]", "5", "nul", "[" * 100_000, "1e999", '{"a": 1', "{}", "9" * 5_000]
)
def test_what_is_no_report_is_refused(text):
    for read in (parse, parse_baseline):
        with pytest.raises(ValueError, match="expected"):
            read(text)


@given(st.text() | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(json.dumps))
def test_any_other_text_is_refused_in_one_line(text):
    for read in (parse, parse_baseline):
        with pytest.raises(ValueError) as raised:
            read(text)
        assert str(raised.value).isprintable()


def test_a_baseline_of_another_schema_or_damaged_is_refused(baseline):
    with pytest.raises(ValueError, match=r"memprof\.baseline/1, found \"memprof\.report/2\""):
        parse_baseline((EXAMPLES / "grid-29.json").read_text())
    values = json.loads(render_baseline(baseline))
    values["scenarios"]["a"]["report"]["variants"]["before"]["repeats"] = "many"
    with pytest.raises(ValueError, match=r"^scenarios\.a\.report\.variants\.before\.repeats: "):
        parse_baseline(json.dumps(values))
    values["scenarios"]["\x1b[31m\n"] = values["scenarios"].pop("a")
    with pytest.raises(ValueError) as raised:
        parse_baseline(json.dumps(values))
    assert str(raised.value).isprintable()


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_names_of_any_text_read_back(name):
    found = GateReport(
        baseline=name,
        scenarios=(replace(gate_reports.WORSE, name=name, failure=name),),
        updated=(name,),
    )
    assert parse(render(found)) == found


def test_a_path_that_is_no_unicode_does_not_make_a_report_unreadable(baseline):
    found = GateReport(baseline="caf\udce9.json", scenarios=())
    assert parse(render(found)).baseline == "caf?.json"
    (entry, *_) = baseline.scenarios.values()
    odd = Baseline({"a": replace(entry, file="caf\udce9.yaml")})
    assert parse_baseline(render_baseline(odd)).scenarios["a"].file == "caf?.yaml"
