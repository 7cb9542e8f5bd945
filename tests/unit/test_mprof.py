"""The timeline, read and drawn by memory_profiler's own tool."""

from __future__ import annotations

import os
import subprocess
import sys

import mprof as tool
import pytest
from msgspec.structs import replace

from memprof.export.profilers import mprof as render
from tests import gate_reports
from tests.unit.conftest import MIB, TIMELINE


def read(text, folder):
    path = folder / "case.dat"
    path.write_text(text)
    return tool.read_mprofile_file(str(path))


def test_mprof_reads_the_samples_and_what_was_done_for_each_size(full_report, tmp_path):
    found = read(render(full_report()), tmp_path)
    assert found["cmd_line"] == "memprof profile case (child 1: after share)\n"
    assert found["timestamp"] == [each.seconds for each in TIMELINE.samples]
    assert found["mem_usage"] == [each.rss_bytes / MIB for each in TIMELINE.samples]
    assert found["children"] == {
        "1": [(each.rss_bytes / MIB / 2, each.seconds) for each in TIMELINE.samples]
    }
    # From beginning to end; and as the samples lie on 10 MiB and 2 a second, so do these.
    assert found["func_timestamp"] == {
        "import": [[0.0, 1.25, 10.0, 12.5, 0]],
        "warm_up": [[1.25, 2.0, 12.5, 14.0, 0]],
        "4_agents": [[2.0, 3.0, 14.0, 16.0, 0]],
        "20_agents": [[3.0, 3.5, 16.0, 17.0, 0]],
    }


def test_nothing_goes_on_after_the_last_sample(full_report, tmp_path):
    found = full_report()
    short = replace(TIMELINE, samples=TIMELINE.samples[:6])  # up to 2 seconds
    before = replace(found.variants.before, timeline=short)
    found = replace(found, variants=replace(found.variants, before=before))
    functions = read(render(found), tmp_path)["func_timestamp"]
    assert list(functions) == ["import", "warm_up"]


@pytest.mark.parametrize("options", [(), ("--flame",)])
def test_mprof_plots_it(full_report, tmp_path, options):
    (tmp_path / "case.dat").write_text(render(full_report()))
    done = subprocess.run(
        [sys.executable, "-m", "mprof", "plot", *options, "-o", "case.png", "case.dat"],
        cwd=tmp_path,
        env={**os.environ, "MPLBACKEND": "Agg", "MPLCONFIGDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "case.png").read_bytes().startswith(b"\x89PNG")


def test_names_neither_end_a_line_nor_begin_one(full_report, tmp_path):
    found = full_report(name="a\nMEM 9999 1\u2028b\udce9")
    marks = (replace(TIMELINE.marks[0], label="x y\nFUNC z"), *TIMELINE.marks[1:])
    before = replace(found.variants.before, timeline=replace(TIMELINE, marks=marks))
    text = render(replace(found, variants=replace(found.variants, before=before)))
    parsed = read(text, tmp_path)
    assert len(parsed["mem_usage"]) == len(TIMELINE.samples)
    assert next(iter(parsed["func_timestamp"])) == "x_y_FUNC_z"


def test_without_a_timeline_there_is_no_file(report, full_report, tmp_path):
    assert render(report()) is None
    assert [render(each) for each in gate_reports.ALL] == [None] * len(gate_reports.ALL)
    found = full_report()
    alone = render(replace(found, variants=replace(found.variants, after=None)))
    assert read(alone, tmp_path)["cmd_line"] == "memprof profile case\n"
    assert "CHLD" not in alone
