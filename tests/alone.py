"""What an agent costs a process of such agents, measured without memprof: the truth of figures."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

_TRUTH = """
import gc, re, sys
from pathlib import Path
import factory

make, size, count = getattr(factory, sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])

def private():
    gc.collect()
    found = Path("/proc/self/smaps_rollup").read_text()
    return 1024 * int(re.search(r"^Anonymous: +(\\d+) kB$", found, re.M)[1])

def lived():
    agent = make(size)
    agent.infer_states([0]); agent.infer_policies(); agent.sample_action()
    agent.infer_states([1]); agent.infer_policies(); agent.sample_action()
    return agent

keep = [lived() for _ in range(count // 2)]
start = private()
keep += [lived() for _ in range(count)]
print((private() - start) / count)
"""


def cost_alone(folder: Path, make: str, size: int, count: int) -> float:
    """Bytes by which a process grows for each of `count` agents, which have lived two steps and
    half as many before them; `make` of the folder's `factory.py` makes one of a size."""
    done = subprocess.run(
        [sys.executable, "-c", _TRUTH, make, str(size), str(count)],
        cwd=folder, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return float(done.stdout)
