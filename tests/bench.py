"""Does measuring slow the measured? The clean worker's time per step against a bare loop. And where
does the time of a profile go?

`python -m tests.bench FILE` compares both on the same agents, times the phases of a profile's
workers, and writes what it found.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

from memprof.export.sinks import write_files
from memprof.launch.runner import Observer
from memprof.posix import Limits
from memprof.profile.run import profile
from memprof.scenario import load_scenario
from memprof.text import format_seconds
from memprof.values.measurements import Mark

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


class Phases(Observer):
    """How long each worker was in each phase, and when the first figure was known, in seconds."""

    def __init__(self) -> None:
        self.start = time.time()
        self.first_figure: float | None = None
        self.marks: dict[str, list[Mark]] = {}

    def worker(self, title: str, number: int, total: int, left_seconds: float | None) -> None:
        self.marks[title] = [Mark(time.time(), "start")]

    def phase(self, title: str, mark: Mark) -> None:
        self.marks[title].append(mark)

    def known(self, finding: str) -> None:
        self.first_figure = self.first_figure or time.time() - self.start

    def seconds(self) -> dict[str, dict[str, float]]:
        """By worker and phase; without the end of each, which nothing marks."""
        found: dict[str, dict[str, float]] = {}
        for title, marks in self.marks.items():
            phases = found.setdefault(title, {})
            for mark, after in pairwise(marks):
                phases[mark.label] = phases.get(mark.label, 0.0) + after.seconds - mark.seconds
        return found


def time_of_profile(name: str) -> dict[str, Any]:
    """Where the time of a whole profile goes, in seconds."""
    phases = Phases()
    profile(load_scenario(ROOT / "scenarios" / f"{name}.yaml"), Limits(), phases)
    return {
        "seconds": time.time() - phases.start,
        "first_figure_seconds": phases.first_figure,
        "workers": phases.seconds(),
    }


def main(target: str) -> None:
    names = ("grid-29", "grid-10", "grid-5")
    found = {name: compare(name) for name in names}
    profiles = {name: time_of_profile(name) for name in ("grid-29", "t-maze", "grid-5")}
    write_files({Path(target): json.dumps({"steps": found, "profiles": profiles}, indent=1) + "\n"})
    for name, values in found.items():
        print(
            f"{name}: bare loop {format_seconds(values['bare_step_seconds'])} per step, clean "
            f"worker {format_seconds(values['clean_step_seconds'])}, ratio {values['ratio']:.3f}"
        )
    for name, each in profiles.items():
        print(
            f"{name}: a profile takes {each['seconds']:.0f} s, "
            f"its first figure {each['first_figure_seconds']:.0f} s"
        )
        for title, phases in each["workers"].items():
            spent = ", ".join(f"{label} {seconds:.1f}" for label, seconds in phases.items())
            print(f"  {title}: {spent}")
    print(f"Written: {target}")


if __name__ == "__main__":
    main(sys.argv[1])
