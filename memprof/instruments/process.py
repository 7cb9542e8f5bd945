"""How much memory this process has, by the operating system's word: private, resident, mapped, at
its peak.

Each reading is tried in this process before it is trusted (`left_out`): what does not move by
memory of known size is None ever after, and named in the report.
"""

from __future__ import annotations

import contextlib
import gc
import os
import re
import sys
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import psutil
from msgspec.structs import replace

from memprof.errors import MeasurementError
from memprof.instruments import MappedPages, failure, failures, heap
from memprof.instruments.graph import has_finalizer
from memprof.posix import PAGE_BYTES, somebody_froze
from memprof.values.instruments import UNSEEN, Calibration, Reading

_SELF = Path("/proc/self")
_STATUS = _SELF / "status"
_ROLLUP = _SELF / "smaps_rollup"
_SMAPS = _SELF / "smaps"
_CLEAR_REFS = _SELF / "clear_refs"
_SIZES = re.compile(r"^(\w+):\s+(\d+) kB$", re.MULTILINE)

clear_type_cache: Callable[[], None] = getattr(
    sys, "_clear_internal_caches", getattr(sys, "_clear_type_cache", lambda: None)
)

_TRIED_MAPPING = 4 * 2**20
_TOUCHED = 3
"""Of other memory, the process may take some meanwhile; hardly each time."""


@cache
def _process() -> psutil.Process:
    return psutil.Process()


def _forget() -> None:
    """A fork is a process of its own, and tries its readings by itself."""
    _process.cache_clear()
    left_out.cache_clear()
    grain_bytes.cache_clear()
    heap.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


class _Garbage:
    """Garbage ends after a few collections, unless each makes it anew, as finalizers can: then a
    few have to do, always as many, so that always as much is left.

    Attributes:
        endless: it did not end.
        finalizers: the classes that then have things collected and made anew, by what makes them.
        frozen: somebody froze objects; counting them takes as long as there are many, so that who
            froze once is taken to do so for good.
    """

    _MOST, _FEW = 30, 3

    def __init__(self) -> None:
        self.endless = self.frozen = False
        self.finalizers: tuple[str, ...] = ()

    def collect(self) -> None:
        for _ in range(self._FEW if self.endless else self._MOST):
            if not gc.collect():
                return
        if not self.endless:
            self.endless, self.finalizers = True, _made_anew()


def _made_anew() -> tuple[str, ...]:
    """Finalizers of classes of which a collection frees things, and there are such again."""
    before = {weakref.ref(thing): type(thing) for thing in _with_finalizers()}
    gc.collect()
    freed = {kind for reference, kind in before.items() if reference() is None}
    found = {type(thing) for thing in _with_finalizers()} & freed
    return tuple(sorted(f"{kind.__qualname__}.__del__" for kind in found))


def _with_finalizers() -> Iterator[Any]:
    for thing in gc.get_objects():
        if type(thing).__weakrefoffset__ and has_finalizer(type(thing)):
            yield thing


_garbage = _Garbage()


def settle() -> None:
    """Free what is garbage, then trim the heap, so that the system has back what is free."""
    collect()
    heap.tried().malloc.give_back()


def collect() -> None:
    """Collect garbage until nothing more is freed, and empty CPython's cache of type attributes.

    That cache has 4,096 places, by the address of an attribute's name, and NumPy looks attributes
    up by names that it has just made: hundreds of kilobytes of dead strings gather there, over
    thousands of steps.
    """
    _garbage.collect()
    clear_type_cache()


@cache
def left_out() -> dict[str, str]:
    """Readings of this process that are not to be trusted, the heap's among them, and why: each is
    tried once, at the start of a job or when one is first asked for."""
    accounts = heap.tried().left_out
    found = {
        "peak": failure(_highest_lately, _Peak(), _TRIED_MAPPING),
        "shared memory": failure(
            lambda: _of_system().private_bytes,
            MappedPages(_TRIED_MAPPING, shared=True),
            _TRIED_MAPPING,
        ),
        **failures(_sizes, MappedPages(_TRIED_MAPPING), _TRIED_MAPPING),
    }
    return {**accounts, **{name: why for name, why in found.items() if why}}


def calibration(**others: str) -> Calibration:
    """What the readings of this process are worth, until now; `others` are readings of other
    instruments, and why they are not to be trusted, empty if they are."""
    malloc = heap.tried()
    untrusted = {**left_out(), **{name: why for name, why in others.items() if why}}
    instead = {"python"} if malloc.native_has_objects else set()
    # Memory that no reading tells of, but for whole pages of the process.
    unseen = tuple(UNSEEN[n] for n in UNSEEN if n in untrusted and n not in instead)
    return Calibration(malloc.malloc.name, untrusted, unseen, _garbage.endless, _garbage.finalizers)


@cache
def grain_bytes() -> int:
    """By how much private memory grows when one byte of a new mapping is touched: by a page, or by
    what the system hands out at once, as with huge pages and in gVisor."""
    middle = _TRIED_MAPPING // 2
    page = MappedPages(_TRIED_MAPPING, touched=range(middle, middle + 1))
    found = []
    for _ in range(_TOUCHED):
        before = _of_system().private_bytes
        page.take()
        found.append(_of_system().private_bytes - before)
        page.free()
    return max(PAGE_BYTES, min(found))


def expect_process() -> None:
    """Try all readings.

    Raises:
        MeasurementError: the system does not tell how much memory the process has.
    """
    why = left_out().get("process")
    if why:
        raise MeasurementError(
            f"the memory of a process cannot be read here: {why}; expected smaps_rollup, smaps or "
            "statm in /proc/self; run memprof where one of them can be read"
        )


