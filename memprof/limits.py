"""What bounds the memory of a process: its own limits, its control group's, the machine's."""

from __future__ import annotations

import contextlib
from pathlib import Path

import psutil

from memprof.density import Bound
from memprof.posix import rlimit_bytes

_CGROUPS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    (
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
        "/sys/fs/cgroup/memory/memory.usage_in_bytes",
    ),
)
_UNLIMITED = 1 << 60


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
    group = _cgroup()
    if group is not None:
        found.append(Bound("cgroup", max(0, group[0] - group[1]), "resident"))
    found.append(Bound("machine", psutil.virtual_memory().available, "resident"))
    return tuple(found)


def scarce(share: float) -> bool:
    """Whether less than this share of the memory of the machine, or of the control group, is
    left."""
    memory = psutil.virtual_memory()
    group = _cgroup()
    return bool(
        memory.available < share * memory.total
        or (group is not None and group[0] - group[1] < share * group[0])
    )


def cgroup_limit_bytes() -> int | None:
    """The control group's limit; None if there is none."""
    group = _cgroup()
    return None if group is None else group[0]


def _cgroup() -> tuple[int, int] | None:
    """Limit and usage of the control group, without the page cache that it can drop."""
    for limit_file, usage_file in _CGROUPS:
        with contextlib.suppress(OSError, ValueError):
            limit, usage = (int(Path(file).read_text()) for file in (limit_file, usage_file))
            if limit >= _UNLIMITED:
                return None
            return limit, max(0, usage - _droppable(Path(usage_file).parent))
    return None


def _droppable(folder: Path) -> int:
    """Bytes of files in the page cache that nobody used lately."""
    with contextlib.suppress(OSError, ValueError):
        for line in (folder / "memory.stat").read_text().splitlines():
            name, value = line.split()
            if name in ("inactive_file", "total_inactive_file"):
                return int(value)
    return 0
