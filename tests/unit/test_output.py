"""What a command does with its report, whatever it measured."""

import json
from pathlib import Path

import pytest

from memprof.cli.output import Output
from memprof.errors import LeakFound, OutputError, Undecided, UsageError
from memprof.reports.page import View
from memprof.scenario_file import load_default

VIEW = View("title", "the headline", ())


def test_the_format_is_that_of_the_option_not_of_the_files_name(report, tmp_path, capsys):
    Output(tmp_path, "case", str(tmp_path / "mine.md"), quiet=False).deliver(report(), VIEW, None)
    assert json.loads((tmp_path / "mine.md").read_text())["kind"] == "profile"
    assert (tmp_path / "mine.md").read_text() == (tmp_path / "case.json").read_text()
    assert (tmp_path / "case.md").read_text().startswith("# title")
    printed = capsys.readouterr().out
    assert "the headline" in printed
    assert f"{tmp_path}/case.json, " in printed
    assert f"{tmp_path}/mine.md" in printed


def test_a_failure_ends_the_command_after_everything_was_written(report, tmp_path, capsys):
    failure = LeakFound("case: 3.80 KB per cycle, first at Agent.prev_actions")
    with pytest.raises(LeakFound) as raised:
        Output(tmp_path, "case", "-", quiet=True).deliver(report(), VIEW, failure)
    assert raised.value is failure
    assert capsys.readouterr().out == (tmp_path / "case.json").read_text()
    assert (failure.exit_code, Undecided("too few cycles").exit_code) == (1, 3)


def test_a_file_that_cannot_be_written_is_told_but_not_before_the_measurements_failure(
    report, tmp_path
):
    (tmp_path / "file").write_text("x")
    output = Output(tmp_path / "file", "case", None, quiet=True)
    with pytest.raises(UsageError, match="cannot write"):
        output.check()
    with pytest.raises(OutputError, match="cannot write"):
        output.deliver(report(), VIEW, None)
    with pytest.raises(LeakFound):
        output.deliver(report(), VIEW, LeakFound("it leaks"))


def test_leak_has_a_scenario_of_its_own():
    loaded = load_default("leak", {"agents": 3})
    assert (loaded.scenario.name, loaded.scenario.agents, loaded.scenario.steps) == (
        "default",
        3,
        5,
    )
    assert loaded.scenario.passes == []
    assert Path(loaded.spec(()).folder).is_dir()
