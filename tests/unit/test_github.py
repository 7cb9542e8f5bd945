"""Annotations as GitHub's runner reads them, and the job's summary."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from memprof.gate import ci
from memprof.text import for_a_log, harmless
from memprof.values.gate import GateReport
from memprof.values.report import Caution
from tests.gate_reports import BETTER, FAILED, GATE, SELF_CHECK, UNCHANGED, WORSE

# In the order in which the runner undoes them: actions/runner, src/Runner.Common/ActionCommand.cs.
DATA = (("%0D", "\r"), ("%0A", "\n"), ("%25", "%"))
PROPERTY = (("%0D", "\r"), ("%0A", "\n"), ("%3A", ":"), ("%2C", ","), ("%25", "%"))


@dataclass
class Command:
    name: str
    properties: dict[str, str]
    data: str


def unescape(text: str, mappings: tuple[tuple[str, str], ...]) -> str:
    for escaped, token in mappings:
        text = text.replace(escaped, token)
    return text


def parse(line: str) -> Command:
    """What the runner makes of a line of output, by the rules of `ActionCommand.TryParseV2`."""
    line = line.lstrip()
    assert line.startswith("::")
    head, separator, data = line[2:].partition("::")
    assert separator
    name, _, rest = head.partition(" ")
    properties = {}
    for each in filter(None, rest.strip().split(",")):
        key, _, value = each.partition("=")
        value = value.lstrip("=")  # the runner drops empty parts, and with them what parts them
        if value:
            properties[key] = unescape(value, PROPERTY)
    return Command(name, properties, unescape(data, DATA))


def commands(report: GateReport) -> list[Command]:
    """The runner reads lines up to CR, LF or both."""
    text = ci.github_annotations(report).replace("\r\n", "\n").replace("\r", "\n")
    return [parse(line) for line in text.split("\n") if line]


def test_what_is_worse_or_unknown_is_an_error_and_what_is_better_a_notice():
    found = [(each.name, each.properties["title"]) for each in commands(GATE)]
    assert found == [
        ("error", "memprof: grid-29: marginal_bytes worse"),
        ("error", "memprof: grid-29: peak_bytes inconclusive"),
        ("error", "memprof: grid-29: step_ratio worse"),
        ("error", "memprof: grid-29: equivalence worse"),
        ("error", "memprof: t-maze could not be measured"),
        ("warning", "memprof: grid-29: environment"),
        ("notice", "memprof: grid-29: fixed_bytes better"),
        ("notice", "memprof: grid-10: fixed_bytes better"),
    ]


def test_an_annotation_is_at_the_scenarios_file_with_figures_and_components():
    first = commands(GATE)[0]
    assert first.properties["file"] == "scenarios/grid-29.yaml"
    assert first.data.startswith("marginal_bytes worse by +28.3 MB per agent (B: +28.3 MB private")
    assert "now: 28.3 MB (28.2 MB .. 28.4 MB)" in first.data.splitlines()
    (failed,) = commands(GateReport(baseline="b", scenarios=(replace(FAILED, file=""),)))
    assert "file" not in failed.properties
    assert failed.data == "the worker died of signal 9"


def test_what_is_as_before_is_not_annotated():
    assert ci.github_annotations(UNCHANGED) == ""
    assert ci.github_annotations(SELF_CHECK) == ""


TEXT = st.text(
    st.characters(codec="utf-8") | st.sampled_from("%:,=\r\n\x85\u2028 25ADC"), min_size=1
) | (
    st.sampled_from(
        ["\n::error::x", "::", "%0A::error::x", "%250A", "\r\n##[add-mask]x", "a=b,c=d"]
    )
)


@given(TEXT, TEXT)
def test_any_text_reaches_the_reader_as_it_was_and_is_no_command(text, file):
    detail = (replace(BETTER.metrics[0], verdict="worse", change=None, detail=text),)
    scenario = replace(
        BETTER, name=text, file=file, metrics=detail, warnings=(Caution(text, text, text),)
    )
    worse, warning = commands(GateReport(baseline="baseline.json", scenarios=(scenario,)))
    assert worse.name == "error"
    text = harmless(text)
    assert worse.properties.get("file", "") == harmless(file.lstrip("="))
    assert worse.properties["title"] == f"memprof: {text}: fixed_bytes worse"
    assert worse.data.endswith(text)
    assert (warning.name, warning.data) == ("warning", f"{text}; {text}")
    (failed,) = commands(
        GateReport(baseline="b", scenarios=(replace(FAILED, name=text, failure=text),))
    )
    assert failed.data == text


def test_a_text_in_the_log_commands_nothing(monkeypatch):
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    first, *lines = for_a_log("one\n::error::two\n").splitlines()
    token = first.removeprefix("::stop-commands::")
    assert len(token) > 30
    assert lines == ["one", "::error::two", f"::{token}::"]


def test_a_path_that_is_no_unicode_can_be_printed():
    report = GateReport(
        baseline="b", scenarios=(replace(WORSE, file="caf\udce9.yaml", name="caf\udce9"),)
    )
    assert commands(report)[0].properties["file"] == "caf\ufffd.yaml"
    ci.github_annotations(report).encode()
    ci.summary(report).encode()


def test_the_summary_is_the_report_in_markdown():
    text = ci.summary(GATE)
    assert text.startswith("# gate: 4 scenarios against baseline.json\n")
    assert "| marginal\\_bytes | 14.7 KB | 28.3 MB | +28.3 MB | 735 B | worse |" in text


@pytest.mark.parametrize("name", ["grid", "gríd"])
def test_a_summary_that_is_too_long_is_cut_between_lines_and_says_so(name):
    many = [replace(WORSE, name=f"{name}-{number}", seconds=0.0) for number in range(1_000)]
    whole = ci.summary(GateReport(baseline="b", scenarios=tuple(many[:5])))
    text = ci.summary(GateReport(baseline="b", scenarios=tuple(many)))
    assert 990_000 < len(text.encode()) < 2**20
    kept, cut, _ = text.rpartition("\n**The summary is truncated")
    assert cut
    assert "truncated" not in whole
    last = kept.splitlines()[-1]
    assert not last.startswith("|") or last.endswith("|")


def test_a_line_longer_than_the_summary_is_left_out_whole():
    text = ci.summary(GateReport(baseline="b", scenarios=(replace(FAILED, failure="x" * 2**21),)))
    assert text.startswith("# gate: 1 scenario against b\n")
    assert len(text) < 1_000
