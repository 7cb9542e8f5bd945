"""`make fuzz`: stores crafted by someone who knows the format, each opened and read to the end.

`python -m tests.fuzz_stores [--count 1000] [--seed N] [--part container|content] [--name TEXT]`
opens each in a process of its own, activates every agent and reads all of it. The agent comes back,
or there is a StoreError; never anything else, nor a signal, more than 100 ms of processor time
beyond what the store takes that nobody has touched, or 50 MB, for what is crafted in some hundred
kilobytes. Prints what breaks that; ends with 1
if anything does.
"""

from __future__ import annotations

import argparse
import gc
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, cycle, islice
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from pymdp.legacy.agent import Agent

import memprof
from memprof.errors import StoreError
from memprof.instruments import process
from memprof.models import model_builder
from memprof.storage.history import History
from tests.crafted import containers, graphs, histories, mutations, records
from tests.crafted.pieces import Crafted

MB = 10**6
MOST_SECONDS, MOST_BYTES = 0.1, 50 * MB
HANGS_SECONDS, BUSY_SECONDS = 60, 15
GUARD_BYTES = 8 << 30  # of addresses: no measure, but this machine's protection
PARTS = {
    "container": (
        (containers.headers, containers.keys),
        (mutations.random_headers, mutations.random_classes),
    ),
    "content": (
        (
            records.arrays,
            records.containers,
            records.atoms,
            records.records,
            records.orders,
            histories.tails,
            histories.chunks,
            graphs.views,
            graphs.frozen,
            graphs.marks,
            graphs.derivations,
            containers.templates,
            containers.shared,
        ),
        (mutations.random_records, mutations.random_templates),
    ),
}


@dataclass(frozen=True)
class Outcome:
    """What became of one store.

    Attributes:
        end: "agents", "refused", or what else happened.
        seconds: of processor time, beyond the untouched store's.
        more_bytes: by which the process's largest size grew.
        where: of a store that was refused, the function of memprof's that found out.
    """

    end: str
    seconds: float = 0.0
    more_bytes: int = 0
    where: str = ""

    def problem(self, most_seconds: float) -> str | None:
        """What is wrong with it."""
        if self.end not in ("agents", "refused"):
            return self.end
        if self.seconds > most_seconds:
            return f"{self.end} after {self.seconds:.2f} s"
        if self.more_bytes > MOST_BYTES:
            return f"{self.end} with {self.more_bytes / MB:.0f} MB"
        return None


def plain_store(folder: Path) -> Crafted:
    """The store of three agents that have learned and lived, untouched."""
    arguments = model_builder({"kind": "grid_world", "size": 10}, ".")(0).arguments
    agents = []
    for number in range(3):
        agent = Agent(**arguments)
        agent.note = ["a", (1, 2.5), {"b": None}, np.arange(number)]
        agents.append(agent)
    population = memprof.optimize(agents, ["history", "mmap"], store=folder)
    with population:
        for index in range(3):
            with population.activate(index) as agent:
                for step in range(35 * (index == 2) + 2):
                    np.random.seed(step)
                    agent.infer_states([step % 100])
                    agent.infer_policies()
                    agent.sample_action()
    return Crafted.of(folder)


