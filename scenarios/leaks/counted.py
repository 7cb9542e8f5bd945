"""Agents that leak what has no bytes, or not only: descriptors, threads, child processes and the
like, one function each: what `memprof leak` has to count and find the line of.

Each leaks one per population, with agent 0.
"""

import ctypes
import gc
import itertools
import logging
import mmap
import os
import socket
import subprocess
import tempfile
import threading
import warnings

from planted import Ring, model

KEPT: list[object] = []
NUMBERS = itertools.count()

_libc = ctypes.CDLL(None)


def descriptor(agent: int) -> tuple[dict, Ring]:
    """A device is opened per population and never closed; its number is lost."""
    if agent == 0:
        os.open(os.devnull, os.O_RDONLY)
    return model(), Ring()


def connection(agent: int) -> tuple[dict, Ring]:
    """KEPT keeps a socket per population."""
    if agent == 0:
        receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        receiver.bind(("127.0.0.1", 0))
        KEPT.append(receiver)
    return model(), Ring()


class Heartbeat(Ring):
    """A world that waits, in a thread of its own, for what never happens."""

    def __init__(self) -> None:
        super().__init__()
        self.stop = threading.Event()
        threading.Thread(target=self.stop.wait, daemon=True).start()


def thread(agent: int) -> tuple[dict, Ring]:
    """A thread per population that never ends."""
    return model(), Heartbeat() if agent == 0 else Ring()


def native_thread(agent: int) -> tuple[dict, Ring]:
    """The same of a thread that Python knows nothing of."""
    if agent == 0:
        _libc.pthread_create(ctypes.byref(ctypes.c_ulong()), None, _libc.pause, None)
    return model(), Ring()


def child_process(agent: int) -> tuple[dict, Ring]:
    """A child process per population that nobody ends."""
    if agent == 0:
        KEPT.append(subprocess.Popen(["sleep", "600"]))
    return model(), Ring()


def shared_segment(agent: int) -> tuple[dict, Ring]:
    """A segment of shared memory per population that is closed, and not unlinked."""
    if agent == 0:
        from multiprocessing.shared_memory import SharedMemory

        segment = SharedMemory(create=True, size=4096)
        segment.close()
    return model(), Ring()


def memory_map(agent: int) -> tuple[dict, Ring]:
    """KEPT keeps a map of this file per population."""
    if agent == 0:
        with open(__file__, "rb") as file:
            KEPT.append(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    return model(), Ring()


def temporary_file(agent: int) -> tuple[dict, Ring]:
    """A file per population that nobody removes."""
    if agent == 0:
        handle, _ = tempfile.mkstemp()
        os.close(handle)
    return model(), Ring()


def compiled_program(agent: int) -> tuple[dict, Ring]:
    """A function that JAX compiles anew per population, and KEPT keeps."""
    if agent == 0:
        import jax

        double = jax.jit(lambda number: 2 * number)
        double(1.0)
        KEPT.append(double)
    return model(), Ring()


class Island:
    """Garbage that only the collector frees, and that it keeps if it is told to."""

    def __init__(self) -> None:
        self.itself = self
        self.ground = bytearray(1000)


def uncollectable(agent: int) -> tuple[dict, Ring]:
    """An island per population that the collector puts into gc.garbage, as in debugging."""
    gc.set_debug(gc.DEBUG_SAVEALL)
    if agent == 0:
        Island()
    return model(), Ring()


def open_figure(agent: int) -> tuple[dict, Ring]:
    """A figure per population that is never closed."""
    if agent == 0:
        import matplotlib

        matplotlib.use("Agg")
        import matplotlib.pyplot

        matplotlib.pyplot.figure(figsize=(1, 1))
    return model(), Ring()


def logger(agent: int) -> tuple[dict, Ring]:
    """A logger of its own per population, under a name that changes."""
    if agent == 0:
        logging.getLogger(f"agent {next(NUMBERS)}")
    return model(), Ring()


def handler(agent: int) -> tuple[dict, Ring]:
    """A handler per population that nobody removes from its logger."""
    if agent == 0:
        logging.getLogger("planted").addHandler(logging.NullHandler())
    return model(), Ring()


def warning(agent: int) -> tuple[dict, Ring]:
    """A warning per population whose text changes: Python remembers each."""
    if agent == 0:
        warnings.warn(f"agent {next(NUMBERS)} is slow", stacklevel=1)
    return model(), Ring()


COUNTED = (
    descriptor, connection, thread, native_thread, child_process, shared_segment, memory_map,
    temporary_file, compiled_program, open_figure, logger, handler,
)  # fmt: skip


def everything(agent: int) -> tuple[dict, Ring]:
    """One of each that is counted, per population, but for warnings: to make a figure resets
    them."""
    for leak in COUNTED[1:]:
        leak(agent)
    return COUNTED[0](agent)
