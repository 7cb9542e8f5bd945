"""Does measuring slow the measured? The clean worker's time per step against a bare loop.

`python -m tests.bench FILE` runs both in turn, several times, and writes what it found.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from pathlib import Path

from memprof.reports.sinks import write_files
from memprof.scenario_file import load_scenario
from memprof.units import format_seconds
from memprof.worker.protocol import Request
from memprof.worker.spawn import Limits, run_worker

ROOT = Path(__file__).parents[1]
REPEATS = 7


def compare(name: str, repeats: int = REPEATS) -> dict[str, float | list[float]]:
    """Median seconds per step, bare and in the clean worker, in fresh interleaved processes."""
    path = ROOT / "scenarios" / f"{name}.yaml"
    loaded = load_scenario(path)
    bare, clean = [], []
    for repeat in range(repeats):
        for kind in ("bare", "clean") if repeat % 2 == 0 else ("clean", "bare"):
            if kind == "bare":
                bare.append(_bare(path))
            else:
                run = run_worker(Request("measure", loaded.spec(())), Limits(), lambda mark: None)
                clean.append(statistics.median(run.value.step_seconds))
    return {
        "bare_step_seconds": bare,
        "clean_step_seconds": clean,
        "ratio": statistics.median(clean) / statistics.median(bare),
    }


def _bare(path: Path) -> float:
    command = [sys.executable, "-m", "tests.bare_loop", str(path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout))


def main(target: str) -> None:
    found = {name: compare(name) for name in ("grid-29", "grid-5")}
    write_files({Path(target): json.dumps(found, indent=1) + "\n"})
    for name, values in found.items():
        bare = statistics.median(values["bare_step_seconds"])
        clean = statistics.median(values["clean_step_seconds"])
        print(
            f"{name}: bare loop {format_seconds(bare)} per step, clean worker "
            f"{format_seconds(clean)}, ratio {values['ratio']:.3f}"
        )
    print(f"Written: {target}")


if __name__ == "__main__":
    main(sys.argv[1])
