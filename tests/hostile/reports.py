"""Reports and baselines mutated as values and as bytes.

Each goes through every command that reads one: shown and written again in every format, compared
with one that is right, in front of a gate. A number of them are valid JSON of the right types whose
fields contradict each other.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import chain, islice
from pathlib import Path
from random import Random
from typing import Any

from memprof.export.json_text import MOST_BYTES, parse, parse_baseline, render, render_baseline
from memprof.text import read_text
from memprof.values.gate import Baseline, BaselineEntry
from memprof.values.profile import Report
from tests import gate_reports
from tests.conftest import ROOT
from tests.hostile.scenarios import special_files
from tests.hostile.trees import damaged, mutated
from tests.hostile.trial import Ended, Input, command, problem_of, unfit

_EXAMPLES = ROOT / "reports" / "examples"
_LONGEST = 12  # of a list of the examples, which have thousands of samples
_DEVICE = {
    "agents": 4,
    "rows": [
        {"component": "A", "private_bytes": 40_000, "shared_bytes": 0, "buffers": 1},
        {"component": "others", "private_bytes": 0, "shared_bytes": 7_000, "buffers": 2},
    ],
    "before_bytes": 123, "caches_bytes": 5_000_000, "memory_stats": {"bytes_in_use": 5},
    "first_steps": 1, "first_traces": 23, "first_compilations": 52, "steps": 3,
    "traces_per_step": 2.0, "compilations_per_step": 1.0,
    "retraces": [{"path": "c.py", "line": 801, "text": "scan(body)", "traces_per_step": 2.0}],
}  # fmt: skip
_USE = {
    "budget_bytes": 1000, "active_agents": 2, "active_bytes": 900, "most_active_bytes": 950,
    "hits": 5, "activations": 3, "activated_ahead": 1, "hibernations": 2,
}  # fmt: skip


def bases() -> dict[str, Any]:
    """Reports that are right, of every kind and with everything that one can have, by name."""
    names = ("grid-29", "grid-10-density", "prev-actions-leak-steps")
    found = {name: _thinned(json.loads((_EXAMPLES / f"{name}.json").read_text())) for name in names}
    found["grid-29"]["variants"]["after"]["device"] = _DEVICE
    found["grid-29"]["variants"]["after"]["working_set"] = _USE
    leak = found["prev-actions-leak-steps"]["leak"]
    leak["warm_up_cycles"] = [1] * leak["repeats"]  # there may have been more than are left
    found |= {each.kind: json.loads(render(each)) for each in gate_reports.ALL}
    for each in found.values():
        parse(json.dumps(each))
    return found


def _thinned(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _thinned(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_thinned(each) for each in value[:_LONGEST]]
    return value


def baseline_of(values: Any) -> dict[str, Any]:
    """A baseline as the gate writes it, of one scenario's report."""
    report = parse(json.dumps(values))
    assert isinstance(report, Report)
    entry = BaselineEntry("case.yaml", "abc", report)
    whole: dict[str, Any] = json.loads(render_baseline(Baseline({"case": entry})))
    return whole


def texts(random: Random) -> Iterator[tuple[str, str, bytes]]:
    """Without end: a name, `report` or `baseline`, and what such a file may hold."""
    known = bases()
    # Profiles are most of what there is to get wrong.
    names = [*known, "grid-29", "grid-29", "grid-29", "grid-10-density", "prev-actions-leak-steps"]
    baseline = baseline_of(known["grid-29"])
    while True:
        kind, name = random.choice(("value",) * 9 + ("baseline", "bytes")), random.choice(names)
        if kind == "bytes":
            what, data = damaged(json.dumps(known[name]).encode(), random)
            yield f"{name}: {what}", "report", data
            continue
        tree = baseline if kind == "baseline" else known[name]
        what, tree = mutated(tree, random, random.choice((1, 1, 1, 1, 2, 3, 8)))
        shape = "baseline" if kind == "baseline" else "report"
        yield f"{name}: {what}", shape, _dumped(tree).encode("utf-8", "surrogatepass")


