"""What bounds the memory of a process: its own limits, its control group's, the machine's."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass

import psutil

from memprof import control_groups
from memprof.density import Bound
from memprof.errors import MeasurementError
from memprof.pages import PAGE_BYTES
from memprof.posix import rlimit_bytes


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
    groups = control_groups.groups()
    if groups:
        found.append(Bound("cgroup", min(each.left_bytes for each in groups), "resident"))
    found.append(Bound("machine", machine_memory().available_bytes, "resident"))
    return tuple(found)


def scarce(share: float) -> bool:
    """Whether less than this share of the memory of the machine, or of a control group that this
    process is in, is left."""
    machine = machine_memory()
    return machine.available_bytes < share * machine.total_bytes or any(
        each.left_bytes < share * each.limit_bytes for each in control_groups.groups()
    )


def left_bytes() -> int:
    """What this process may still take, of the machine and of its control groups."""
    groups = control_groups.groups()
    return min([machine_memory().available_bytes, *(each.left_bytes for each in groups)])


def cgroup_limit_bytes() -> int | None:
    """The lowest limit of the process's control group and its parents; None if there is none."""
    return min((each.limit_bytes for each in control_groups.groups()), default=None)


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
