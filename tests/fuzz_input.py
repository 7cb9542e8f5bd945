"""`make fuzz`: what others wrote, mutated, through every command that reads it.

`python -m tests.fuzz_input [--part scenarios|reports|archives] [--count N] [--seed N]` tries 10,000
scenarios, 5,000 reports and baselines, and 200 .npz files. Each is taken or refused with one short
message that no terminal or CI server takes for more, under 2 s of processor time and 300 MB; never
a traceback. Prints what breaks that; ends with 1 if anything does.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

from tests.hostile import archives, reports, scenarios, trial

COUNTS = {"scenarios": 10_000, "reports": 5_000, "archives": 200}
_INPUTS = {
    "scenarios": scenarios.inputs,
    "reports": reports.inputs,
    "archives": archives.inputs,
}


def run(
    part: str,
    count: int,
    seed: int,
    seconds: float = trial.MOST_SECONDS,
    verbose: bool = False,
    only: str = "",
) -> list[str]:
    """Try so many inputs of a kind; what is wrong with any of them."""
    before = os.environ.copy()
    os.environ.update(GITHUB_ACTIONS="true", COLUMNS="80")
    try:
        with tempfile.TemporaryDirectory(prefix="memprof-fuzz-") as folder:
            made = _INPUTS[part](count, seed, Path(folder))
            made = (each for each in made if only in each[0])
            return trial.run(made, part, seconds=seconds, verbose=verbose)
    finally:
        os.environ.clear()
        os.environ.update(before)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz_input", description=__doc__)
    parser.add_argument("--part", choices=COUNTS, action="append")
    parser.add_argument("--count", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--name", default="", help="only those with this in their name")
    chosen = parser.parse_args(arguments)
    problems = [
        each
        for part in chosen.part or COUNTS
        for each in run(
            part, chosen.count or COUNTS[part], chosen.seed, verbose=True, only=chosen.name
        )
    ]
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
