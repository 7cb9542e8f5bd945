"""Commands in processes that are forked from one that has imported them.

Each is as fresh as one that a shell starts, but for the third of a second that its imports take.
What decides on how Python itself starts, or on how a terminal is taken, is not asked again: where
it has changed, or the parent's side is what is tested, tests start the command truly.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache, partial
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext
from pathlib import Path
from unittest import mock

from tests import forked_workers

_AT_START = (
    *("PYTHON", "LC_", "LANG", "LD_", "MALLOC_", "GLIBC_", "TCMALLOC_", "MIMALLOC_"),
    *("TERM", "COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "PY_COLORS", "TTY_", "GITHUB_ACTIONS"),
)
_LEAN = str(Path(__file__).parent / "lean")
session_environment = dict(os.environ)


def serves(environment: Mapping[str, str]) -> bool:
    """Whether a command in this environment starts as it would by itself. Outside a test session,
    whose processes import PyMDP lean, none is served: figures are those of true processes."""
    in_session = _LEAN in session_environment.get("PYTHONPATH", "").split(os.pathsep)
    return in_session and _at_start(environment) == _at_start(session_environment)


def run(
    module: str,
    arguments: Sequence[str],
    folder: Path,
    environment: Mapping[str, str],
    stdin: str,
    timeout: float,
) -> tuple[int, str, str]:
    """What `python -P -m MODULE ARGUMENTS` ends with, and what it says on both streams.

    Raises:
        subprocess.TimeoutExpired: it takes longer than so many seconds.
    """
    with tempfile.TemporaryDirectory(prefix="memprof-tests-") as name:
        streams = [Path(name) / each for each in ("in", "out", "err")]
        streams[0].write_text(stdin)
        files = [str(each) for each in streams]
        given = (module, list(arguments), str(folder), dict(environment), files)
        process = _server().Process(target=_command, args=given)
        process.start()
        process.join(timeout)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired(list(arguments), timeout)
        return process.exitcode, streams[1].read_text(), streams[2].read_text()


@cache
def _server() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.preloaded", __name__])
    with mock.patch.dict(os.environ, forked_workers.ENVIRONMENT):
        forkserver.ensure_running()
    return context


def _command(
    module: str,
    arguments: list[str],
    folder: str,
    environment: dict[str, str],
    streams: list[str],
) -> None:
    importlib.import_module("tests.preloaded")  # an error of its is not told by the server
    for number, (file, mode) in enumerate(
        zip(streams, (os.O_RDONLY, *[_WRITTEN] * 2), strict=True)
    ):
        opened = os.open(file, mode)
        os.dup2(opened, number)
        os.close(opened)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    tempfile.tempdir = None
    tests, given = Path(__file__).parent, environment.get("PYTHONPATH", "").split(os.pathsep)
    added = {str(tests), str(tests.parent)} - {*given}  # by pytest
    sys.path[:] = [each for each in sys.path if each not in added]
    for name in [each for each in sys.modules if each.partition(".")[0] == "tests"]:
        del sys.modules[name]  # another program may have a package of this name
    sys.argv = [module, *arguments]
    with forked_workers.used(partial(_starts_as, environment)):
        runpy.run_module(module, run_name="__main__", alter_sys=True)


_WRITTEN = os.O_WRONLY | os.O_CREAT | os.O_TRUNC


def _starts_as(command: Mapping[str, str], environment: Mapping[str, str]) -> bool:
    """Whether a worker in this environment starts as the process it would be forked from did."""
    own = forked_workers.ENVIRONMENT
    return _at_start({**command, **own}) == _at_start({**environment, **own})


def _at_start(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith(_AT_START)}
