"""What a population over shards costs beside one process: `python -m tests.figures_ray [NAME ...]`
measures on a cluster of this machine, prints each figure with what is asked, and ends with 1 if one
is missed.

Memory is PSS without pages of files, which are what was imported and whose share depends on other
processes: growth above what a process has once it has imported PyMDP and memprof. Speed is that
of `population.act`, shards and one process in turn in one program, each agent with random numbers
of its own.
"""

from __future__ import annotations

import gc
import hashlib
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import memprof
from memprof.api.optimise import optimize
from memprof.distributed.cluster import Cluster
from memprof.distributed.rows import as_array, gathered, narrow, part_of, wide
from memprof.instruments import process
from memprof.models.built_in import grid_world
from memprof.text import format_size
from memprof.upstream.numpy_agent import Agent

PASSES = ("history", "pool", "batch")
AGENTS, TIMED, ROUNDS = 200_000, 100_000, 7
KILLS, KILLED_ROUNDS, KILLED_AGENTS = 20, 200, 60
OUTCOMES = 100
_PSS = re.compile(r"^Pss_(?:Anon|Shmem): +(\d+) kB$", re.MULTILINE)
_MODEL: list[Any] = []


def make_agent(index: int) -> dict[str, Any]:
    """An agent of scenarios/grid-10.yaml; its arrays are built once in a process."""
    if not _MODEL:
        _MODEL.append(grid_world(10, "")(0).arguments)
    return {**_MODEL[0], "policy_len": 1}


def observed(turn: int, agents: int) -> np.ndarray:
    return (np.arange(agents) * 7 + turn * 3) % OUTCOMES


def pss_bytes() -> int:
    """Of this process, without pages of files."""
    gc.collect()
    rollup = Path("/proc/self/smaps_rollup").read_text()
    return 1024 * sum(map(int, _PSS.findall(rollup)))


class Nothing:
    """What a shard holds that has imported all that agents need."""

    def begun(self) -> None:
        return None


def one_process(agents: int) -> Any:
    """The population without Ray."""
    return optimize((Agent(**make_agent(index)) for index in range(agents)), PASSES)


def alone() -> int:
    """PSS that a population of one process adds to it, printed by a process of its own."""
    make_agent(0)
    before = pss_bytes()
    with one_process(AGENTS) as population:
        population.act(observed(0, AGENTS), seeds=range(AGENTS))
        process.settle()
        print(pss_bytes() - before)
    return 0


def memory() -> tuple[str, bool]:
    code = "import sys; from tests import figures_ray; sys.exit(figures_ray.alone())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    single = int(done.stdout)
    empty = Cluster(2)
    empty.results(
        [empty.send_own(n, "hold", "tests.figures_ray:Nothing") for n in range(empty.shards)]
    )
    before = sum(node.private_bytes + node.store_bytes for node in empty.nodes())
    empty.close()
    with memprof.distribute(make_agent, AGENTS, shards=2, passes=PASSES) as population:
        population.act(observed(0, AGENTS))
        after = sum(n.private_bytes + n.store_bytes for n in population.memory().nodes)
    ratio = (after - before) / single
    said = f"{format_size(after - before)} against {format_size(single)}: {ratio:.3f}"
    return f"{AGENTS:,} agents over 2 shards, PSS above imports: {said} (at most 1.1)", ratio <= 1.1


def speed() -> tuple[str, bool]:
    with (
        memprof.distribute(make_agent, TIMED, shards=2, passes=PASSES) as over,
        one_process(TIMED) as population,
    ):
        seeds = np.arange(TIMED)

        def once(turn: int) -> float:
            population.act(observed(turn, TIMED), seeds=seeds)
            return 0.0

        rates: dict[str, list[float]] = {"one process": [], "two shards": []}
        acts: dict[str, Callable[[int], Any]] = {
            "one process": once,
            "two shards": lambda turn: over.act(observed(turn, TIMED)),
        }
        for turn in range(ROUNDS + 1):
            for name, act in acts.items():
                start = time.perf_counter()
                act(turn)
                rates[name].append(TIMED / (time.perf_counter() - start))
    one, two = (rates[name][1:] for name in rates)
    ratio = statistics.median(b / a for a, b in zip(one, two, strict=True))
    what = ", ".join(f"{n} {statistics.median(each[1:]):,.0f}" for n, each in rates.items())
    return f"agent-steps per second: {what}: {ratio:.2f} times (at least 1.7)", ratio >= 1.7


def overhead() -> tuple[str, bool]:
    """A shard without agents of its own beside an actor that has imported PyMDP."""
    import ray

    with memprof.distribute(make_agent, 2, shards=2, passes=PASSES) as population:
        population.act([0, 0])
        (node,) = population.memory().nodes
        mine = node.private_bytes / 2

        class Empty:
            def pss(self) -> int:
                import pymdp.legacy.agent  # noqa: F401

                return pss_bytes()

        make: Any = ray.remote(num_cpus=0)(Empty)
        actors = [make.remote() for _ in range(2)]
        ray.get([each.pss.remote() for each in actors])
        theirs = statistics.fmean(ray.get([each.pss.remote() for each in actors]))
    ratio = mine / theirs
    said = f"{format_size(mine)} against {format_size(theirs)}: {ratio:.2f}"
    return f"a shard beside an empty actor with PyMDP: {said} (at most 1.2)", ratio <= 1.2


