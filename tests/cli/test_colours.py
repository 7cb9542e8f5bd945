"""What a report looks like depends on where it goes: a terminal, one without colours, a pipe."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import termios

import pytest

from tests.conftest import COMMAND, ROOT

REPORT = ROOT / "reports" / "examples" / "prev-actions-leak-steps.json"


def on_a_terminal(width: int, **environment: str) -> str:
    """What `memprof report` writes to a terminal of that many columns."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "TERM", "TTY_COMPATIBLE")
    }
    with subprocess.Popen(
        [*COMMAND, "report", str(REPORT)],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**kept, "TERM": "xterm-256color", **environment},
    ) as process:
        os.close(theirs)
        written = b""
        while read := _read(ours):
            written += read
    os.close(ours)
    assert process.returncode == 0
    return written.decode().replace("\r\n", "\n")


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # what Linux says once nobody writes any more
        return b""


def test_a_terminal_has_colours():
    assert "\x1b[1;36mSites" in on_a_terminal(80)


@pytest.mark.parametrize(
    ("width", "environment"),
    [(80, {"NO_COLOR": "1"}), (40, {"NO_COLOR": "1"}), (80, {"TERM": "dumb"})],
)
def test_one_that_wants_none_has_none_and_lines_of_its_width(width, environment):
    text = on_a_terminal(width, **environment)
    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) <= width
    assert "agent and cycle; first at Agent.prev_actions." in " ".join(text.split())


def test_a_pipe_has_none_and_eighty_columns(memprof):
    run = memprof("report", REPORT, TERM="xterm-256color")
    assert "\x1b" not in run.out + run.err
    assert 60 < max(map(len, run.out.splitlines())) <= 80