def crafted(plain: Crafted, part: str, count: int, seed: int) -> Iterator[tuple[str, Crafted]]:
    """So many stores: those of each kind in a random order, the kinds in turn, a third of them
    from endless mutations."""
    fixed, endless = PARTS[part]
    random = Random(seed)
    kinds: list[Iterator[tuple[str, Crafted]]] = []
    for kind in fixed:
        made = [(f"{kind.__name__}: {name}", store) for name, store in kind(plain)]
        random.shuffle(made)
        kinds.append(iter(made))
    wild = [kind(plain, Random(random.random())) for kind in endless]
    turns = cycle([*kinds, *(wild * max(1, len(kinds) // (2 * len(wild))))])
    found = (next(each, None) for each in turns)
    return islice((each for each in found if each is not None), count)


def read_all(folder: Path, readonly: bool) -> None:
    """Open a store, activate every agent, read all attributes, put it to rest."""
    with memprof.reopen(folder, Agent, readonly=readonly) as population:
        for index in population.in_turn():
            with population.activate(index) as agent:
                _read(vars(agent))
        population.memory()


def _read(value: Any) -> None:
    seen: set[int] = set()
    stack = [value]
    while stack:
        value = stack.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, dict):
            stack += chain(value, value.values())
        elif isinstance(value, list | tuple):
            stack += value
        elif isinstance(value, History):
            stack += list(value)
            stack += value[-2:]
        elif isinstance(value, np.ndarray) and value.dtype.hasobject:
            stack += value.ravel().tolist()
        elif isinstance(value, np.ndarray):
            value.tobytes()
        else:
            hash(value)


def tried(store: Crafted, plain: Path, readonly: bool = False) -> Outcome:
    """What becomes of a store in a process of its own; `plain` is the untouched one."""
    with tempfile.TemporaryDirectory(prefix="memprof-fuzz-") as scratch:
        folder = Path(scratch, "store")
        store.write(folder)
        results, answer = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(results)
            _guard()
            read_all(plain, readonly)  # once, for what only the first activation takes
            usual, *_ = _measured(plain, readonly)
            seconds, more, end, where = _measured(folder, readonly)
            os.write(answer, f"{seconds - usual} {more} {where} {end}".encode()[:4000])
            os._exit(0)
        os.close(answer)
        with os.fdopen(results, "rb") as file:
            said = file.read().decode()
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if not said:
        return Outcome(f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit {code}")
    seconds, more, where, end = said.split(" ", 3)
    return Outcome(end, float(seconds), int(more), where)


def _guard() -> None:
    signal.alarm(HANGS_SECONDS)
    resource.setrlimit(resource.RLIMIT_CPU, (BUSY_SECONDS, BUSY_SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + GUARD_BYTES, used + GUARD_BYTES))


def _measured(folder: Path, readonly: bool) -> tuple[float, int, str, str]:
    process.settle()  # else what is free within the heap hides as much growth
    process.reset_peak()
    before = process.peak_rss_bytes() or 0
    where = ""
    start = time.process_time()
    try:
        read_all(folder, readonly)
        end = "agents"
    except StoreError as error:
        where = _own_frame(error.__cause__ or error).name
        end = "refused" if len(str(error)) < 2000 else "StoreError of more than 2,000 characters"
    except IndexError as error:
        # A record that says of itself that it was removed.
        end = "agents" if "has left the population" in str(error) else _described(error)
    except BaseException as error:
        end = _described(error)
    seconds = time.process_time() - start
    return seconds, (process.peak_rss_bytes() or 0) - before, end, where


def _own_frame(error: BaseException) -> traceback.FrameSummary:
    frames = traceback.extract_tb(error.__traceback__)
    return ([frame for frame in frames if "memprof/" in frame.filename] or frames)[-1]


def _described(error: BaseException) -> str:
    frame = _own_frame(error)
    where = f"{Path(frame.filename).name}:{frame.lineno}"
    return f"{type(error).__name__} in {where}: {str(error)[:80]}"


def run(
    count: int,
    seed: int,
    parts: tuple[str, ...] = tuple(PARTS),
    most_seconds: float = MOST_SECONDS,
    only: str = "",
    verbose: bool = False,
) -> list[str]:
    """Try so many stores; what is wrong with any of them."""
    problems = []
    ends: Counter[str] = Counter()
    places: Counter[str] = Counter()
    slowest, largest = 0.0, 0
    with tempfile.TemporaryDirectory(prefix="memprof-fuzz-") as scratch:
        folder = Path(scratch, "plain")
        plain = plain_store(folder)
        gc.freeze()  # what is there now, no child has to look through
        known = tried(plain, folder)
        assert known.end == "agents", known
        share = count // len(parts)
        stores = chain(*(crafted(plain, part, share, seed) for part in parts))
        for number, (name, store) in enumerate(stores):
            if only not in name:
                continue
            outcome = tried(store, folder, readonly=number % 2 == 1)
            ends[outcome.end if outcome.problem(most_seconds) is None else "wrong"] += 1
            places[outcome.where] += bool(outcome.where)
            slowest = max(slowest, outcome.seconds)
            largest = max(largest, outcome.more_bytes)
            problem = outcome.problem(most_seconds)
            if problem is not None:
                problems.append(f"{name}: {problem}")
                if verbose:
                    print(problems[-1], flush=True)
        gc.unfreeze()
    if verbose:
        print(
            f"{sum(ends.values())} stores with seed {seed}: {dict(ends)}; most processor time "
            f"{1000 * slowest:.0f} ms, most memory {largest / MB:.0f} MB"
        )
        print("refused by", ", ".join(f"{name} {times}" for name, times in places.most_common()))
    return problems


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz_stores", description=__doc__)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--part", choices=PARTS, action="append")
    parser.add_argument("--name", default="", help="only those with this in their name")
    chosen = parser.parse_args(arguments)
    parts = tuple(chosen.part or PARTS)
    return int(bool(run(chosen.count, chosen.seed, parts, only=chosen.name, verbose=True)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
