"""The command's entry: the one place where errors and signals become messages and exit codes.

Nothing is imported before signals are in hand: from then on Ctrl-C never ends in a traceback.
"""

from __future__ import annotations

import os
import signal
import sys

_INTERRUPTED = 130
# Ctrl-C, a server's or CI's way to end a job, a terminal that closes, Ctrl-\, ulimit -t.
_ENDING = ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGXCPU")
# What the command itself needs, workers apart, of data and of address space.
_LEAST_DATA, _LEAST_VIRTUAL = 60 * 10**6, 150 * 10**6


def main() -> None:
    """Run the command. Reported errors end with their exit code; a bug keeps its traceback."""
    _on_signals(_give_up)
    _without_prompt()
    from memprof.export import sinks

    sinks.make_safe()
    code = _run()
    _on_signals(signal.SIG_IGN)  # there is nothing left to interrupt
    sys.exit(sinks.finish(code))


def _run() -> int:
    """The command's exit code; what went wrong is said."""
    import errno

    from memprof.errors import MemprofError

    try:
        _check_limits()
        from memprof.cli.commands import app

        sys.unraisablehook = _again
        _on_signals(_interrupt)
        app()
    except MemprofError as error:
        detail = f"\n\n{error.detail.rstrip()}" if error.detail else ""
        return _said(f"{error}{detail}", error.exit_code)
    except KeyboardInterrupt:
        return _said("interrupted", _INTERRUPTED)
    except MemoryError:
        return _said("memprof itself ran out of memory; raise its limit (ulimit -d, -v)", 3)
    except OSError as error:
        if error.errno not in (errno.EMFILE, errno.ENFILE):
            return _bug()
        return _said(f"{error.strerror}; raise the limit of open files (ulimit -n)", 3)
    except SystemExit as end:  # Typer's way to end, with a message of its own but for Ctrl-C
        if end.code == _INTERRUPTED and type(end) is SystemExit:
            return _said("interrupted", _INTERRUPTED)
        return end.code if isinstance(end.code, int) else 0
    except Exception:
        return _bug()
    return 0


def _without_prompt() -> None:
    """Start again if Python is to ask for commands at the end, which makes every exit code 1."""
    if os.environ.pop("PYTHONINSPECT", ""):
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def _check_limits() -> None:
    """See that the limits of whoever started it leave the command itself enough memory.

    Raises:
        MemoryLimitReached: Python would end in the middle of an import, in many ways.
    """
    from memprof.posix import rlimit_bytes

    for kind, option, least in (("DATA", "-d", _LEAST_DATA), ("AS", "-v", _LEAST_VIRTUAL)):
        limit = rlimit_bytes(kind)
        if limit is not None and limit < least:
            from memprof.errors import MemoryLimitReached
            from memprof.text import format_size

            raise MemoryLimitReached(
                f"the memory limit of {format_size(limit)} that memprof was started with "
                f"(ulimit {option}) is too low for memprof itself; raise it to "
                f"{format_size(least)} or more"
            )


def _bug() -> int:
    import traceback

    return _said(f"this is a bug in memprof\n\n{traceback.format_exc().rstrip()}", 3)


def _said(message: str, code: int) -> int:
    from memprof.text import harmless

    print(harmless(f"memprof: {message}\n"), end="", file=sys.stderr)
    return code


def _on_signals(handler: object) -> None:
    """From now on, for all signals that end a command; those that whoever started it ignores, as
    nohup does, stay ignored."""
    for name in _ENDING:
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handler)  # type: ignore[arg-type]
    if hasattr(signal, "SIGCHLD"):
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # else workers vanish without an exit code


def _give_up(number: int, frame: object) -> None:
    """While nothing has begun: end at once."""
    try:
        os.write(2, b"memprof: interrupted\n")
    finally:
        os._exit(_INTERRUPTED)


def _interrupt(number: int, frame: object) -> None:
    """End as on Ctrl-C, so that workers and temporary files go too."""
    raise KeyboardInterrupt


def _again(lost: sys.UnraisableHookArgs) -> None:
    """An interruption that came in a callback, from which Python lets nothing out."""
    if issubclass(lost.exc_type, KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    else:
        sys.__unraisablehook__(lost)
