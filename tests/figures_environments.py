"""`make soak`: the verdicts of `memprof leak` in every environment that can be made here.

`python -m tests.figures_environments [RUNS [NAME...]]` checks tiny agents in each, so often: as
they are, and with a leak a bit above the floor that this check stated, from malloc in the main
thread or in another one by turns. Where malloc gives no account there is no such floor; what leaks
then are pages. Prints a row for each environment, and ends with 1 if a verdict is wrong, or if more
than one leak in 20 is missed. Kernel switches that an environment needs are set back afterwards.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.environments import Environment, environments

RUNS, AT_ONCE = 20, 2
ABOVE, GRAIN, MISSED = 1.25, 16, 0.05
VERDICTS = {0: "clean", 1: "leak", 3: "inconclusive"}

FACTORY = '''
"""Tiny agents in a ring; the first of each population loses memory, if that is asked for."""
import ctypes
import mmap
import queue
import threading

import numpy as np

STATES = 4
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *3 * [ctypes.c_int], ctypes.c_long]
asked, done = queue.SimpleQueue(), queue.SimpleQueue()
arena, used = None, 0


def from_malloc(size):
    libc.memset(libc.malloc(size), 1, size)


def pages(size):
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    libc.memset(libc.mmap(None, size, mmap.PROT_READ | mmap.PROT_WRITE, flags, -1, 0), 1, size)


def work():
    while True:
        from_malloc(asked.get())
        done.put(None)


def in_thread(size):
    if not any(each.name == "loses" for each in threading.enumerate()):
        threading.Thread(target=work, name="loses", daemon=True).start()
    asked.put(size)
    done.get()


def of_arena(size):
    """From one large mapping, which huge pages would fill far ahead."""
    global arena, used
    if arena is None:
        arena = mmap.mmap(-1, 64 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        arena.madvise(mmap.MADV_HUGEPAGE)
    arena[used : used + size] = bytes([1]) * size
    used += size


class Ring:
    def __init__(self):
        self.state = 0

    def reset(self):
        return self.state

    def step(self, action):
        self.state = (self.state + int(action[0])) % STATES
        return self.state


def container(array):
    held = np.empty(1, dtype=object)
    held[0] = array
    return held


def make(agent, how="", size=0):
    if agent == 0 and how:
        globals()[how](size)
    here = np.eye(STATES)
    moves = np.stack([here, np.roll(here, 1, axis=0)], axis=2)
    return {"A": container(here), "B": container(moves)}, Ring()
'''


@dataclass(frozen=True, slots=True)
class Checked:
    """What `memprof leak` said of a population."""

    verdict: str
    leak: dict[str, Any]
    left_out: tuple[str, ...]

    @property
    def floor(self) -> float | None:
        floor: float | None = self.leak["floor_bytes"]
        return floor

    @property
    def process_floor(self) -> float:
        return float(next(s["floor"] for s in self.leak["signals"] if s["name"] == "process"))


def check(
    environment: Environment, variables: Mapping[str, str], how: str = "", size: int = 0
) -> Checked:
    """One `memprof leak` on agents that lose `size` bytes in each cycle."""
    model = {"kind": "factory", "callable": "factory:make", "params": {"how": how, "size": size}}
    scenario = {
        "name": "ring", "model": model, "agents": 4, "steps": 1, "passes": [], "effort": "quick",
    }  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="memprof-environments-") as name:
        folder = Path(name)
        folder.chmod(0o777)
        (folder / "factory.py").write_text(FACTORY)
        (folder / "ring.yaml").write_text(json.dumps(scenario))
        done = subprocess.run(
            [
                *environment.command, environment.python, "-P", "-m", "memprof", "leak",
                "ring.yaml", "-q", "--mode", "lifecycle", "--repeats", "1",
                "--json", "ring.json",
            ],
            cwd=folder, env=variables, check=False, capture_output=True, text=True,
        )  # fmt: skip
        report = folder / "ring.json"
        if done.returncode not in VERDICTS or not report.exists():
            raise SystemExit(f"{environment.name}: {done.stdout}{done.stderr}")
        said = json.loads(report.read_text())
    left_out = tuple(w["evidence"] for w in said["warnings"] if w["kind"] == "left_out")
    return Checked(VERDICTS[done.returncode], said["leak"], left_out)


def fault(environment: Environment, clean: Checked) -> str:
    """What is wrong with the verdict on a population that loses nothing; empty if nothing is."""
    reason = f"no byte-exact reading of {environment.unseen}"
    if environment.unseen:
        named = clean.leak["detail"].startswith(reason) and clean.left_out
        right = clean.verdict == "inconclusive" and clean.floor is None and named
    else:
        right = clean.verdict == "clean" and clean.floor is not None
    return "" if right else f"{clean.verdict}: {clean.leak['detail']}"


def planted(clean: Checked, number: int) -> tuple[str, int]:
    """How what is lost is taken, and how much: a bit more than the floor."""
    if clean.floor is None:
        return "pages", math.ceil(ABOVE * clean.process_floor)
    how = "in_thread" if number % 2 else "from_malloc"
    return how, math.ceil(max(ABOVE * clean.floor, clean.floor + GRAIN))


def tried(environment: Environment, runs: int) -> tuple[int, int]:
    """Print its row; how many verdicts are wrong, and how many leaks were missed."""
    says: Counter[str] = Counter()
    faults, misses, floors, sizes = [], [], [], []

    def pair(number: int) -> tuple[Checked, str, int, Checked]:
        clean = check(environment, variables)
        how, size = planted(clean, number)
        return clean, how, size, check(environment, variables, how, size)

    with tempfile.TemporaryDirectory(prefix="memprof-environment-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        with environment.made(folder) as variables, ThreadPoolExecutor(AT_ONCE) as crew:
            for clean, how, size, leak in crew.map(pair, range(runs)):
                says[clean.verdict] += 1
                floors.append(clean.floor)
                sizes.append(size)
                if said := fault(environment, clean):
                    faults.append(said)
                if leak.verdict != "leak":
                    misses.append(f"{size:,} B, {how}: {leak.verdict}, {leak.leak['detail']}")
    known = [floor for floor in floors if floor is not None]
    floor = f"{min(known):.0f} to {max(known):.0f} B" if known else "none"
    print(
        f"| {environment.name} | {', '.join(f'{v} {n}' for v, n in says.items())} | {floor} | "
        f"{min(sizes):,} to {max(sizes):,} B | {runs - len(misses)} of {runs} | {len(faults)} |",
        flush=True,
    )
    for said in (*faults, *misses):
        print(f"    {said}", flush=True)
    return len(faults), len(misses)


def main(arguments: list[str]) -> int:
    runs = int(arguments[0]) if arguments else RUNS
    chosen = [each for each in environments() if each.name in arguments[1:] or not arguments[1:]]
    print("| environment | without a leak | floor | planted | found | wrong |")
    print("|---|---|---|---|---|---|", flush=True)
    wrong, failed, absent = 0, [], []
    for environment in chosen:
        if missing := environment.missing():
            absent.append(f"{environment.name}: {missing}")
            continue
        faults, misses = tried(environment, runs)
        wrong += faults
        if misses > MISSED * runs:
            failed.append(environment.name)
    print(f"\n{len(chosen) - len(absent)} environments, {wrong} wrong verdicts.")
    print(*(f"Not made: {each}" for each in absent), sep="\n")
    print(*(f"Missed too often: {each}" for each in failed), sep="\n")
    return int(wrong > 0 or bool(failed))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
