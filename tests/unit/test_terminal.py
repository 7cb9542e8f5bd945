"""Every kind of report on terminals of any width, with and without colours."""

from __future__ import annotations

import re

import pytest
from rich.cells import cell_len

from memprof.render import Table
from memprof.render.terminal import render, render_table
from tests.report_views import KINDS, everything, views


@pytest.mark.parametrize("width", [80, 60, 40])
@pytest.mark.parametrize("kind", KINDS)
def test_a_report_keeps_to_the_width_and_says_all_of_it(kind, width):
    view = views()[kind]
    text = render(view, width=width, color=False)
    code = view.next.code.splitlines() if view.next else ()
    lines = [line for line in text.splitlines() if line.strip() not in map(str.strip, code)]
    assert max(map(cell_len, lines)) <= width, "only lines to be copied may be longer"
    assert "\x1b" not in text
    said = "".join(text.split())
    for section in view.sections:
        assert "".join(section.title.split()) in said
        for line in section.text:
            assert "".join(line.split()) in said
    cells = {
        cell
        for section in view.sections
        for table in section.tables
        if table.kind == "figures"
        for row in table.rows
        for cell in row[1:]
    }
    lines = {" ".join(line.split()) for line in text.splitlines()}
    cut = {cell for cell in cells if not any(cell in line for line in lines)}
    assert cut == set(), "figures are whole"


@pytest.mark.parametrize("kind", KINDS)
def test_colours_change_no_letter(kind):
    view = views()[kind]
    colored = render(view, width=80, color=True)
    assert "\x1b[" in colored
    assert re.sub(r"\x1b\[[0-9;]*m", "", colored) == render(view, width=80, color=False)


def test_names_command_no_terminal():
    hostile = "\x1b]0;title\x07 \x1b[2J [bold red]x[/] :warning: \r\x9b31m \ud800"
    text = render(everything(lambda _: hostile), width=200, color=False)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\ud800-\udfff]", text)
    assert "[bold red]x[/] :warning:" in text


def test_a_name_that_is_too_long_goes_on_after_a_dot():
    name = "my_service.sessions.registry.SessionRegistry._callbacks"
    rows = ((name, "12.8 KB", "my_service.sessions.Session", "see docs/reports.md, 1.5 times"),)
    table = Table("", ("site", "per cycle", "type", "remark"), rows, "prose")
    lines = render_table(table, width=76).split("\n")[3:]
    words = [line[:20].strip() for line in lines]
    assert "".join(words) == name
    assert all(word.endswith(".") for word in words[:-1])
    assert "docs/reports.md" in "\n".join(lines), "a sentence has spaces"
