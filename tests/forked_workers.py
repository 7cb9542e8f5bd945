"""Workers that are forked from the command, which has imported what they need: NumPy's PyMDP from
the start, JAX's once it is asked for. JAX starts no device, and no thread, before its first use.

Imports, and collections among what they bring, are most of a short worker's life. A fork gets pages
of its own before it begins, so that its memory reads like that of a worker that is started. Others
are started truly: where the environment decides how Python or malloc starts, under a memory limit,
to look at all objects, and in tests that ask about imports (`whole_imports`).
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import json
import mmap
import os
import signal
import subprocess
import sys
import tempfile
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any

# What takes effect when a process starts, as the parent sets it for one worker or the other.
ENVIRONMENT = {
    "PYTHONHASHSEED": "0",
    "GLIBC_TUNABLES": "glibc.malloc.tcache_count=0",
    "MALLOC_ARENA_MAX": "1",
    "OPENBLAS_NUM_THREADS": "1",
}
_WORKER = ["-P", "-m", "memprof.worker"]
_MADV_POPULATE_WRITE = 23
_kept: list[object] = []  # files of the command: a worker neither writes nor closes them


def use(starts_as_this: Callable[[Mapping[str, str]], bool]) -> None:
    """Fork workers from this process from now on, where their environment lets them."""

    class Popen(subprocess.Popen[bytes]):
        def _execute_child(self, *given: Any) -> None:
            command, pass_fds, environment, stdin, written = (given[n] for n in (0, 4, 6, 10, 13))
            forks = command[-3:] == _WORKER and starts_as_this(environment) and _forks(stdin)
            if not forks:
                return super()._execute_child(*given)
            if _request(stdin)["spec"]["backend"] == "jax":
                importlib.import_module("pymdp.agent")
            self.pid, self._child_created = os.fork(), True
            if self.pid == 0:
                _ending(_keep, command, environment, (stdin, written, written), pass_fds)
            return self._close_pipe_fds(*given[10:16])

    start = importlib.import_module("memprof.launch.start")
    start.subprocess = types.SimpleNamespace(**{**vars(subprocess), "Popen": Popen})


def _request(stdin: int) -> Any:
    return json.loads(os.pread(stdin, os.fstat(stdin).st_size, 0))


def _forks(stdin: int) -> bool:
    request = _request(stdin)
    of_all_objects = request["job"] == "sites" or request.get("instrument", "device") != "device"
    return request["memory_limit_bytes"] is None and not of_all_objects


def _ending(function: Callable[..., int | None], *arguments: Any) -> None:
    """End this process with what the function does, and nothing of the process that it was."""
    code = 1
    try:
        code = function(*arguments) or 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        with contextlib.suppress(BaseException):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _keep(
    command: list[str], environment: Mapping[str, str], streams: Sequence[int], left: Sequence[int]
) -> None:
    """What a keeper's process does."""
    os.setsid()
    for number, each in enumerate(streams):
        os.dup2(each, number)
    for each in {int(name) for name in os.listdir("/proc/self/fd")} - {0, 1, 2, *left}:
        with contextlib.suppress(OSError):  # the one that listed them
            os.close(each)
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.SIG_DFL)
    os.environ.clear()
    os.environ.update(environment)
    tempfile.tempdir = None
    _kept.extend((sys.stdin, sys.stdout, sys.stderr))
    sys.stdin, sys.stdout, sys.stderr = (
        open(number, mode, closefd=False)  # noqa: SIM115
        for number, mode in enumerate("rww")
    )
    keeper = importlib.import_module("memprof.launch.keeper")
    work = {"execv": lambda executable, words: _ending(_work, words[-1])}
    keeper.os = types.SimpleNamespace(**{**vars(os), **work})
    sys.argv = command[command.index(keeper.__file__) :]
    keeper.main()


def _work(descriptor: str) -> int:
    """What a worker's process does."""
    sys.argv = ["memprof.worker", descriptor]
    _own_pages()
    _as_imported_here()
    gc.freeze()
    return importlib.import_module("memprof.worker.__main__").main()


def _as_imported_here() -> None:
    """What modules have of the process that imports them."""
    from memprof.instruments import heap, process

    process._process.__init__()
    _kept.append(heap._stats_file)
    heap._stats_file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115


def _own_pages() -> None:
    """Copy what is still shared with the process that this one was forked from, page by page where
    they are in memory: others would be new."""
    import numpy as np

    libc = ctypes.CDLL(None)
    with open("/proc/self/maps") as maps, open("/proc/self/pagemap", "rb", 0) as table:
        for span, rights, *_ in [line.split() for line in maps]:
            if rights != "rw-p":
                continue
            first, last = (int(each, 16) // mmap.PAGESIZE for each in span.split("-"))
            table.seek(8 * first)
            entries = np.frombuffer(table.read(8 * (last - first)), np.uint64)
            present = np.pad((entries >> np.uint64(63)).astype(np.int8), 1)
            for begin, end in np.flatnonzero(np.diff(present)).reshape(-1, 2).tolist():
                address, size = (first + begin) * mmap.PAGESIZE, (end - begin) * mmap.PAGESIZE
                libc.madvise(ctypes.c_void_p(address), ctypes.c_size_t(size), _MADV_POPULATE_WRITE)
