"""What on this machine makes figures better or worse, each with what to do about it."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

import psutil

from memprof.catalogue.backends import BACKENDS
from memprof.errors import MemprofError
from memprof.launch import limits
from memprof.launch.machine import allocator_variables, huge_pages_mode
from memprof.posix import processors, rlimit_bytes
from memprof.profile.cautions import REMEDY_OF_UNTRIED, remedy_of_reading
from memprof.text import format_size
from memprof.upstream.installed import (
    DISTRIBUTION,
    missing,
    package_of,
    untried,
    version,
)
from memprof.values.instruments import Calibration

State = Literal["fine", "worse", "broken"]
"""No matter; figures are less sure, or stand for this setting alone; nothing can be measured."""

_LEAST_PYTHON, _FIRST_UNTRIED_PYTHON = (3, 11), (3, 14)
_AMPLE_BYTES = 2 * 10**9
_LEAST_DISK_BYTES = 10**9
_FEWEST_FILES, _FEWEST_PROCESSES = 256, 64
_BUSY = 0.5
_IN_SWAP_BYTES = 10 * 10**6


@dataclass(frozen=True, slots=True)
class Check:
    """One thing about this machine.

    Attributes:
        name: what was looked at.
        found: what there is.
        remedy: what to do about it; empty where all is well.
    """

    name: str
    state: State
    found: str
    remedy: str = ""


def check_machine(tried: Calibration | MemprofError, root: Path = Path("/")) -> list[Check]:
    """Everything that was looked at, in a fixed order. `tried` is what a worker found of its
    readings, or why it found nothing; `root` is where `proc` and `sys` are looked for."""
    checks = [*_software()]
    if isinstance(tried, MemprofError):
        checks.append(
            Check("worker", "broken", str(tried), "fix this first; nothing can be measured")
        )
    else:
        checks += [*_readings(tried), *_allocator(tried, os.environ)]
    checks += [
        _huge_pages(huge_pages_mode(root), os.environ),
        *_limits(),
        *_load(root),
        _temporary_folder(root),
    ]
    return checks


def _software() -> Iterator[Check]:
    version = sys.version_info[:2]
    name = f"{platform.python_implementation()} {platform.python_version()}"
    if version < _LEAST_PYTHON or version >= _FIRST_UNTRIED_PYTHON:
        yield Check("Python", "worse", name, "use 3.11, 3.12 or 3.13; memprof is tested with these")
    else:
        yield Check("Python", "fine", name)
    yield _pymdp()
    yield from _jax()


def _pymdp() -> Check:
    problem, remedy = missing("numpy")
    if problem:
        others = package_of("jax") and not package_of("numpy")
        return Check("PyMDP", "worse" if others else "broken", problem, remedy)
    if said := untried():
        return Check("PyMDP", "worse", said, REMEDY_OF_UNTRIED)
    return Check("PyMDP", "fine", f"{DISTRIBUTION} {version()}")


def _jax() -> Iterator[Check]:
    """What agents of the backend need; where PyMDP has none, nothing is missing."""
    packages = [name for backend in BACKENDS.values() for name in backend.packages]
    absent = [name for name in packages if not _installed(name)]
    if not package_of("jax"):
        if package_of("numpy"):
            yield Check("JAX", "fine", f"PyMDP {version()} has no JAX agents")
    elif absent:
        yield Check(
            "JAX",
            "worse",
            f"backend jax is missing {', '.join(absent)}",
            f"pip install {' '.join(absent)}, if you use JAX agents",
        )
    elif packages:
        yield Check("JAX", "fine", ", ".join(f"{name} {_version(name)}" for name in packages))


def _version(package: str) -> str:
    return metadata.version(package)


def _installed(package: str) -> bool:
    try:
        _version(package)
    except metadata.PackageNotFoundError:
        return False
    return True


def _readings(tried: Calibration) -> Iterator[Check]:
    """Those that a worker cannot trust; `process` is what every figure rests on."""
    for name, why in tried.left_out.items():
        state: State = "broken" if name == "process" else "worse"
        yield Check(f"reading: {name}", state, why, remedy_of_reading(name))
    if not tried.left_out:
        yield Check("readings", "fine", "each followed the memory allocated to test it")


def _allocator(tried: Calibration, environment: Mapping[str, str]) -> Iterator[Check]:
    changed = allocator_variables(environment)
    words = ", ".join(f"{name}={value}" for name, value in changed.items())
    if words:
        yield Check(
            "allocator",
            "worse",
            f"{tried.malloc or 'unknown'}, set by {words}",
            "compare only figures with the same setting; unset the variables for the defaults",
        )
    else:
        yield Check("allocator", "fine", tried.malloc or "unknown")


def _huge_pages(mode: str, environment: Mapping[str, str]) -> Check:
    asked = environment.get("NUMPY_MADVISE_HUGEPAGE")
    found = f"{mode}; NUMPY_MADVISE_HUGEPAGE is {asked or 'unset'}"
    if mode == "always" or (mode == "madvise" and asked != "0"):
        return Check(
            "huge pages",
            "worse",
            f"{found}: large arrays may take memory in steps of 2 MiB, and zeros take it at once",
            "set NUMPY_MADVISE_HUGEPAGE=0 to count only touched pages; keep one setting for all "
            "figures that you compare",
        )
    return Check("huge pages", "fine", found)


def _limits() -> Iterator[Check]:
    bounds = limits.bounds(None)
    least = min(each.limit_bytes for each in bounds)
    found = ", ".join(f"{each.name} {format_size(each.limit_bytes)}" for each in bounds)
    if least < _AMPLE_BYTES:
        remedy = "if a population does not fit, close other programs or raise the limit"
        yield Check("memory left", "worse", found, remedy)
    else:
        yield Check("memory left", "fine", found)
    for name, option, fewest, what in (
        ("NOFILE", "-n", _FEWEST_FILES, "open files"),
        ("NPROC", "-u", _FEWEST_PROCESSES, "processes"),
    ):
        limit = rlimit_bytes(name)
        if limit is not None and limit < fewest:
            yield Check(what, "worse", f"at most {limit:,}", f"raise it: ulimit {option} {fewest}")
    seconds = rlimit_bytes("CPU")
    if seconds is not None:
        found = f"a worker is ended after {seconds:,} s of processor time"
        yield Check("processor time", "worse", found, "raise it: ulimit -t unlimited")


def _load(root: Path) -> Iterator[Check]:
    """Other work; and what the machine does to those that work."""
    count = processors()
    try:
        busy = os.getloadavg()[0]
    except OSError:
        busy = 0.0
    found = f"{busy:.1f} busy of {count}" + (" processor" if count == 1 else " processors")
    if busy > _BUSY * count:
        remedy = (
            "wait for other work to end: times per step are unreliable, and trends may be too slow"
        )
        yield Check("load", "worse", found, remedy)
    elif count == 1:
        yield Check(
            "load", "worse", found, "use two or more: memprof and its worker share this one"
        )
    else:
        yield Check("load", "fine", found)
    used = psutil.swap_memory().used
    if used > _IN_SWAP_BYTES:
        remedy = "free memory first: swapped-out pages come back during measurements"
        yield Check("swap", "worse", f"{format_size(used)} in use", remedy)
    else:
        yield Check("swap", "fine", "not in use")
    governor = limits.text_of(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    if governor and governor != "performance":
        remedy = "cpupower frequency-set -g performance, if times per step matter"
        yield Check("processor speed", "worse", f"governor {governor}: the speed varies", remedy)


def _temporary_folder(root: Path) -> Check:
    try:
        folder = Path(tempfile.gettempdir())
        free = shutil.disk_usage(folder).free
    except OSError as error:
        found = str(error.strerror or error)
        return Check("temporary folder", "broken", found, "set TMPDIR to a writable folder")
    kind = _file_system(folder, root)
    found = f"{folder}, {format_size(free)} free" + (f", {kind}" if kind else "")
    if free < _LEAST_DISK_BYTES:
        remedy = "free some space, or set TMPDIR to a folder that has some"
        return Check("temporary folder", "worse", found, remedy)
    if kind == "tmpfs":
        remedy = "set TMPDIR to a disk: on tmpfs the files of the pass mmap take memory"
        return Check("temporary folder", "worse", found, remedy)
    return Check("temporary folder", "fine", found)


def _file_system(folder: Path, root: Path) -> str:
    """Of the longest mount point above the folder; empty where nothing tells."""
    mounts = [line.split() for line in limits.text_of(root / "proc/self/mounts").splitlines()]
    above = [
        (len(each[1]), each[2])
        for each in mounts
        if len(each) > 2 and folder.resolve().is_relative_to(each[1])
    ]
    return max(above, default=(0, ""))[1]
