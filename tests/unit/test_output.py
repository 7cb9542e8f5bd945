"""What a command does with its report, whatever it measured."""

import json
import os
from pathlib import Path

import pytest

from memprof.cli.options import Destination
from memprof.cli.output import Output, Question, listed
from memprof.errors import LeakFound, OutputError, Undecided, UsageError
from memprof.export.sinks import write_files
from memprof.scenario import load_default


def test_the_format_is_that_of_the_option_not_of_the_files_name(report, tmp_path, capsys):
    Output("case", Destination(str(tmp_path / "mine.md"), tmp_path)).deliver(report(), None)
    assert json.loads((tmp_path / "mine.md").read_text())["kind"] == "profile"
    assert (tmp_path / "mine.md").read_text() == (tmp_path / "case.json").read_text()
    assert (tmp_path / "case.md").read_text().startswith("# case: ")
    printed = capsys.readouterr().out
    assert "An agent costs " in printed
    assert f"{tmp_path}/case.{{json,md" in printed
    assert f"{tmp_path}/mine.md" in printed


def test_nothing_of_an_earlier_report_is_left_beside_this_one(report, tmp_path):
    (tmp_path / "case.dat").write_text("a timeline, which this report has not")
    (tmp_path / "case.txt").write_text("the user's")
    Output("case", Destination(out=tmp_path, quiet=True)).deliver(report(), None)
    assert not (tmp_path / "case.dat").exists()
    assert (tmp_path / "case.txt").exists()


def test_a_failure_ends_the_command_after_everything_was_written(report, tmp_path, capsys):
    failure = LeakFound("case: 3.80 KB per cycle, first at Agent.prev_actions")
    with pytest.raises(LeakFound) as raised:
        Output("case", Destination("-", tmp_path, quiet=True)).deliver(report(), failure)
    assert raised.value is failure
    assert capsys.readouterr().out == (tmp_path / "case.json").read_text()
    assert (failure.exit_code, Undecided("too few cycles").exit_code) == (1, 3)


def test_a_file_that_cannot_be_written_is_told_but_not_before_the_measurements_failure(
    report, tmp_path
):
    (tmp_path / "file").write_text("x")
    output = Output("case", Destination(out=tmp_path / "file", quiet=True))
    with pytest.raises(UsageError, match="cannot write"):
        output.check(Question("leak", "case"))
    with pytest.raises(OutputError, match="cannot write"):
        output.deliver(report(), None)
    with pytest.raises(LeakFound):
        output.deliver(report(), LeakFound("it leaks"))


@pytest.mark.parametrize(
    ("question", "refused"),
    [
        (Question("profile", "case"), False),
        (Question("profile", "other"), True),
        (Question("leak", "case"), True),
        (Question("gate"), True),
    ],
)
def test_a_report_of_another_question_is_never_replaced(report, tmp_path, question, refused):
    """As that of a scenario called `x-leak`, by a leak check of `x`."""
    output = Output("case", Destination(out=tmp_path, quiet=True))
    output.deliver(report(), None)
    if refused:
        with pytest.raises(
            UsageError, match=r"case\.json holds another report \(profile of case\)"
        ):
            output.check(question)
    else:
        output.check(question)
    (tmp_path / "case.json").write_text("[1]")
    output.check(question)


def test_leak_has_a_scenario_of_its_own():
    loaded = load_default("leak", {"agents": 3})
    assert (loaded.scenario.name, loaded.scenario.agents, loaded.scenario.steps) == (
        "default",
        3,
        5,
    )
    assert loaded.scenario.passes == []
    assert Path(loaded.spec(()).folder).is_dir()


def test_what_is_no_file_is_written_into_and_links_are_followed(tmp_path):
    target, link, pipe = tmp_path / "target", tmp_path / "link", tmp_path / "pipe"
    link.symlink_to(target)
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_files({link: "through", pipe: "into"})
        assert os.read(reader, 100) == b"into"
    finally:
        os.close(reader)
    assert link.is_symlink()
    assert target.read_text() == "through"
    assert pipe.is_fifo()


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="a device of Linux")
def test_a_full_device_is_an_error_and_stays_a_device():
    with pytest.raises(OutputError, match="cannot write /dev/full: No space left"):
        write_files({Path("/dev/full"): "text"})
    assert Path("/dev/full").is_char_device()


@pytest.mark.parametrize(
    ("names", "line"),
    [
        (["out.d/a.json", "out.d/a.md"], "out.d/a.{json,md}"),
        (["pkg.mod-run.json", "pkg.mod-run.md"], "pkg.mod-run.{json,md}"),
        (["g.json", "g.speedscope.json", "h.json"], "g.{json,speedscope.json}, h.json"),
    ],
)
def test_files_are_listed_as_a_shell_expands_them(names, line):
    assert listed(map(Path, names)) == line
