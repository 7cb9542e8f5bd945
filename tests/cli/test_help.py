"""`memprof help`, and what a shell completes."""

import os
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT


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