def _dumped(tree: Any) -> str:
    try:
        return json.dumps(tree)
    except ValueError:  # an integer with more digits than Python writes
        return "[" * 100_000


def tried_report(file: Path, right: Path, folder: Path) -> str:
    """How the commands end with such a report: all of them alike."""
    shown = command("report", str(file))
    problem = problem_of(shown, (0, 2))
    ends = [_end(shown)]
    if not problem and shown.code == 0:
        out = folder / "again"
        shutil.rmtree(out, ignore_errors=True)
        problem = problem_of(command("report", str(file), "--out", str(out)), (0,))
        problem = problem or next(filter(None, map(_written, sorted(out.iterdir()))), "")
    if not problem:
        for pair in ((file, right), (right, file)):
            arguments = ("compare", *map(str, pair), "--out", str(folder / "out"), "--github")
            found = command(*arguments, "--junit", str(folder / "junit.xml"), "--quiet")
            annotations, found = found.out, replace(found, out="")
            problem = problem or problem_of(found, (0, 1, 2, 3)) or _told(annotations)
            ends.append(_end(found))
    return f"wrong: {problem}" if problem else ends[0]


def _written(file: Path) -> str:
    """What is wrong with what was written of a report in one format."""
    text = file.read_text()
    if file.suffix == ".json":
        return "" if json.loads(text) else "nothing in it"
    if file.suffix == ".html":  # its scripts are others', and no text of a report's
        start = text.find("</style>")
        text = text[start : text.find("<script", start)]
    problem = unfit(text)
    return f"{file.suffix}: {problem}" if problem else ""


def _told(annotations: str) -> str:
    """What is wrong with the lines that are commands, and are to be no more than that."""
    levels = ("::error ", "::warning ", "::notice ")
    odd = [line for line in annotations.splitlines() if not line.startswith(levels)]
    return f"an annotation {odd[0]!r}" if odd else unfit(annotations.replace("::", ""))


def tried_baseline(file: Path, scenario: Path, right: Path, folder: Path) -> str:
    """How a gate ends in front of such a baseline, and its reports beside one that is right."""
    out = ("--out", str(folder / "out"), "--quiet", "--baseline", str(file))
    ends = []
    for arguments in ((str(scenario),), (), ("--update", str(scenario))):
        found = command("gate", *arguments, *out)
        problem = problem_of(found, ("worker", 2, 3))
        if problem:
            return f"wrong: gate {' '.join(arguments[:1])}: {problem}"
        ends.append(_end(found))
    try:
        known = parse_baseline(read_text(file, MOST_BYTES))
    except (OSError, ValueError):
        return "refused"
    for entry in known.scenarios.values():
        copy = folder / "entry.json"
        copy.write_text(render(entry.report))
        end = tried_report(copy, right, folder)
        if "wrong" in end:
            return f"{end} (of a baseline's entry)"
    return ends[0]


def _end(found: Ended) -> str:
    known: dict[int | str, str] = {2: "refused", 3: "not comparable", "worker": "would measure"}
    return known.get(found.code, "shown")


def inputs(count: int, seed: int, folder: Path) -> Iterator[Input]:
    """So many reports and baselines, a quarter of them at most no file of text."""
    random = Random(seed)
    file, right, scenario = (folder / each for each in ("made.json", "right.json", "case.yaml"))
    right.write_text(json.dumps(bases()["grid-29"]))
    scenario.write_text("name: case\nmodel: {kind: grid_world, size: 3}\nagents: 2\nsteps: 2\n")

    def attempt(kind: str, text: bytes | Path) -> str:
        if isinstance(text, bytes):
            file.write_bytes(text)
        path = file if isinstance(text, bytes) else text
        if kind == "baseline":
            return tried_baseline(path, scenario, right, folder)
        return tried_report(path, right, folder)

    kinds = ("report", "baseline")
    special = [(str(path)[:60], kind, path) for path in special_files(folder) for kind in kinds]
    random.shuffle(special)
    few = special[: count // 4]
    for name, kind, text in chain(few, islice(texts(random), count - len(few))):
        yield f"{kind} of {name}", partial(attempt, kind, text)
