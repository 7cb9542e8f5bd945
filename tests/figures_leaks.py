"""`python -m tests.figures_leaks [NAME...]`: the planted leaks of `scenarios/leaks`, each by
`memprof leak` as it comes: whether it is found, whether the first site is the planted one, and how
long that takes.

Interned names leak under CPython 3.12.0 to 3.12.6 only: `PYTHON_3_12=PATH` names such an
interpreter with memprof's dependencies; without it that leak is left out, by name. Ends with 1 if
one is not found, or if more than one first site is another.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import COMMAND, SCENARIOS

ALLOWED = 1
"""First sites that may be others."""


@dataclass(frozen=True, slots=True)
class Planted:
    """A leak, and what the report has to say of its first site.

    Attributes:
        owner: what holds it; empty where nothing does, or does not matter.
        text: of the line that made, opened or traced it.
        counted: what of `COUNTS` grows there.
        cause: its kind, where memprof knows one.
        mode: where agents that come and go do not have it.
        python: the variable that names the interpreter which has it.
    """

    owner: str = ""
    text: str = ""
    counted: str | None = None
    cause: str | None = None
    mode: str = ""
    python: str = ""


LEAKS = {
    "small-object": Planted("planted.NOTES", "Note(0)"),
    "native-buffer": Planted("", "_libc.strdup("),
    "finalizer-cycle": Planted("finalize._registry", "self.buffer = bytearray(1000)"),
    "lru-cache": Planted("planted.lookup (lru_cache)", "return np.zeros(100)"),
    "pinned-views": Planted("planted.ROWS", "table = np.zeros((100, 10))"),
    "callback-registry": Planted("planted.SUBSCRIBERS", "moves = np.stack("),
    "diary": Planted("Diary.seen", "self.seen.append("),
    "prev-actions": Planted("Agent.prev_actions", cause="history", mode="steps"),
    "eager-jax": Planted("", "lax.scan(", cause="retracing", mode="steps"),
    "object-grid": Planted("Grid.cells", cause="array cycle"),
    "kept-exception": Planted("planted.ERRORS", cause="exception"),
    "method-cache": Planted("planted.Chart.area (lru_cache)", cause="method cache"),
    "endless-finalizer": Planted(cause="garbage"),
    "interned-names": Planted(cause="interned names", python="PYTHON_3_12"),
    "descriptor": Planted("", "os.open(os.devnull", "descriptors"),
    "connection": Planted("counted.KEPT", "socket.socket(", "descriptors"),
    "thread": Planted("", "threading.Thread(", "threads"),
    "native-thread": Planted("", "_libc.pthread_create(", "threads"),
    "child-process": Planted("counted.KEPT", "subprocess.Popen(", "children"),
    "shared-segment": Planted("", "SharedMemory(create=True", "segments"),
    "memory-map": Planted("counted.KEPT", "mmap.mmap(", "maps"),
    "temporary-file": Planted("", "tempfile.mkstemp()", "files"),
    "compiled-program": Planted("", "double(1.0)", "programs"),
    "uncollectable": Planted("gc.garbage", "Island"),
    "open-figure": Planted("Gcf.figs", "matplotlib.pyplot.figure(", "figures"),
    "logger": Planted("Manager.loggerDict", "logging.getLogger(", "loggers"),
    "handler": Planted("Logger.handlers", "addHandler(", "handlers"),
    "warning": Planted("", "warnings.warn(", "warnings"),
}


def main(names: list[str]) -> int:
    """Check those that are named, or all."""
    missed, others, looked = [], [], 0
    for name in names or LEAKS:
        planted = LEAKS[name]
        python = os.environ.get(planted.python, "") if planted.python else sys.executable
        if not python:
            print(f"{name}: left out, {planted.python} names no interpreter", flush=True)
            continue
        looked += 1
        start = time.monotonic()
        code, report = checked(name, planted, python)
        leak = report.get("leak", {})
        site = next(iter(leak.get("sites", ())), {})
        wrong = wrong_in(site, planted)
        missed += [name] * (code != 1)
        others += [name] * bool(wrong)
        grows = [each["name"] for each in leak.get("signals", ()) if each["verdict"] == "leak"]
        seconds = time.monotonic() - start
        print(f"{name}: {leak.get('verdict', f'exit code {code}')} ({', '.join(grows)}); "
              f"{wrong or 'its site'}; {seconds:.0f} s", flush=True)  # fmt: skip
    print(f"{looked - len(missed)} of {looked} found, the first site is the planted one in "
          f"{looked - len(others)}; missed: {missed}; other sites: {others}")  # fmt: skip
    return int(bool(missed) or len(others) > ALLOWED)


def checked(name: str, planted: Planted, python: str) -> tuple[int, dict]:
    """The command's exit code, and its report."""
    with tempfile.TemporaryDirectory(prefix="memprof-leaks-") as folder:
        report = Path(folder) / "report.json"
        done = subprocess.run(
            [
                python, *COMMAND[1:], "leak", str(SCENARIOS / "leaks" / f"{name}.yaml"), "-q",
                "--repeats", "1", *(["--mode", planted.mode] if planted.mode else []),
                "--out", folder, "--json", str(report),
            ],
            check=False, capture_output=True, text=True,
        )  # fmt: skip
        return done.returncode, json.loads(report.read_text()) if report.exists() else {}


def wrong_in(site: dict, planted: Planted) -> str:
    """What a site says otherwise than was planted; empty if all is right."""
    lines = [each["text"] for each in (*site.get("yours", ()), *site.get("lines", ()))]
    cause = (site.get("cause") or {}).get("kind")
    if planted.owner and site.get("owner") != planted.owner:
        return f"held by {site.get('owner')!r} instead of {planted.owner!r}"
    if planted.text and not any(planted.text in line for line in lines):
        return f"made at {lines[:1]} instead of {planted.text!r}"
    if planted.counted != site.get("counted") and planted.counted is not None:
        return f"counts {site.get('counted')!r} instead of {planted.counted!r}"
    if planted.cause is not None and cause != planted.cause:
        return f"caused by {cause!r} instead of {planted.cause!r}"
    return ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
