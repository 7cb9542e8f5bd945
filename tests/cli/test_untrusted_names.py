"""A scenario may have any name in a report that somebody else wrote: it stays a name."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from tests.conftest import ROOT
from tests.unit.test_github import parse

NAME = "<script>alert(1)</script> ../../up\n::error::told | `x` *y*"
ONE_LINE = " ".join(NAME.split())


@pytest.fixture
def reports(tmp_path):
    """The example of a profile under that name, twice; the second time, behaviour diverged."""
    report = json.loads((ROOT / "reports" / "examples" / "grid-29.json").read_text())
    report["scenario"]["name"] = NAME
    for file, verdict in (("was.json", "exact"), ("now.json", "diverged")):
        report["equivalence"]["verdict"] = verdict
        (tmp_path / file).write_text(json.dumps(report))
    return tmp_path


class Page(HTMLParser):
    """The texts of a page by element, and how many elements there are."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[str] = []
        self.texts: dict[str, str] = {}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert not [name for name, _ in attrs if name.startswith("on")]
        self.elements.append(tag)

    def handle_data(self, data: str) -> None:
        self.texts.setdefault(self.elements[-1] if self.elements else "", data)


def test_a_report_shows_it_as_text_in_every_format(memprof, reports):
    run = memprof("report", "was.json", "--out", "again")
    assert run.code == 0
    assert "\n::error::told" not in run.out.replace("\n<script>alert(1)</script>", "")
    found = Page((reports / "again" / "was.html").read_text())
    plain = Page(memprof("report", ROOT / "reports/examples/grid-29.json", "--format", "html").out)
    assert found.elements == plain.elements
    assert " ".join(found.texts["h1"].split()).startswith(f"{ONE_LINE}: 20 agents")
    markdown = (reports / "again" / "was.md").read_text()
    assert not re.search(r"(?<!\\)<", markdown)
    assert markdown.startswith("# \\<script\\>alert(1)\\</script\\> ../../up ::error::told")


def test_a_comparison_shows_it_as_text_in_junit_and_annotations(memprof, reports):
    run = memprof(
        "compare", "was.json", "now.json", "--junit", "junit.xml", "--github", GITHUB_ACTIONS="true"
    )
    assert run.code == 1
    (suite,) = ElementTree.parse(reports / "junit.xml").iter("testsuite")
    assert " ".join(suite.get("name").split()) == ONE_LINE
    assert {each.tag for each in suite.iter()} <= {
        "testsuite", "testcase", "properties", "property", "system-out", "failure", "error",
    }  # fmt: skip
    commands, stopped, report = run.out.partition("::stop-commands::")
    assert stopped
    assert "told" in report
    found = [parse(line) for line in commands.splitlines()]
    assert [each.name for each in found] == ["error"]
    assert found[0].properties["title"] == f"memprof: {NAME}: equivalence worse"


def test_a_comparisons_files_stay_in_their_folder(memprof, reports):
    memprof("compare", "was.json", "now.json", "-q", "--out", "out")
    written = {each.name for each in reports.rglob("*") if each.is_file()}
    assert len(written) == 2 + 4, "two reports, and what was written of both"
    assert {each.parent.name for each in reports.rglob("*-compare.*")} == {"out"}


def test_what_is_said_of_the_command_line_is_text(memprof):
    run = memprof("formats", "a\u202e ##[error]b", GITHUB_ACTIONS="true")
    assert run.code == 2
    assert "\u202e" not in run.err
    (line,) = [line for line in run.err.splitlines() if "##[" in line]
    before, _, after = run.err.partition(line)
    token = before.rstrip().rpartition("::stop-commands::")[2]
    assert after.strip() == f"::{token}::"
