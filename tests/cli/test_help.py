"""`memprof help`, and what a shell completes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from memprof.cli.commands import app
from memprof.render.terminal import SCREEN_LINES
from tests.conftest import ROOT

COMMANDS = get_command(app).commands


def test_every_page_of_the_documentation_is_a_topic(memprof):
    listed = memprof("help").out
    for page in (ROOT / "docs").glob("*.md"):
        title = page.read_text().partition("\n")[0].lstrip("# ")
        assert f"{page.stem} " in listed
        assert title in listed


def test_a_page_is_shown_without_its_marks(memprof):
    run = memprof("help", "glossary")
    assert run.code == 0, run.err
    assert "marginal cost" in run.out
    assert "| ---" not in run.out


def test_a_command_is_a_topic_too(memprof):
    assert memprof("help", "doctor").out == memprof("doctor", "--help").out


def test_an_unknown_topic_is_named_with_the_nearest(memprof):
    run = memprof("help", "leeks")
    assert run.code == 2
    assert "unknown topic 'leeks'; did you mean 'leaks'?" in run.err


def test_shells_complete_commands():
    words = {"_MEMPROF_COMPLETE": "complete_bash", "COMP_WORDS": "memprof pro", "COMP_CWORD": "1"}
    script = Path(sys.executable).with_name("memprof")
    done = subprocess.run(
        [script], env=os.environ | words, capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == ["profile"], done.stderr


@pytest.mark.parametrize("width", [80, 100])
@pytest.mark.parametrize("name", COMMANDS)
def test_what_a_command_takes_fits_a_screen(name, width):
    shown = CliRunner().invoke(app, [name, "--help"], env={"COLUMNS": str(width)})
    assert shown.exit_code == 0
    lines = shown.output.splitlines()
    assert len(lines) <= SCREEN_LINES
    assert max(map(len, lines)) <= width


def test_the_list_of_commands_says_what_each_is_for():
    shown = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "80"}).output
    assert all(f"  {name} " in shown for name in COMMANDS)
    assert "..." not in shown.partition("Commands:")[2], "cut off in the middle"


@pytest.mark.parametrize("name", ["passes", "models", "instruments", "formats"])
def test_lists_are_as_wide_as_the_terminal(memprof, name):
    lines = memprof(name, COLUMNS="60").out.splitlines()
    assert max(map(len, lines)) <= 60
    assert " ".join(memprof(name).out.split()) == " ".join(" ".join(lines).split())
