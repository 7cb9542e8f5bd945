"""A fork as a process that was started: with pages, threads and random numbers of its own.

Memory of a fork is shared, page by page, with the process that it was forked from until one of them
writes. It would then read as less than it is, and grow by being written to. So all pages are copied
beforehand, those of files mapped as they were, and others left alone. Threads that libraries have
started, and stop when a process forks, are started again: OpenBLAS does both.

Source: Linux, madvise(2), proc_pid_pagemap(5); OpenBLAS, driver/others/blas_server.c.
"""

from __future__ import annotations

import ctypes
import errno
import importlib
import importlib.util
import itertools
import mmap
import os
import sys
import tempfile
import threading
import warnings
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

_POPULATE_READ, _POPULATE_WRITE, _DONTNEED = 22, 23, 4  # MADV_*
_PROTECTIONS = {"r": 1, "w": 2, "x": 4}  # PROT_*
_PRESENT, _OF_FILE, _ALONE = 1 << 63, 1 << 61, 1 << 56  # in an entry of /proc/self/pagemap
_GONE = (errno.ENOMEM,)  # nothing is mapped there
_OPENBLAS = [(f"{a}openblas", b) for a in ("", "scipy_") for b in ("", "64_")]

_library = ctypes.CDLL(None, use_errno=True)


class Unfit(Exception):
    """Forks of this process would not be like processes that were started."""


class Origin:
    """What a process has that is to be forked: to be asked when it has imported everything.

    Raises:
        Unfit: with what forks cannot have.
    """

    def __init__(self) -> None:
        self._threads = _threads()
        _run_in_fork(lambda: None)  # libraries that know forks stop their threads here
        if _threads() > 1:
            raise Unfit(f"{_threads()} threads")
        self._pages = _Pages()
        if self._pages.copied and _run_in_fork(self.begin_anew) == 0:
            return
        raise Unfit("pages or threads cannot be had again")

    def begin_anew(self) -> None:
        """Have the same in this process, a fork of it, and random numbers and caches as a process
        has that starts."""
        self._pages.have()
        if self._threads > 1:
            _start_threads()
        if _threads() != self._threads:
            raise Unfit(f"{_threads()} threads instead of {self._threads}")
        numpy_random: Any = sys.modules.get("numpy.random")
        if numpy_random is not None:
            numpy_random.set_bit_generator(numpy_random.MT19937())
        importlib.invalidate_caches()
        tempfile.tempdir = None
        # CPython keeps the number of the thread that forked.
        vars(threading.current_thread())["_native_id"] = threading.get_native_id()


def forked() -> int:
    """As os.fork, without a word on threads: there are none."""
    for each in (sys.stdout, sys.stderr):
        each.flush()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return os.fork()


def run_as_main(module: str, *words: str) -> None:
    """What `python -P -m MODULE WORDS` does, for a MODULE that is a package, in this process."""
    spec = importlib.util.find_spec(f"{module}.__main__")
    assert spec is not None
    assert spec.origin is not None
    loader: Any = spec.loader
    main = importlib.util.module_from_spec(spec)
    main.__name__, main.__annotations__ = "__main__", {}
    sys.modules["__main__"] = main
    sys.argv = [spec.origin, *words]
    sys.orig_argv = [sys.orig_argv[0], "-P", "-m", module, *words]
    _show(sys.orig_argv)
    exec(loader.get_code(spec.name), vars(main))


class _Pages:
    """Which pages a process has.

    Attributes:
        copied: (address, bytes, protection) of those that are its own; the protection is None if
            they may be written.
        mapped: (address, bytes) of those that are a file's.
    """

    def __init__(self) -> None:
        self.copied: list[tuple[int, int, int | None]] = []
        self.mapped: list[tuple[int, int]] = []
        unwritten = []  # pages of files that nothing can have written to when they are let go of
        for first, rights, entries in _mappings():
            protection = sum(_PROTECTIONS.get(each, 0) for each in rights)
            place = first
            for kind, group in itertools.groupby(entries, _kind):
                size = mmap.PAGESIZE * sum(1 for _ in group)  # a list would stay in the heap
                if kind == "own" and rights[3] == "p":
                    self.copied.append((place, size, None if rights[1] == "w" else protection))
                elif kind == "file":
                    self.mapped.append((place, size))
                    if rights[1] != "w":
                        unwritten.append((place, size))
                place += size
        for place, size in unwritten:  # USS has pages of files that no other process maps
            _advise(place, size, _DONTNEED)

    def have(self) -> None:
        """Have such pages in this process, a fork. Memory that was freed since is left alone."""
        for place, size, protection in self.copied:
            if protection is None:
                _advise(place, size, _POPULATE_WRITE)
                continue
            address = ctypes.c_void_p(place), ctypes.c_size_t(size)
            if _library.mprotect(*address, protection | _PROTECTIONS["w"]) == 0:
                _advise(place, size, _POPULATE_WRITE)
                _library.mprotect(*address, protection)
        for place, size in self.mapped:
            _advise(place, size, _POPULATE_READ)


def _advise(place: int, size: int, advice: int) -> None:
    if _library.madvise(ctypes.c_void_p(place), ctypes.c_size_t(size), advice):
        error = ctypes.get_errno()
        if error not in _GONE:
            raise Unfit(f"madvise({advice}): {os.strerror(error)}")


def _mappings() -> Iterator[tuple[int, str, array[int]]]:
    """The address, the rights and the pages' entries of each mapping that can be read."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    table = os.open("/proc/self/pagemap", os.O_RDONLY | os.O_CLOEXEC)
    try:
        for line in lines:
            span, rights, *_, name = f"{line} ".split(" ", 5)
            if rights[0] != "r" or name.strip().startswith("[v"):  # the kernel's own
                continue
            first, last = (int(each, 16) for each in span.split("-"))
            begin, end = 8 * first // mmap.PAGESIZE, 8 * last // mmap.PAGESIZE
            yield first, rights, array("Q", os.pread(table, end - begin, begin))
    finally:
        os.close(table)


def _kind(entry: int) -> str:
    if not entry & _PRESENT:
        return ""
    if entry & _OF_FILE:
        return "file"
    return "own" if entry & _ALONE else ""  # else the kernel's page of zeros


def _run_in_fork(function: Callable[[], None]) -> int:
    """What a fork ends with that calls the function."""
    process = forked()
    if process == 0:
        try:
            function()
            os._exit(0)
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def _threads() -> int:
    return len(os.listdir("/proc/self/task"))


def _start_threads() -> None:
    """Let every OpenBLAS have its threads, which it starts again when it is told how many."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    for path in dict.fromkeys(line[line.index("/") :] for line in lines if "openblas" in line):
        library = ctypes.CDLL(path)
        for name, suffix in _OPENBLAS:
            ask = getattr(library, f"{name}_get_num_threads{suffix}", None)
            tell = getattr(library, f"{name}_set_num_threads{suffix}", None)
            if ask is not None and tell is not None:
                tell(ask())


def _show(words: list[str]) -> None:
    """Let the system's lists of processes show these words as the command's, if they have room."""
    with open("/proc/self/stat", "rb") as stream:
        fields = stream.read().rpartition(b")")[2].split()
    begin, end = int(fields[45]), int(fields[46])  # arg_start, arg_end
    text = b"".join(os.fsencode(each) + b"\0" for each in words)
    if begin and len(text) <= end - begin:
        ctypes.memmove(begin, text.ljust(end - begin, b"\0"), end - begin)
