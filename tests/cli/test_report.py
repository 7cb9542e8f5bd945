"""`memprof report`: what was measured, shown and written again."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.conftest import COMMAND
from tests.examples import EXAMPLES, reports

REPORTS = reports()


@pytest.fixture(params=REPORTS, ids=lambda file: file.stem)
def file(request):
    return request.param


def test_a_report_is_shown_as_the_command_that_made_it_shows_it(memprof, file):
    run = memprof("report", file)
    assert run.code == 0
    shown = (EXAMPLES / f"{file.stem}.md").read_text().split("\n")
    assert run.out.split("\n")[1] == shown[0].removeprefix("# ")
    assert max(map(len, run.out.split("\n"))) <= 80
    assert "\x1b" not in run.out, "a pipe has no colours"


def test_all_formats_are_written_and_the_json_is_the_same_report(memprof, file):
    run = memprof("report", file, "--out", "again")
    assert run.code == 0
    assert run.out.startswith(f"Written: again/{file.stem}.{{json,md,html")
    folder = run.folder / "again"
    assert json.loads((folder / file.name).read_text()) == json.loads(file.read_text())
    for again in folder.iterdir():
        committed = (EXAMPLES / again.name).read_text()
        assert again.read_text() == committed, "python -m tests.examples --shown renders it anew"
    assert (folder / f"{file.stem}.html").stat().st_size < 5_000_000
    shown = memprof("report", file, "--format", "markdown")
    assert shown.out == (folder / f"{file.stem}.md").read_text()


def test_standard_input_will_do(memprof):
    file = REPORTS[0]
    run = memprof("report", "-", "--html", "page.html", stdin=file.read_text())
    assert run.out == "Written: page.html\n"
    assert (run.folder / "page.html").read_text().startswith("<!doctype html>")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("missing.json",), "missing.json: No such file or directory"),
        ((EXAMPLES / "bench.json",), "schema: expected memprof.report/2, but there is none"),
        ((EXAMPLES / "grid-29.md",), "expected JSON as memprof writes it"),
        ((REPORTS[0], "--format", "htlm"), "--format: unknown format 'htlm'; did you mean 'html'?"),
        ((REPORTS[0], "--html", "."), "cannot write .: it is a folder"),
    ],
)
def test_what_is_no_report_or_no_format_is_told(memprof, arguments, message):
    run = memprof("report", *arguments)
    assert run.code == 2
    assert message in run.err
    assert run.err.count("\n") == 1
    assert not run.out


def test_passes_that_this_memprof_does_not_know_are_still_reported(memprof):
    text = (EXAMPLES / "grid-29.json").read_text().replace('"pool"', '"recompute"')
    run = memprof("report", "-", stdin=text)
    assert run.code == 0, run.err
    assert "in the scenario:\n    passes: [share, recompute, template]" in run.out


def test_a_page_on_standard_output_and_one_that_is_full(memprof):
    run = memprof("report", REPORTS[0], "--html", "-")
    assert run.out.startswith("<!doctype html>")
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*COMMAND, "report", REPORTS[0]], stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert done.returncode == 3
    assert done.stderr == b"memprof: cannot write to standard output: No space left on device\n"