def messages() -> tuple[str, bool]:
    agents, turns, shards = 10_000, 5, 2
    with memprof.distribute(make_agent, agents, shards=shards, passes=PASSES) as population:
        population.act(observed(0, agents))
        before = population.traffic.copy()
        payload = 0
        for turn in range(turns):
            seen = observed(turn, agents)
            payload += seen.nbytes + population.act(seen).nbytes
        found = population.traffic.since(before)
    each = found.sent / turns / shards
    said = (
        f"{each:g} each way per shard and turn, {found.size_bytes:,} B with arrays of {payload:,}"
    )
    less = found.size_bytes < payload + 1024 * turns * shards
    once = found.sent == found.received == turns * shards
    return f"messages: {said} (1, at most 1,024 B more per shard)", once and less


def kills() -> tuple[str, bool]:
    random = np.random.default_rng(24)
    kill_at = sorted(random.choice(np.arange(1, KILLED_ROUNDS), KILLS, replace=False).tolist())
    digests, recovered = [], 0
    for killed in (False, True):
        digest = hashlib.blake2b(digest_size=8)
        with (
            tempfile.TemporaryDirectory() as folder,
            memprof.distribute(make_agent, KILLED_AGENTS, shards=2, passes=PASSES) as population,
        ):
            for turn in range(KILLED_ROUNDS):
                if turn % 10 == 0:
                    population.checkpoint(Path(folder) / "agents")
                if killed and turn in kill_at:
                    place = population.places[int(random.integers(2))]
                    pause = float(random.random()) * 0.01
                    subprocess.Popen(
                        ["sh", "-c", f"sleep {pause}; kill -{signal.SIGKILL.value} {place.pid}"]
                    )
                    time.sleep(float(random.random()) * 0.01)
                digest.update(population.act(observed(turn, KILLED_AGENTS)).tobytes())
            for index in range(KILLED_AGENTS):
                digest.update(population.activate(index, beliefs_of))
            recovered = population.recovered
        digests.append(digest.hexdigest())
    same = digests[0] == digests[1]
    said = f"{recovered} shards died and went on; digests {' and '.join(digests)}"
    return f"{KILLS} kills over {KILLED_ROUNDS} rounds: {said} (equal)", same and recovered > 0


def beliefs_of(agent: Any) -> bytes:
    beliefs: bytes = agent.qs[0].tobytes()
    return beliefs


def plan() -> tuple[str, bool]:
    """What docs/ray.md computes its plan from: of one agent, on one core."""
    few, many = 20_000, 60_000
    held, built = [], []
    for agents in (few, many):
        start = time.perf_counter()
        with memprof.distribute(make_agent, agents, shards=1, passes=PASSES) as population:
            built.append(time.perf_counter() - start)
            population.act(observed(0, agents))
            held.append(sum(n.private_bytes + n.store_bytes for n in population.memory().nodes))
            turns = []
            for turn in range(1, 6):
                start = time.perf_counter()
                population.act(observed(turn, agents))
                turns.append(time.perf_counter() - start)
            with tempfile.TemporaryDirectory() as folder:
                start = time.perf_counter()
                population.checkpoint(Path(folder) / "agents")
                saving = time.perf_counter() - start
                size = sum(
                    each.stat().st_blocks * 512
                    for each in Path(folder).rglob("*")
                    if each.is_file()
                )
    every, seen = many - few, observed(0, 10**6)
    did = narrow(np.zeros((len(seen) // 8, 1)))
    places = [slice(n, None, 8) for n in range(8)]
    start = time.perf_counter()
    _ = [narrow(part_of(as_array(seen), each)) for each in places]
    gathered(len(seen), [(each, wide(did)) for each in places])
    at_driver = (time.perf_counter() - start) / len(seen)
    said = [
        f"one more agent: {(held[1] - held[0]) / every:,.0f} B",
        f"built in {(built[1] - built[0]) / every * 1e3:.2f} ms",
        f"a turn {statistics.median(turns) / many * 1e6:.1f} us",
        f"a checkpoint {saving / many * 1e3:.2f} ms and {size / many:,.0f} B",
        f"at the driver {at_driver * 1e6:.3f} us a turn",
    ]
    return "; ".join(said), True


FIGURES = {
    "plan": plan,
    "memory": memory,
    "speed": speed,
    "overhead": overhead,
    "messages": messages,
    "kills": kills,
}


def main(names: list[str]) -> int:
    missed = 0
    for name in names or FIGURES:
        said, reached = FIGURES[name]()
        print("  " if reached else "! ", said, flush=True)
        missed += not reached
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
