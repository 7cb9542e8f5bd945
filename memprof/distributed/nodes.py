"""What a node's processes hold together, told apart by whose they are: read by a shard on it."""

from __future__ import annotations

import os
import platform
import re
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import psutil

from memprof.errors import MeasurementError
from memprof.instruments.process import sizes_in
from memprof.launch.limits import cgroup_limit_bytes, left_bytes, machine_memory
from memprof.values.distributed import NodeMemory

_MAPPING = re.compile(r"^[0-9a-f]+-[0-9a-f]+ \S+ \S+ \S+ \d+ *(.*)$")
_BOOT = Path("/proc/sys/kernel/random/boot_id")
_RAYLET = "raylet"


def read_node(
    name: str, raylet: int, shards: Collection[int], driver: int | None, session: str
) -> NodeMemory:
    """All that Ray runs on this node, each page once.

    Args:
        name: the node's.
        raylet: Ray's process that starts all others of the node.
        shards: the processes of the population here.
        driver: the process that asks, if it is on this machine.
        session: the folder of Ray's session, which its other processes have in their command lines.

    Raises:
        MeasurementError: a shard's memory cannot be read.
    """
    held = {pid: _proportional(pid) for pid in shards}
    for pid, found in held.items():
        if found is None:
            raise MeasurementError(
                f"the memory of process {pid}, a shard, cannot be read on {platform.node()}; "
                "expected smaps_rollup or smaps of it in /proc. Start Ray as the same user, where "
                "they can be read"
            )
    others = [pid for pid in _rays(raylet, session) if pid not in held and pid != driver]
    read = [each for each in map(_proportional, others) if each is not None]
    asking = _proportional(driver) if driver is not None else None
    known = [each for each in (*held.values(), *read, asking) if each is not None]
    return NodeMemory(
        name=name,
        host=platform.node(),
        machine=_machine(),
        shards=len(held),
        shards_bytes=sum(each.own for each in filter(None, held.values())),
        private_bytes=sum(each.anonymous for each in filter(None, held.values())),
        store_bytes=sum(each.store for each in known),
        ray_bytes=sum(each.own for each in read),
        ray_processes=len(others),
        driver_bytes=None if asking is None else asking.own,
        left_bytes=left_bytes(),
        limit_bytes=cgroup_limit_bytes() or machine_memory().total_bytes,
    )


def _machine() -> str:
    """One for all nodes that share its memory."""
    with suppress(OSError):
        return _BOOT.read_text().strip()
    return platform.node()


def _rays(raylet: int, session: str) -> Iterator[int]:
    """Ray's processes of a node: the raylet with all that it has started. Those of the session that
    no raylet has started are counted where the machine's first raylet is."""
    with suppress(psutil.Error):
        node = psutil.Process(raylet)
        yield raylet
        yield from (each.pid for each in node.children(recursive=True))
    raylets: list[psutil.Process] = []
    loose: list[psutil.Process] = []
    for each in psutil.process_iter():
        with suppress(psutil.Error):
            if not any(session in word for word in each.cmdline()):
                continue
            (raylets if each.name() == _RAYLET else loose).append(each)
    if min((each.pid for each in raylets), default=raylet) == raylet:
        started = {child.pid for each in raylets for child in _children(each)}
        yield from (each.pid for each in loose if each.pid not in started)


def _children(process: psutil.Process) -> list[psutil.Process]:
    with suppress(psutil.Error):
        return process.children(recursive=True)
    return []


class _Held(NamedTuple):
    """What a process holds, in PSS: of its own and of files' pages, of which some is anonymous
    memory, swapped out or not; and of the shared memory that it maps, Ray's object store."""

    own: int
    anonymous: int
    store: int


def _proportional(pid: int) -> _Held | None:
    """None where it is not to be read."""
    folder = Path(f"/proc/{pid}")
    with suppress(OSError):
        sizes = dict(sizes_in((folder / "smaps_rollup").read_text()))
        if {"Pss", "Pss_Shmem", "Pss_Anon"} <= sizes.keys():
            swapped = sizes.get("SwapPss", 0)
            own = sizes["Pss"] - sizes["Pss_Shmem"] + swapped
            return _Held(own, sizes["Pss_Anon"] + swapped, sizes["Pss_Shmem"])
    with suppress(OSError):  # kernels before 5.3
        found = _by_mapping((folder / "smaps").read_text())
        if found["mappings"]:
            return _Held(found["own"], found["anonymous"], found["store"])
    return None


def _by_mapping(smaps: str) -> Counter[str]:
    """The sums over all mappings, the store's told by its file."""
    sums = Counter[str]()
    where = "own"
    for line in smaps.splitlines():
        if mapping := _MAPPING.match(line):
            where = "store" if mapping[1].startswith("/dev/shm/") else "own"
            sums["mappings"] += 1
        for name, size in sizes_in(line):
            if name in ("Pss", "SwapPss"):
                sums[where] += size
            if name in ("Anonymous", "SwapPss"):
                sums["anonymous"] += size
    return sums


def raylet_of_here() -> int:
    """The raylet that has started this process, which is one of Ray's workers."""
    return os.getppid()
