"""Workers that are forked from the command, which has imported what they need: NumPy's PyMDP from
the start, JAX's once it is asked for.

memprof forks some workers from a process that it starts for that (`memprof/launch/server.py`).
Here that process is a fork of the command's, and nearly all workers are forks of it. Others are
started truly: where the environment decides how Python or malloc starts, under a memory limit, to
look at all objects, and in tests that ask about imports (`whole_imports`).
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import signal
import subprocess
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any

# What takes effect when a process starts, as the parent sets it for one worker or the other.
ENVIRONMENT = {
    "PYTHONHASHSEED": "0",
    "GLIBC_TUNABLES": "glibc.malloc.tcache_count=0",
    "MALLOC_ARENA_MAX": "1",
    "OPENBLAS_NUM_THREADS": "1",
}
_kept: list[object] = []  # files of the command: a worker neither writes nor closes them


@contextlib.contextmanager
def used(starts_as_this: Callable[[Mapping[str, str]], bool]) -> Iterator[None]:
    """Fork workers from this process, where their environment lets them."""
    forks, runner = (importlib.import_module(f"memprof.launch.{n}") for n in ("forks", "runner"))
    anew = importlib.import_module("memprof.launch.anew")
    forks.subprocess = types.SimpleNamespace(**{**vars(subprocess), "Popen": _Popen})
    run_as_main = anew.run_as_main

    def run_frozen(*words: str) -> None:
        gc.freeze()  # collections of what was imported are most of a short worker's life, too
        run_as_main(*words)

    anew.run_as_main = run_frozen

    class Forks(forks.Forks):  # type: ignore[misc]
        """A server for each environment, which all workers of the command have."""

        def server_for(self, request: Any, environment: Mapping[str, str], *limits: Any) -> Any:
            whole = getattr(request, "instrument", "device") == "device"
            if not whole or "Sites" in type(request).__name__ or not starts_as_this(environment):
                return None
            with self._turn:
                key = frozenset(environment.items())
                if key not in servers:
                    servers[key] = kept.enter_context(
                        contextlib.closing(forks.Server(environment, [request.target]))
                    )
                return servers[key] if servers[key].is_ready(*limits) else None

    servers: dict[Any, Any] = {}
    with contextlib.ExitStack() as kept:
        run_worker, ours = runner.run_worker, Forks()
        runner.run_worker = lambda *given, **kw: run_worker(*given, **{**kw, "forks": ours})
        yield


class _Popen(subprocess.Popen[bytes]):
    """Forks this process in place of another that does the same."""

    def _execute_child(self, *given: Any) -> None:
        command, pass_fds, environment, stdin, written = (given[n] for n in (0, 4, 6, 10, 13))
        self.pid, self._child_created = os.fork(), True
        if self.pid:
            return self._close_pipe_fds(*given[10:16])
        code = 1
        try:
            _become(command, environment, (stdin, written, written), pass_fds)
            importlib.import_module("memprof.launch.server").main()
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else 1
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            with contextlib.suppress(BaseException):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)


def _become(
    command: list[str], environment: Mapping[str, str], streams: tuple[int, ...], left: Any
) -> None:
    """Have what the command's process would have."""
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
    _kept.extend((sys.stdin, sys.stdout, sys.stderr))
    sys.stdin, sys.stdout, sys.stderr = (
        open(number, mode, closefd=False)  # noqa: SIM115
        for number, mode in enumerate("rww")
    )
    sys.argv = command[command.index("-m") + 1 :]
