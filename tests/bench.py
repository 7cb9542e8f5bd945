"""Does measuring slow the measured? The clean worker's time per step against a bare loop.

`python -m tests.bench FILE` compares both on the same agents and writes what it found.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from pathlib import Path

from memprof.export.sinks import write_files
from memprof.text import format_seconds

ROOT = Path(__file__).parents[1]


def compare(name: str, processes: int = 3) -> dict[str, float]:
    """Median seconds per step, bare and clean, and the median over processes of their ratio."""
    bare, clean, ratios = [], [], []
    for _ in range(processes):
        path = ROOT / "scenarios" / f"{name}.yaml"
        command = [sys.executable, "-m", "tests.bare_loop", str(path)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        found = json.loads(done.stdout)
        bare.append(statistics.median(found["bare_step_seconds"]))
        clean.append(statistics.median(found["clean_step_seconds"]))
        ratios.append(clean[-1] / bare[-1])
    return {
        "bare_step_seconds": statistics.median(bare),
        "clean_step_seconds": statistics.median(clean),
        "ratio": statistics.median(ratios),
    }


def main(target: str) -> None:
    found = {name: compare(name) for name in ("grid-29", "grid-10", "grid-5")}
    write_files({Path(target): json.dumps(found, indent=1) + "\n"})
    for name, values in found.items():
        print(
            f"{name}: bare loop {format_seconds(values['bare_step_seconds'])} per step, clean "
            f"worker {format_seconds(values['clean_step_seconds'])}, ratio {values['ratio']:.3f}"
        )
    print(f"Written: {target}")


if __name__ == "__main__":
    main(sys.argv[1])
