"""Environments in which memprof measures: allocators, pages, kernels, users, limits and
interpreters, each made for real where this machine can, or with the files that another kernel
would show."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.conftest import LEAN, ROOT

# The interpreter may lie in root's home, so that one privilege has to stay: to find it there.
NOBODY = (
    *("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--no-new-privs"),
    *(f"--{kind}-caps=-all,+dac_read_search" for kind in ("inh", "ambient")),
)

_HUGE = Path("/sys/kernel/mm/transparent_hugepage")
_POOL = Path("/proc/sys/vm/nr_hugepages")

_KERNEL = '''
import builtins, errno, io, os

HIDDEN, DROPPED = {hidden!r}, {dropped!r}
ACCOUNTS = {{"/proc/self/smaps_rollup", "/proc/self/smaps", "/proc/self/status"}}
real = io.open


def open(file, mode="r", *args, **kwargs):
    """The files of this process, as an older kernel shows them."""
    name = os.fspath(file) if isinstance(file, (str, os.PathLike)) else ""
    name = str(name).replace(f"/proc/{{os.getpid()}}/", "/proc/self/")
    if name in HIDDEN:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
    if name not in ACCOUNTS:
        return real(file, mode, *args, **kwargs)
    with real(name) as lines:
        text = "".join(line for line in lines if not line.startswith(DROPPED))
    return io.BytesIO(text.encode()) if "b" in mode else io.StringIO(text)


io.open = builtins.open = open
'''

_PAGES = """
import mmap

mmap.PAGESIZE = {size}


class Mapping(mmap.mmap):
    def __setitem__(self, place, value):
        first = place & -mmap.PAGESIZE
        for page in range(first, first + mmap.PAGESIZE, 4096):
            super().__setitem__(page, value)


mmap.mmap = Mapping
"""

_NO_ACCOUNT = """
import psutil

