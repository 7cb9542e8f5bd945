"""Text of others is text, whatever is in it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memprof.errors import ScenarioError, WorkerFailed
from memprof.render import markdown
from memprof.text import counted, cut, for_a_log, harmless, inert, one_line, raised, shown
from tests.report_views import everything

COMMANDS = "\x1b\x9b\x07\x00\u202e\u2066\ud800\ufeff\r\x7f"
KEPT = "caf\u00e9\tx\ny \U0001f600 \u200d \u05d0 '\"<&"


@pytest.mark.parametrize("command", COMMANDS, ids=ascii)
def test_what_commands_a_terminal_or_turns_text_is_shown_as_no_character(command):
    assert harmless(f"a{command}b") == "a\ufffdb"
    assert command not in str(ScenarioError("f", f"found {command}", detail=command))
    assert command not in WorkerFailed("m", detail=f"in {command}").detail
    assert command not in markdown.render_view(everything(lambda text: f"{text}{command}"))


def test_all_other_text_stays():
    assert harmless(KEPT) == KEPT


@given(st.text(st.characters(codec=None)))
def test_a_line_is_one_line_that_every_stream_takes(text):
    line = one_line(text)
    assert line == harmless(line)
    assert len(line.splitlines()) <= 1
    line.encode()


@given(st.recursive(st.none() | st.integers() | st.text(), st.lists) | st.just("\x00\u202e" * 5000))
def test_what_was_found_is_shown_in_a_short_line(value):
    assert len(shown(value)) <= 120
    assert shown(value).isprintable()


def test_what_is_long_is_cut():
    assert cut("x" * 61) == "x" * 59 + "\u2026"
    assert cut("x" * 60) == "x" * 60


@pytest.mark.parametrize("text", ["a\n::error::b", "  ::set-output name=a::b", "a ##[error]b"])
def test_a_command_in_a_log_is_none(monkeypatch, text):
    assert for_a_log(text) == text
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    first, *lines, last = for_a_log(text).splitlines()
    assert last == f"::{first.removeprefix('::stop-commands::')}::"
    assert lines == text.splitlines()
    assert for_a_log("nothing here\n") == "nothing here\n"


def test_a_command_in_a_line_is_none_where_nothing_stops_them():
    assert one_line("::error::a") == ":\ufffderror::a"
    assert inert("a\n  ::error::b\nc ##[error]d") == "a\n  :\ufffderror::b\nc ##\ufffderror]d"
    assert one_line("a::b # [c]") == "a::b # [c]"


def test_markdown_has_no_line_that_is_a_command():
    lines = markdown.render_view(everything(lambda text: f"::error::{text}")).splitlines()
    assert any("error" in line for line in lines)
    assert not [line for line in lines if line.lstrip().startswith("::")]


class Mute(Exception):
    def __str__(self):
        raise RuntimeError("no")

    __repr__ = __str__


def test_what_an_exception_says_is_had_whatever_its_code_does():
    assert raised(ValueError("x")) == "ValueError: x"
    assert raised(Mute()) == "Mute: (its message fails with RuntimeError)"
    assert len(raised(ValueError("x" * 10**6))) < 2_100


@pytest.mark.parametrize("value", [Mute(), (Mute(),), 10**5000, [10**5000]], ids=lambda each: "")
def test_what_python_cannot_write_is_shown_by_its_type(value):
    assert len(shown(value)) <= 120


def test_an_error_is_no_longer_than_anybody_reads():
    error = WorkerFailed("m" * 10**6, detail="first" + "x" * 10**6 + "last")
    assert len(str(error)) < 34_000
    assert error.detail.startswith("first")
    assert error.detail.endswith("last")
    assert "characters left out" in error.detail


def test_one_thing_is_no_several():
    assert counted(1, "agent") == "1 agent"
    assert counted(0, "agent") == "0 agents"
    assert counted(2000, "pass", "passes") == "2,000 passes"
