"""What people read of a gate, a comparison and a self-check."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from memprof.gate.baseline import TOO_WIDE
from memprof.gate.view import gate_view, headline
from memprof.gate.words import component
from memprof.render import Section, document, markdown, terminal
from memprof.values.gate import Comparison, ComponentChange, GateReport, MetricChange, PassChange
from memprof.values.report import Caution
from tests.gate_reports import (
    ALL,
    BETTER,
    COMPARED,
    FAILED,
    GATE,
    GROWN,
    LEVEL,
    SAME,
    SELF_CHECK,
    SMALLER,
    UNCHANGED,
    WORSE,
)


def gate(*scenarios: Comparison) -> GateReport:
    return GateReport(baseline="baseline.json", scenarios=scenarios)


def section(found: GateReport, title: str) -> Section:
    return next(each for each in gate_view(found).sections if each.title == title)


def hostile(text: str) -> GateReport:
    """A report in which every text from outside is `text`."""
    found = replace(
        WORSE,
        name=text,
        file=text,
        metrics=tuple(replace(each, detail=text) for each in WORSE.metrics),
        components=(ComponentChange(text, 1e6, 0.0),),
        passes=(PassChange(text, 1.0, None),),
        warnings=(Caution(text, text, text),),
        failure=text,
    )
    alarms = tuple(replace(each, scenario=text) for each in SELF_CHECK.alarms)
    return GateReport(baseline=text, scenarios=(found,), updated=(text,), alarms=alarms)


def changed(found):
    """What a screen says of a scenario, beside its verdict."""
    ((_, _, said),) = gate_view(gate(found)).brief[0].tables[0].rows
    return said


def test_what_got_worse_is_said_by_metric_and_component():
    found = replace(WORSE, metrics=(GROWN, LEVEL), components=(ComponentChange("B", 28.3e6, 0),))
    assert headline(gate(found, SAME)) == "grid-29: marginal_bytes worse by +28.3 MB per agent."
    assert changed(found) == (
        "marginal_bytes worse by +28.3 MB per agent (B: +28.3 MB private per agent; template: "
        "saved 31.4 MB per agent, saves nothing now)"
    )


def test_shared_components_explain_the_fixed_cost_and_only_growth_explains_growth():
    components = (ComponentChange("A", -5e6, 0), ComponentChange("tables", 0, 9e6))
    grown = replace(SMALLER, verdict="worse", change=9e6, change_ci95=(8e6, 10e6))
    found = replace(WORSE, metrics=(GROWN, grown), components=components, passes=())
    assert changed(found) == (
        "marginal_bytes worse by +28.3 MB per agent; "
        "fixed_bytes worse by +9.00 MB (tables: +9.00 MB shared)"
    )


def test_what_got_worse_comes_before_what_could_not_be_measured():
    assert headline(gate(FAILED, SAME)) == "t-maze could not be measured."
    assert headline(GATE) == (
        "grid-29: marginal_bytes worse by +28.3 MB per agent, step_ratio worse by +50.0%, "
        "equivalence worse; grid-29: peak_bytes inconclusive; t-maze could not be measured."
    )
    assert "peak_bytes inconclusive (the platform has no peak)" in changed(WORSE)
    assert "equivalence worse (was exact, now diverged)" in changed(WORSE)
    assert changed(FAILED) == "could not be measured: the worker died of signal 9"


def test_if_nothing_is_worse_it_says_what_is_better_or_that_all_is_as_before():
    assert headline(gate(SAME, BETTER)) == (
        "Nothing is worse; grid-10: fixed_bytes better by -55.0 MB."
    )
    assert headline(gate(SAME)) == "No metric changed by more than its tolerance."
    assert headline(gate()) == "Nothing was measured."
    assert headline(replace(gate(), updated=("a", "b"))) == "Written to baseline.json: a, b."
    cut = gate_view(replace(gate(SAME), complete=False))
    assert cut.headline == "Cut short: No metric changed by more than its tolerance."


def test_many_scenarios_do_not_burst_the_sentence():
    many = [replace(WORSE, name=f"s{number}", metrics=(GROWN,), passes=()) for number in range(9)]
    assert headline(gate(*many)).endswith(
        "s2: marginal_bytes worse by +28.3 MB per agent; and 6 more."
    )


def test_a_metric_stands_with_its_intervals_its_tolerance_and_its_verdict():
    figures, components, passes, warnings = section(GATE, "grid-29: worse").tables
    assert figures.columns == ("metric", "then", "now", "change", "allowed", "verdict")
    assert figures.rows[:3] == (
        ("marginal_bytes", "14.7 KB", "28.3 MB", "+28.3 MB", "735 B", "worse"),
        ("  at least", "14.5 KB", "28.2 MB", "+28.2 MB", "", ""),
        ("  at most", "14.9 KB", "28.4 MB", "+28.4 MB", "", ""),
    )
    rows = {row[0]: row[1:] for row in figures.rows}
    assert rows["step_ratio"] == ("1.5", "2.25", "+50.0%", "25.0%", "worse")
    assert rows["peak_bytes"] == ("300 MB", "-", "-", "-", "inconclusive")
    assert rows["equivalence"] == ("-", "-", "-", "-", "worse")
    assert components.rows == (("B", "+28.3 MB", "-28.3 MB"), ("histories", "", "-4.00 KB"))
    assert passes.rows == (("template", "31.4 MB", "-"), ("history", "-", "170 B"))
    assert warnings.rows == (("environment", "numpy was 2.3, is 2.4", "renew the baseline"),)
    assert "equivalence: was exact, now diverged" in section(GATE, "grid-29: worse").text


@pytest.mark.parametrize("found", ALL, ids=lambda found: found.kind)
def test_a_screen_says_a_cause_and_a_reason_once(found):
    screen = " ".join(terminal.render_brief(gate_view(found), width=500, color=False).split())
    for each in (*WORSE.components, *WORSE.metrics):
        said = component(each) if isinstance(each, ComponentChange) else f"({each.detail})"
        assert screen.count(said) <= (2 if said.startswith("B:") else 1), said  # of two metrics


UNSURE = MetricChange(
    metric="step_ratio",
    unit="ratio",
    verdict="could_not_measure",
    was=1.0,
    now=1.2,
    change=0.2,
    change_ci95=(-0.1, 0.5),
    allowed=0.25,
    detail="too noisy",
)


@pytest.mark.parametrize(
    ("enough", "code", "said"),
    [
        ((4, 9), "--update --force --repeats 4", "Make it anew, from the code that it stands for:"),
        ((5, 14), "--max-repeats 14", "This run's intervals are too wide"),
        ((12, 12), "--update --force --repeats 12", "this gate again with --max-repeats 12:"),
        (None, None, "More repeats would not decide."),
    ],
)
def test_what_is_inconclusive_is_decided_by_more_repeats_on_the_side_that_lacks_them(
    enough, code, said
):
    repeats = (5 if code and "max" in code else 1, 9)
    undecided = replace(SAME, metrics=(replace(UNSURE, enough=enough),), repeats=repeats)
    found = gate_view(gate(undecided)).next
    assert said in found.text
    assert found.code == (f"memprof gate --baseline baseline.json {code}" if code else "")


@pytest.mark.parametrize("found", [WORSE, FAILED, BETTER, replace(SAME, metrics=(UNSURE,))])
def test_what_to_do_points_at_no_place_that_a_screen_may_lack(found):
    text = gate_view(gate(found)).next.text
    assert not re.search(r"\b(above|below|see)\b", text, re.IGNORECASE)


def test_a_baseline_that_cannot_judge_is_not_to_be_committed():
    wide = Caution(TOO_WIDE, "the least change is 635 B", "run it again with --repeats 3")
    view = gate_view(replace(UNCHANGED, scenarios=(replace(SAME, warnings=(wide,)),)))
    assert view.next.text.endswith("Before you commit it: run it again with --repeats 3.")
    screen = terminal.render_brief(view, width=80, color=False)
    assert "the least change is 635 B" in screen
    assert "Commit the file" not in screen


def test_components_are_shown_only_where_something_changed():
    quiet = replace(SAME, components=WORSE.components, passes=WORSE.passes)
    assert len(section(gate(quiet), "grid-5: same").tables) == 1


def test_a_scenario_that_failed_says_why_and_has_no_table():
    found = section(GATE, "t-maze: inconclusive")
    assert found.text[0] == "Could not be measured: the worker died of signal 9"
    assert found.tables == ()


def test_a_ratio_that_was_nothing_is_not_divided_by():
    odd = MetricChange("step_ratio", "ratio", "worse", was=0.0, now=0.5, change=0.5)
    assert "step_ratio worse by +0.5" in headline(gate(replace(WORSE, metrics=(odd,))))


def test_each_kind_has_its_title_and_says_what_was_replaced():
    assert gate_view(GATE).title == "gate: 4 scenarios against baseline.json"
    assert gate_view(COMPARED).title == "compare: scenarios/grid-29.yaml against a.json"
    assert section(UNCHANGED, "Baseline").text == (
        "Written to baseline.json: grid-5. Commit the file.",
    )


def test_a_self_check_says_how_often_it_would_have_cried_wolf():
    view = gate_view(SELF_CHECK)
    assert view.headline == (
        "Cut short: 1 of 59 comparisons of a scenario with itself came out worse (1.7%), 1 "
        "inconclusive; the rate of a single metric is below 21.6% (95 %), highest for step_ratio "
        "of grid-5."
    )
    (table,) = section(SELF_CHECK, "grid-5").tables
    assert table.rows == (
        ("marginal_bytes", "0", "19", "14.6%", "1", "120 B", "1.65 KB"),
        ("step_ratio", "1", "20", "21.6%", "0", "0.4", "0.375"),
        ("equivalence", "0", "20", "13.9%", "0", "-", "-"),
    )


@pytest.mark.parametrize("found", ALL, ids=lambda found: found.kind)
def test_the_terminal_keeps_to_80_columns_and_folds_no_metric(found):
    text = terminal.render(gate_view(found), width=80, color=False)
    assert max(map(len, text.splitlines())) <= 80
    for each in found.scenarios:
        assert all(re.search(rf"\b{metric.metric}\b", text) for metric in each.metrics)


CHARACTERS = st.sampled_from("ab1 |*_`<>[]/#-+.\\\n\r\t\x1b\x00\x85\u2028:") | st.characters(
    codec=None
)
TEXT = st.text(CHARACTERS, min_size=1, max_size=30).filter(str.strip)


@given(TEXT)
def test_text_from_outside_is_never_markup_in_markdown(text):
    rendered = markdown.render_view(gate_view(hostile(text)))
    harmless = markdown.render_view(gate_view(hostile("x")))
    lines, expected = rendered.splitlines(), harmless.splitlines()
    assert [kind_of(line) for line in lines if line] == [kind_of(x) for x in expected if x]
    assert not re.search(r"(?<!\\)(?:\\\\)*<", rendered)
    rendered.encode()


def kind_of(line: str) -> tuple[str, int]:
    """What a line is to Markdown: a heading, an item of a list, a row with so many cells, text."""
    cells = len(re.findall(r"(?<!\\)(?:\\\\)*\|", line))
    return re.match(r"(#+ |[-+*] |\d+[.)] |>|```|---|===|)", line)[0], cells


@given(TEXT)
def test_text_from_outside_commands_neither_rich_nor_the_terminal(text):
    rendered = terminal.render(gate_view(hostile(text)), width=80, color=False)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", rendered)
    rendered.encode()


def test_what_looks_like_markup_of_rich_is_text():
    colored = terminal.render(gate_view(hostile("[bold]x[/]:warning:")), width=200, color=True)
    assert "[bold]x[/]:warning:" in colored


def test_a_change_against_next_to_nothing_is_in_no_picture():
    odd = replace(GATE.scenarios[0].metrics[0], was=5e-324)
    report = replace(GATE, scenarios=(replace(GATE.scenarios[0], metrics=(odd,)),))
    assert gate_view(report).picture is None
    assert document.render(report)
