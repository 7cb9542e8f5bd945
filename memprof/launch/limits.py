"""What bounds the memory of a process: its own limits, those of its control group and of the groups
above it, and the machine.

Source: Linux, Documentation/admin-guide/cgroup-v1/memory.rst and cgroup-v2.rst;
proc_pid_mountinfo(5).
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import psutil

from memprof.errors import MeasurementError
from memprof.posix import PAGE_BYTES, rlimit_bytes
from memprof.values.density import Bound


def bounds(memory_limit_bytes: int | None) -> tuple[Bound, ...]:
    """Every bound on a worker that is started now; `memory_limit_bytes` is the user's own, set as
    its RLIMIT_DATA."""
    found = []
    if memory_limit_bytes is not None:
        found.append(Bound("--memory-limit", memory_limit_bytes, "data"))
    if (limit := rlimit_bytes("DATA")) is not None:
        found.append(Bound("RLIMIT_DATA", limit, "data"))
    if (limit := rlimit_bytes("AS")) is not None:
        found.append(Bound("RLIMIT_AS", limit, "virtual"))
    groups = control_groups()
    if groups:
        found.append(Bound("cgroup", min(each.left_bytes for each in groups), "resident"))
    found.append(Bound("machine", machine_memory().available_bytes, "resident"))
    return tuple(found)


def scarce(share: float) -> bool:
    """Whether less than this share of the memory of the machine, or of a control group that this
    process is in, is left."""
    machine = machine_memory()
    return machine.available_bytes < share * machine.total_bytes or any(
        each.left_bytes < share * each.limit_bytes for each in control_groups()
    )


def left_bytes() -> int:
    """What this process may still take, of the machine and of its control groups."""
    groups = control_groups()
    return min([machine_memory().available_bytes, *(each.left_bytes for each in groups)])


def cgroup_limit_bytes() -> int | None:
    """The lowest limit of the process's control group and its parents; None if there is none."""
    return min((each.limit_bytes for each in control_groups()), default=None)


@dataclass(frozen=True, slots=True)
class MachineMemory:
    """Of the whole machine."""

    total_bytes: int
    available_bytes: int


def machine_memory() -> MachineMemory:
    """By psutil, or by what the C library knows where /proc shows processes only.

    Raises:
        MeasurementError: nothing tells.
    """
    try:
        memory = psutil.virtual_memory()
        return MachineMemory(memory.total, memory.available)
    except (OSError, psutil.Error) as error:
        with contextlib.suppress(OSError, ValueError, AttributeError):
            pages = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_AVPHYS_PAGES")
            if min(pages) > 0:
                return MachineMemory(pages[0] * PAGE_BYTES, pages[1] * PAGE_BYTES)
        raise MeasurementError(
            f"the machine's memory cannot be read here: {error}; run memprof where /proc/meminfo "
            "can be read"
        ) from None


_UNLIMITED = 1 << 60
_ESCAPED = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class Group:
    """A control group that bounds memory, of this process or of a parent of its group.

    Attributes:
        used_bytes: by all processes in it and in groups below, but for page cache that it can drop.
    """

    limit_bytes: int
    used_bytes: int

    @property
    def left_bytes(self) -> int:
        return max(0, self.limit_bytes - self.used_bytes)


@dataclass(frozen=True, slots=True)
class _Version:
    """Files of one version; `limits` are all that may be there, and the lowest counts."""

    limits: tuple[str, ...]
    usage: str
    droppable: str


_V1 = _Version(("memory.limit_in_bytes",), "memory.usage_in_bytes", "total_inactive_file")
_V2 = _Version(("memory.max", "memory.high"), "memory.current", "inactive_file")


def control_groups(root: Path = Path("/")) -> list[Group]:
    """Every control group that bounds this process's memory, its own first, then its parents;
    `root` is where `proc` and all else is looked for."""
    found = []
    for version, folders, hidden in _hierarchies(root):
        for number, folder in enumerate(folders):
            if number and version is _V1 and text_of(folder / "memory.use_hierarchy") == "0":
                continue  # this parent counts its own processes alone
            group = _group(folder, version, hidden=hidden and number == 0)
            if group is not None:
                found.append(group)
    return found


def _group(folder: Path, version: _Version, *, hidden: bool) -> Group | None:
    """The group of a folder, if it has a limit; `hidden` if there are parents that are not seen,
    whose limits version 1 puts into the statistics of the group."""
    limits = [_bytes(text_of(folder / name)) for name in version.limits]
    if hidden and version is _V1:
        limits.append(_statistics(folder).get("hierarchical_memory_limit"))
    known = [limit for limit in limits if limit is not None and limit < _UNLIMITED]
    usage = _bytes(text_of(folder / version.usage)) if known else None
    if usage is None:
        return None
    return Group(min(known), max(0, usage - _statistics(folder).get(version.droppable, 0)))


def _statistics(folder: Path) -> dict[str, int]:
    words = [line.split() for line in text_of(folder / "memory.stat").splitlines()]
    pairs = [(each[0], _bytes(each[1])) for each in words if len(each) == 2]
    return {name: number for name, number in pairs if number is not None}


def _hierarchies(root: Path) -> Iterator[tuple[_Version, list[Path], bool]]:
    """For each hierarchy that may bound memory, the folders of this process's group and of its
    parents, as far as they are mounted, and whether there are more."""
    places = {}
    for line in text_of(root / "proc/self/cgroup").splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if "memory" in controllers.split(","):
            places[_V1] = path
        elif number == "0" and not controllers:
            places[_V2] = path
    for line in text_of(root / "proc/self/mountinfo").splitlines():
        before, _, after = line.partition(" - ")
        fields, kind = before.split(), after.split()
        if len(fields) < 5 or len(kind) < 3:
            continue
        version = {"cgroup": _V1, "cgroup2": _V2}.get(kind[0])
        if version is _V1 and "memory" not in kind[2].split(","):
            continue
        if version in places:
            top = root / _unescaped(fields[4]).lstrip("/")
            mounted = _unescaped(fields[3])
            yield version, _folders(top, mounted, places.pop(version)), mounted != "/"


def _folders(top: Path, mounted: str, path: str) -> list[Path]:
    """The folder of the group `path` and those above it, where `mounted` is what is seen at `top`.

    In a container `path` may be the one outside of it: then what is mounted is the group."""
    inside = PurePosixPath(path)
    with contextlib.suppress(ValueError):
        inside = PurePosixPath("/") / inside.relative_to(mounted)
    parts = [] if ".." in inside.parts else list(inside.parts[1:])
    while parts and not top.joinpath(*parts).is_dir():
        parts.pop()
    return [top.joinpath(*parts[:depth]) for depth in range(len(parts), -1, -1)]


def text_of(file: Path) -> str:
    """What a file says; nothing where it is not there or may not be read."""
    with contextlib.suppress(OSError, ValueError):
        return file.read_text().strip()
    return ""


def _bytes(text: str) -> int | None:
    """A number; None for `max`, which is no limit, and for what is no number."""
    return int(text) if text.isascii() and text.isdigit() else None


def _unescaped(text: str) -> str:
    return _ESCAPED.sub(lambda found: chr(int(found[1], 8)), text)
