"""The user's program, watched: `python -P -m memprof.run.program EVENTS LIMIT SITES FOLDER KIND
TARGET ARGUMENT...`, where LIMIT is of its data in bytes, or 0, SITES is `sites` or `-`, processes
that the program starts leave what they see in FOLDER, and KIND is `script`, `module`, or `kernel`
for that of a notebook.

It runs as it would without memprof: as `__main__`, with its own arguments, output and exit code,
and no frame of ours in its tracebacks. What is seen goes to the descriptor EVENTS, a line of JSON
for all of it, again after every look, so that memprof has it however the program ends.
"""

from __future__ import annotations

import atexit
import io
import os
import runpy
import sys
import threading
import types
from collections.abc import Callable
from functools import partial
from importlib.machinery import SourceFileLoader
from pathlib import Path

import msgspec

from memprof.posix import limit_data
from memprof.run.target import SITES
from memprof.values.watch import Said
from memprof.watching.observer import Observer
from memprof.watching.processes import follow
from memprof.watching.sites import KeptLines

INTERRUPTED = 130


def main() -> None:
    """Run it, and say what was seen."""
    events, limit, sites, folder, kind, target, *arguments = sys.argv[1:]
    if int(limit):
        limit_data(int(limit))
    report = _Report(int(events))
    watching = Observer(on_look=report.say, sites=KeptLines() if sites == SITES else None)
    watching.start()
    follow(watching, Path(folder))
    atexit.register(report.say_at_the_end, watching)  # the first to register is called last
    sys.argv = [target, *arguments]
    try:
        if kind == "kernel":
            _run_kernel(target, partial(report.say_at_the_end, watching))
        else:
            _run(kind, target)
    except SystemExit:
        raise
    except BaseException as error:
        _show(error)
        sys.exit(INTERRUPTED if isinstance(error, KeyboardInterrupt) else 1)


class _Report:
    """The way to memprof. Forks of the program have no part in it."""

    def __init__(self, descriptor: int) -> None:
        os.set_inheritable(descriptor, False)
        self._descriptor, self._process = descriptor, os.getpid()
        self._speaking = threading.Lock()

    def say(self, watching: Observer) -> None:
        """Send all that is known until now."""
        self._say(watching, wait=False)

    def _say(self, watching: Observer, *, wait: bool) -> None:
        if os.getpid() != self._process or not self._speaking.acquire(blocking=wait):
            return  # another thread is just saying it
        try:
            data = msgspec.json.encode(Said(watching.watched())) + b"\n"
            while data:
                data = data[os.write(self._descriptor, data) :]
        except OSError:
            pass  # nobody listens any more; the program goes on
        finally:
            self._speaking.release()

    def say_at_the_end(self, watching: Observer) -> None:
        """The program's own exit functions have run."""
        if os.getpid() == self._process:
            watching.end()
            self._say(watching, wait=True)


def _run(kind: str, target: str) -> None:
    """As `python TARGET` or `python -m TARGET` does."""
    main = types.ModuleType("__main__")
    sys.modules["__main__"] = main
    main.__dict__.update(__builtins__=__builtins__, __annotations__={})
    if kind == "module":
        sys.path.insert(0, os.getcwd())
        runpy._run_module_as_main(target)  # type: ignore[attr-defined]
        return
    path = Path(target)
    if not path.is_file() or _is_archive(path):
        sys.path.insert(0, target)
        runpy._run_module_as_main("__main__", alter_argv=False)  # type: ignore[attr-defined]
        return
    sys.path.insert(0, str(path.resolve().parent))
    file = os.path.abspath(target)
    main.__dict__.update(
        __file__=file, __cached__=None, __loader__=SourceFileLoader("__main__", file)
    )
    with io.open_code(file) as stream:
        source = stream.read()
    exec(compile(source, file, "exec", dont_inherit=True), main.__dict__)


def _run_kernel(launcher: str, at_the_end: Callable[[], None]) -> None:
    """As `python -m ipykernel_launcher` does. Its shell forgets all variables when it ends, but
    not before what was registered later has run."""
    from importlib.util import find_spec

    from ipykernel.kernelapp import IPKernelApp

    spec = find_spec(launcher)
    sys.argv[0] = (spec and spec.origin) or launcher
    kernel = IPKernelApp.instance()
    kernel.initialize()  # type: ignore[no-untyped-call]
    atexit.register(at_the_end)
    kernel.start()  # type: ignore[no-untyped-call]


def _is_archive(path: Path) -> bool:
    import zipfile

    return zipfile.is_zipfile(path)


def _show(error: BaseException) -> None:
    """Its traceback, as Python shows it, from the program's own first line on."""
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_frame.f_code.co_filename == __file__:
        traceback = traceback.tb_next
    error.__traceback__ = traceback
    sys.last_type, sys.last_value, sys.last_traceback = type(error), error, traceback
    sys.excepthook(type(error), error, traceback)


if __name__ == "__main__":
    main()
