"""Leaves nothing of a cluster whose program has died: `python -I -S sweeper.py PARENT FOLDER`.

Ray's processes end with the program that has started them, but for some that look for their head
for a minute, and its folder stays. Here the end is told by the program's end of standard input, or
by its death. Standard library only.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import sys
import time
from collections.abc import Iterator

_LOOK_SECONDS = 1.0
_LONGEST_END = 10.0


def main() -> None:
    """Wait for the end, and clean up."""
    parent, folder = int(sys.argv[1]), sys.argv[2]
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # which are the program's
        signal.signal(each, signal.SIG_IGN)
    while os.getppid() == parent:
        ready, _, _ = select.select([0], [], [], _LOOK_SECONDS)
        if ready and not os.read(0, 1):
            break
    last = time.monotonic() + _LONGEST_END
    while (found := {*_users(folder)} - {os.getppid()}) and time.monotonic() < last:
        for process in found:
            with contextlib.suppress(OSError):
                os.kill(process, signal.SIGKILL)
        time.sleep(0.01)
    shutil.rmtree(folder, ignore_errors=True)


def _users(folder: str) -> Iterator[int]:
    """Ray's processes that have files of the folder open, as all have their logs; the program has,
    too."""
    for name in os.listdir("/proc"):
        with contextlib.suppress(OSError):
            if name.isdigit() and _is_rays(name) and _uses(name, folder):
                yield int(name)


def _is_rays(process: str) -> bool:
    with open(f"/proc/{process}/cmdline", "rb") as stream:
        command = stream.read()
    return command.startswith(b"ray::") or b"/ray/" in command


def _uses(process: str, folder: str) -> bool:
    for file in os.scandir(f"/proc/{process}/fd"):
        with contextlib.suppress(OSError):
            if os.readlink(file.path).startswith(f"{folder}/"):
                return True
    return False


if __name__ == "__main__":
    main()