del psutil.heap_info, psutil.heap_trim
"""


@dataclass(frozen=True, slots=True)
class Environment:
    """Where a command runs.

    Attributes:
        command: what starts it, such as a program that limits it.
        code: what its Python runs at first.
        switches: the kernel's, and what they are set to meanwhile.
        unseen: what no reading tells of there, so that no population is clean.
    """

    name: str
    variables: Mapping[str, str] = field(default_factory=dict)
    command: tuple[str, ...] = ()
    code: str = ""
    switches: Mapping[Path, str] = field(default_factory=dict)
    python: str = sys.executable
    unseen: str = ""

    def missing(self) -> str:
        """What it takes and is not here; empty if it can be made."""
        needed = [path for path in self.variables.get("LD_PRELOAD", "").split() if "/" not in path]
        if needed:
            return f"{needed[0]} is not installed"
        if os.geteuid() and (self.command[:1] in (("setpriv",), ("unshare",)) or self.switches):
            return "only root can make it"
        start = [self.python, "-c", ""]
        variables = {**os.environ, **self.variables}
        done = subprocess.run(start, env=variables, check=False, capture_output=True)
        if done.returncode:
            return f"{self.python} does not start: {done.stderr.decode().splitlines()[0]}"
        absent = [str(path) for path in self.switches if not path.exists()]
        return f"{absent[0]} is not here" if absent else ""

    @contextlib.contextmanager
    def made(self, folder: Path) -> Iterator[dict[str, str]]:
        """Variables for the commands that run in it; `folder` gets what their Python runs."""
        (folder / "sitecustomize.py").write_text(
            f"import runpy\nrunpy.run_path({str(LEAN / 'sitecustomize.py')!r})\n{self.code}"
        )
        before = {path: path.read_text() for path in self.switches}
        paths = (folder, ROOT, os.environ.get("PYTHONPATH", ""))
        try:
            for path, value in self.switches.items():
                path.write_text(value)
            path = os.pathsep.join(str(each) for each in paths if str(each))
            yield {**os.environ, "PYTHONPATH": path, **self.variables}
        finally:
            for path, text in before.items():
                path.write_text(text.partition("[")[2].partition("]")[0] or text)


def _library(name: str) -> str:
    """Where it lies; its name where it does not."""
    return next((str(each) for each in sorted(Path("/usr/lib").glob(f"*/{name}"))), name)


def _kernel(name: str, hidden: tuple[str, ...] = (), dropped: tuple[str, ...] = ()) -> Environment:
    files = tuple(f"/proc/self/{each}" for each in hidden)
    return Environment(name, code=_KERNEL.format(hidden=files, dropped=dropped))


def _limit(name: str, *limits: str, user: tuple[str, ...] = ()) -> Environment:
    return Environment(name, command=(*user, "prlimit", *limits))


def _others() -> list[Environment]:
    """Other interpreters, as `make pythons` installs them, or as the variable PYTHONS names."""
    here = [ROOT / f".venv-{version}/bin/python" for version in ("3.12", "3.13")]
    named = os.environ.get("PYTHONS", "").split()
    found = named or [str(path) for path in here if path.exists()]
    return [
        each
        for path in found
        for each in (
            Environment(f"Python at {path}", python=path),
            Environment(
                f"PYTHONMALLOC=mimalloc, Python at {path}",
                {"PYTHONMALLOC": "mimalloc"},
                python=path,
                unseen="Python's allocator",
            ),
        )
    ]


def environments() -> list[Environment]:
    """All that are known here."""
    je, tc, mi, debug = (
        {"LD_PRELOAD": _library(name)}
        for name in (
            *("libjemalloc.so.2", "libtcmalloc_minimal.so.4", "libmimalloc.so.2"),
            "libc_malloc_debug.so.0",
        )
    )
    objects = {"PYTHONMALLOC": "malloc"}
    hidden = 'mount -t proc -o hidepid=2 proc /proc && exec "$@"'
    return [
        Environment("glibc"),
        Environment("glibc's debugging library", debug),
        Environment("jemalloc", je),
        Environment("tcmalloc", tc),
        Environment("mimalloc", mi, unseen="malloc"),
        Environment("a malloc without an account", code=_NO_ACCOUNT, unseen="malloc"),
        Environment("PYTHONMALLOC=malloc", objects),
        Environment("PYTHONMALLOC=debug", {"PYTHONMALLOC": "debug"}),
        Environment("PYTHONMALLOC=malloc, jemalloc", {**je, **objects}),
        Environment("PYTHONMALLOC=malloc, tcmalloc", {**tc, **objects}),
        Environment("tracemalloc", {"PYTHONTRACEMALLOC": "1"}),
        Environment("one arena", {"MALLOC_ARENA_MAX": "1"}),
        Environment("malloc asks for huge pages", {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}),
        Environment(
            "malloc takes HugeTLB pages",
            {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=2"},
            switches={_POOL: "128"},
        ),
        Environment("huge pages always", switches={_HUGE / "enabled": "always"}),
        Environment("huge pages never", switches={_HUGE / "enabled": "never"}),
        Environment(
            "huge pages of 64 KiB always", switches={_HUGE / "hugepages-64kB/enabled": "always"}
        ),
        Environment("pages of 16 KiB", code=_PAGES.format(size=16 << 10)),
        Environment("pages of 64 KiB", code=_PAGES.format(size=64 << 10)),
        Environment("an unprivileged user", command=NOBODY),
        Environment("hidepid", command=("unshare", "-mpf", "sh", "-c", hidden, "sh", *NOBODY)),
        _kernel("Linux before 5.3", dropped=("Pss_", "Private_Hugetlb", "Shared_Hugetlb")),
        _kernel("Linux before 4.14", hidden=("smaps_rollup",), dropped=("Pss_",)),
        _kernel("gVisor", hidden=("smaps_rollup", "clear_refs", "pagemap")),
        _kernel("no smaps", hidden=("smaps_rollup", "smaps", "clear_refs", "pagemap")),
        _limit("64 descriptors", "--nofile=64"),
        _limit("2 GB of address space", "--as=2000000000"),
        _limit("500 MB of data", "--data=500000000"),
        _limit("stacks of 1 MB", "--stack=1000000"),
        _limit("16 processes and threads", "--nproc=16", user=NOBODY),
        *_others(),
    ]