class _Peak:
    """A mapping that has gone again when it is asked about."""

    def take(self) -> None:
        mapping = MappedPages(_TRIED_MAPPING)
        mapping.take()
        mapping.free()

    def free(self) -> None:
        _forget_peak()


def _sizes() -> dict[str, int | None]:
    """Readings that move alike when memory is mapped and touched."""
    reading, kernel = _of_system(), _status()
    return {
        "process": reading.private_bytes,
        "uss": reading.uss_bytes,
        "data segment": kernel.get("VmData"),
        "address space": kernel.get("VmSize"),
    }


def _highest_lately() -> int | None:
    return _status().get("VmHWM")


def clear_free_lists() -> None:
    """Give the interpreter's free lists back to the allocator, in microseconds.

    They grow to thousands of tuples while agents step, which would look like agents' memory. Only
    a full collection clears them; with every object set aside it has nothing else to do. Objects
    that are set aside already, as by the pass `gc`, stay so.
    """
    _garbage.frozen = _garbage.frozen or somebody_froze()
    if _garbage.frozen:
        gc.collect()
        return
    gc.freeze()
    gc.collect()
    gc.unfreeze()


def read() -> Reading:
    """Memory of this process now: from the kernel's account on Linux, else what psutil gives."""
    untrusted, reading = left_out(), _of_system()
    blind = "uss" in untrusted and "process" not in untrusted  # else a job has been refused
    uss = None if blind else reading.uss_bytes
    return replace(reading, uss_bytes=uss, heap_bytes=heap.live_bytes())


@cache
def at_start() -> Reading:
    """The first reading: before the backend's import, in the process that did that."""
    return read()


def _of_system() -> Reading:
    """What the system tells, which is more or less: kernels before 5.3 have no `Pss_Shmem`, those
    before 4.14 and gVisor no rollup, and some containers no page of it."""
    found = _rollup()
    if "Rss" in found:
        huge = found.get("Private_Hugetlb", 0)  # of the system's pool, which no other size has
        own = [found[name] for name in ("Private_Clean", "Private_Dirty") if name in found]
        uss = sum(own) + huge if own else None
        private = found["Rss"] + huge if uss is None else uss
        if "Anonymous" in found:
            shared = found.get("Pss_Shmem", _status().get("RssShmem", 0))
            private = found["Anonymous"] + shared + found.get("Swap", 0) + huge
        return Reading(found["Rss"], uss, found.get("Pss"), private, None)
    memory: Any = _process().memory_info()
    with contextlib.suppress(psutil.Error, OSError):
        memory = _process().memory_full_info()
    uss = getattr(memory, "uss", None) or None
    return Reading(memory.rss, uss, getattr(memory, "pss", None) or None, uss or memory.rss, None)


def _rollup() -> dict[str, int]:
    """The sums over all mappings, in bytes; empty where there is no such account."""
    for file in (_ROLLUP, _SMAPS):
        with contextlib.suppress(OSError):
            sums: Counter[str] = Counter()
            for name, size in sizes_in(file.read_text()):
                sums[name] += size
            if "Rss" in sums:
                return dict(sums)
    return {}


def sizes_in(account: str) -> list[tuple[str, int]]:
    """The sizes in one of the kernel's accounts of a process, by their names, in bytes."""
    return [(name, int(size) * 1024) for name, size in _SIZES.findall(account)]


def freed_by(let_go: Callable[[], bool]) -> int | None:
    """Private bytes that the process gives back when told to; None if there is nothing to do."""
    settle()
    before = read().private_bytes
    if not let_go():
        return None
    settle()
    return max(0, before - read().private_bytes)


def held_bytes() -> int:
    """The live heap, or the private memory of the process where nothing tells of that."""
    live = heap.live_bytes()
    return _of_system().private_bytes if live is None else live


def anonymous_bytes() -> int:
    """About the private memory, in microseconds."""
    memory: Any = _process().memory_info()
    return int(memory.rss - getattr(memory, "shared", 0))


def private_bytes() -> int | None:
    """See `Reading.private_bytes`; None where the system's account cannot be trusted."""
    return None if "process" in left_out() else _of_system().private_bytes


def taken_bytes() -> int | None:
    """Private memory without what malloc has put by; None likewise."""
    private = private_bytes()
    return None if private is None else private - heap.put_by_bytes()


def reset_peak() -> bool:
    """Forget the highest resident set so far (Linux); False where that is not possible."""
    return "peak" not in left_out() and _forget_peak()


def peak_rss_bytes() -> int | None:
    """Highest resident set since `reset_peak`; None where the system does not keep it."""
    return None if "peak" in left_out() else _highest_lately()


def status() -> dict[str, int]:
    """The kernel's sizes of this process in bytes, by their names in proc(5), of those that can be
    trusted; empty off Linux.

    Among them `VmData` (private writable mappings, what RLIMIT_DATA counts), `VmSize` (all
    mappings), and `VmPeak`, the highest `VmSize` ever.
    """
    found = _status()
    for name, fields in (("data segment", ("VmData",)), ("address space", ("VmSize", "VmPeak"))):
        if name in left_out():
            found = {field: size for field, size in found.items() if field not in fields}
    return found


def address_space() -> tuple[int | None, int | None]:
    """Mappings of files and of shared memory, with all others that are not private and writable;
    and those that are. None where the system's account cannot be trusted."""
    found = status()
    if "VmSize" not in found or "VmData" not in found:
        return None, None
    return found["VmSize"] - found["VmData"], found["VmData"]


def _status() -> dict[str, int]:
    with contextlib.suppress(OSError):
        return dict(sizes_in(_STATUS.read_text()))
    return {}


def _forget_peak() -> bool:
    with contextlib.suppress(OSError):
        _CLEAR_REFS.write_text("5")
        return True
    return False
