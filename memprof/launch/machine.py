"""The machine and the software that a report's figures belong to."""

from __future__ import annotations

import contextlib
import os
import platform
import sysconfig
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from memprof.catalogue.backends import BACKENDS, ONE_ARENA
from memprof.launch import keeper, limits
from memprof.posix import PAGE_BYTES, processors, rlimit_bytes
from memprof.upstream.installed import DISTRIBUTION, version
from memprof.values.measurements import WorkerRun
from memprof.values.report import Environment
from memprof.values.requests import Measure, Request

_PACKAGES = (
    "memprof-pymdp",
    "numpy",
    "scipy",
    "psutil",
    "pympler",
    "memory_profiler",
    "memray",
)
_ALLOCATOR_VARIABLES = (
    "PYTHONMALLOC",
    "PYTHONDEVMODE",  # makes Python's allocator the one with debug hooks
    "MALLOC_",
    "MIMALLOC_",
    "TCMALLOC_",
    "GLIBC_TUNABLES",
    "LD_PRELOAD",
)
# As soon as an array is freed, glibc puts others of its size into the heap (up to 32 MiB each), and
# keeps that: a process holds up to a third more than its arrays need, by chance. It does not where
# its first threshold is set as a fixed one.
_GIVEN_BACK = {"MALLOC_MMAP_THRESHOLD_": "131072"}
# What glibc's threads put by for their next allocations counts as handed out, and grows for
# hundreds of steps: kilobytes in a process with XLA's threads.
_NO_THREAD_CACHES = "glibc.malloc.tcache_count=0"
# Those of jemalloc are in no account, but the process grows by them. mimalloc gives back what is
# free half a second later, in the midst of the cycles (its names for that until 2.0, and since).
_OF_PRELOADED = {
    "jemalloc": {"MALLOC_CONF": "tcache:false"},
    "mimalloc": {"MIMALLOC_DECOMMIT_DELAY": "0", "MIMALLOC_PURGE_DELAY": "0"},
}


def worker_environment(
    backend: str,
    job: type[Request[Any]],
    cache: Path | None = None,
    passes: Sequence[str] = (),
) -> dict[str, str]:
    """Environment variables of the workers that do a job for a backend; what the user has set
    stays. Those with the same `passes` have what they compile in common, in the folder `cache`."""
    own = dict(ONE_ARENA if job.one_arena else BACKENDS[backend].environment)
    if cache is not None:
        folder = cache / ("+".join(passes) or "plain")
        own |= {key: each.format(folder=folder) for key, each in BACKENDS[backend].cache.items()}
        own[keeper.COMMON_FOLDER] = str(cache)
    if job.peaks and BACKENDS[backend].compiles:
        own |= _GIVEN_BACK
    for library, steady in _OF_PRELOADED.items() if job.cycles else ():
        if library in os.environ.get("LD_PRELOAD", ""):
            own |= steady
    variables = {**own, **os.environ}
    variables.pop("PYTHONTRACEMALLOC", None)  # an instrument of its own; its traces are memory
    # A trend goes from reading to reading, too; and forks have one environment.
    if job.cycles or (BACKENDS[backend].compiles and not job.peaks):
        tunables = variables.get("GLIBC_TUNABLES", "")
        variables["GLIBC_TUNABLES"] = ":".join(filter(None, (tunables, _NO_THREAD_CACHES)))
    return variables


def keeper_of_programs(backend: str) -> str:
    """The variable by which the user keeps what this backend compiles, or none; empty for a backend
    whose workers find nothing that others compiled."""
    names = [name for name, each in BACKENDS[backend].cache.items() if "{folder}" in each]
    return next((name for name in names if name in os.environ), "none" if names else "")


def describe_environment(
    backend: str,
    run: WorkerRun | None,
    memory_limit_bytes: int | None,
    job: type[Request[Any]] | None = Measure,
) -> Environment:
    """Versions, allocator settings, huge pages, limits and processors, as workers of a job find
    them, or a process of the user's own (None); what one found out about its backend and allocator
    is known from its `run`."""
    facts, malloc = (run.facts, run.calibration.malloc) if run else ({}, "")
    versions = {"python": platform.python_version(), DISTRIBUTION: version()}
    for package in (*_PACKAGES, *BACKENDS[backend].packages):
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package)
    libc, libc_version = platform.libc_ver()
    allocator = {"libc": f"{libc} {libc_version}".strip() or "unknown"}
    if malloc:
        allocator["malloc"] = malloc
    variables = os.environ if job is None else worker_environment(backend, job)
    allocator |= allocator_variables(variables)
    if job is Measure and (keeps := keeper_of_programs(backend)):
        facts = {**facts, "programs kept by": keeps}
    return Environment(
        versions=versions,
        platform=f"{platform.system()} {platform.release()} {platform.machine()}",
        cpu_count=processors(),
        total_memory_bytes=limits.machine_memory().total_bytes,
        cgroup_limit_bytes=limits.cgroup_limit_bytes(),
        rlimit_bytes=memory_limit_bytes or rlimit_bytes("DATA"),
        huge_pages=_huge_pages(),
        allocator=allocator,
        page_bytes=PAGE_BYTES,
        python_build=_python_build(),
        device=facts.get("device", "unknown"),
        backend={name: value for name, value in facts.items() if name != "device"},
    )


def _python_build() -> str:
    """The implementation, and what of its build changes the size of objects or their allocator."""
    kinds = [platform.python_implementation()]
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        kinds.append("free-threaded")
    if sysconfig.get_config_var("Py_DEBUG"):
        kinds.append("debug")
    return ", ".join(kinds)


def allocator_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """Those that change an allocator, by name."""
    return {
        name: value
        for name, value in sorted(environment.items())
        if name.startswith(_ALLOCATOR_VARIABLES)
    }


def _huge_pages() -> str:
    """The kernel's mode, and whether NumPy asks for huge pages for its large arrays."""
    asked = os.environ.get("NUMPY_MADVISE_HUGEPAGE", "unset")
    return f"{huge_pages_mode()}, NUMPY_MADVISE_HUGEPAGE={asked}"


def huge_pages_mode(root: Path = Path("/")) -> str:
    """The kernel's: always, madvise or never; `root` is where `sys` is looked for."""
    with contextlib.suppress(OSError, ValueError):
        text = (root / "sys/kernel/mm/transparent_hugepage/enabled").read_text()
        return text[text.index("[") + 1 : text.index("]")]
    return "unknown"
