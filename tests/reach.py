"""PyMDP's own notebooks under `memprof run`, unedited: `python -m tests.reach path/to/pymdp`.

Each notebook first runs by itself, in a kernel that knows nothing of memprof and counts what the
constructors of PyMDP's agents end with: how many, of which class, built by which cell. Those that
come to their end run again under `memprof run`, which has to end with 0 and to name all of it.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

LEGACY, SHARE = "legacy", 0.9
COUNTER = """
def count_agents():
    import collections, functools, re, sys
    import jax, pymdp.agent

    cls, shell, found = pymdp.agent.Agent, get_ipython(), collections.Counter()
    build = cls.__init__

    @functools.wraps(build)
    def counted(self, *values, **keywords):
        build(self, *values, **keywords)
        if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree_util.tree_leaves(self.A)):
            return
        frame, cell = sys._getframe(1), None
        while frame is not None and cell is None:
            cell = shell.compile.format_code_name(frame.f_code.co_filename)
            frame = frame.f_back
        found[type(self).__qualname__, cell and re.search("[0-9]+", cell[1])[0]] += 1

    setattr(cls, "__init__", counted)
    return found

counted_agents = count_agents()
del count_agents
"""


def alone(file: Path) -> list[tuple[str, str, int]]:
    """What a notebook builds, run by itself: class, cell, how many agents.

    Raises:
        Exception: it does not come to its end.
    """
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(file, as_version=4)
    client = NotebookClient(
        notebook, kernel_name="python3", resources={"metadata": {"path": str(file.parent)}}
    )
    with client.setup_kernel():
        client.wait_for_reply(client.kc.execute(COUNTER, silent=True))  # is no cell that counts
        for place, cell in enumerate(notebook.cells):
            client.execute_cell(cell, place)
        said = nbformat.v4.new_code_cell(
            "import json\nprint(json.dumps([[*kind, n] for kind, n in counted_agents.items()]))"
        )
        client.execute_cell(said, 0, store_history=False)
    return json.loads(said.outputs[-1]["text"])


def watched(file: Path, folder: Path, seconds: float) -> dict[str, Any] | str:
    """The report of a notebook under `memprof run`, or why there is none."""
    command = [sys.executable, "-P", "-m", "memprof", "run", "--quiet", "--out", str(folder)]
    try:
        done = _run([*command, file.name], file.parent, seconds)
    except subprocess.TimeoutExpired:
        return f"not done in {seconds:g} s"
    if done.returncode:
        return f"exit code {done.returncode}: {_last_line(done.stderr)}"
    return json.loads((folder / f"{file.stem}-run.json").read_text())


def missing(built: list[tuple[str, str, int]], report: dict[str, Any]) -> list[str]:
    """Kinds that the report does not name, or of which it counts another number."""
    named: dict[tuple[str, str], int] = {}
    for kind in report["kinds"]:
        name = kind["class_name"].rpartition(".")[2]
        cell = kind["built_at"]["path"] if kind["built_at"] else ""
        named[name, cell] = named.get((name, cell), 0) + kind["built"]
    said = []
    for name, cell, count in built:
        found = named.get((name, f"cell {cell}"), 0)
        if found != count:
            said.append(f"{name} (cell {cell}): {found} of {count}")
    return said


def _run(command: list[str], folder: Path, seconds: float) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=seconds, check=False
    )


def _last_line(text: str) -> str:
    return next((each for each in reversed(text.splitlines()) if each.strip()), "")[:120]


def look(file: Path, folder: Path, seconds: float) -> tuple[str, str]:
    """How a notebook went: whether it ran, by itself and watched; and more of it."""
    start = time.monotonic()
    try:
        done = _run([sys.executable, "-m", "tests.reach", "--one", str(file)], file.parent, seconds)
    except subprocess.TimeoutExpired:
        return "too long here", f"not done in {seconds:g} s"
    if done.returncode:
        return "not by itself", _last_line(done.stderr)
    took = time.monotonic() - start
    built = json.loads(done.stdout.splitlines()[-1])
    start = time.monotonic()
    report = watched(file, folder, 2 * seconds)
    took_watched = time.monotonic() - start
    if isinstance(report, str):
        return "MISSED", report
    said = missing(built, report)
    agents = sum(count for _, _, count in built)
    times = f"{len(built)} kinds, {agents} built, {took:.0f} s, watched {took_watched:.0f} s"
    return ("MISSED" if said else "as it should"), "; ".join([times, *said])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pymdp", type=Path, help="a checkout of PyMDP")
    parser.add_argument("--only", default="", help="notebooks with this in their path")
    parser.add_argument("--seconds", type=float, default=240, help="the limit of each notebook")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    wanted = parser.parse_args()
    if wanted.one:
        print(json.dumps(alone(wanted.pymdp)))
        return 0
    paths = os.pathsep.join(filter(None, [str(Path.cwd()), os.environ.get("PYTHONPATH")]))
    os.environ.update(PYTHONPATH=paths)
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    outcomes: list[str] = []
    with tempfile.TemporaryDirectory() as name:
        os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", f"{name}/compiled")
        examples = Path(shutil.copytree(wanted.pymdp / "examples", f"{name}/examples"))
        for file in sorted(examples.rglob("*.ipynb")):
            path = file.relative_to(examples)
            if LEGACY not in path.parts and wanted.only in str(path):
                outcome, more = look(file, Path(name) / "reports", wanted.seconds)
                outcomes.append(outcome)
                print(f"{path} | {outcome} | {more}", flush=True)
    good, bad = outcomes.count("as it should"), outcomes.count("MISSED")
    share = good / max(1, good + bad)
    print(f"{good} of {good + bad} that run by themselves: {share:.0%}")
    return int(share < SHARE)


if __name__ == "__main__":
    sys.exit(main())
