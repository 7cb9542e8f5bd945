"""Make reports/examples anew, by the commands in the README, and what README and docs show of it.

`python -m tests.examples` measures (five minutes on a quiet machine); with names of examples it
makes only those, and with `--shown` it measures nothing and only renders again. The million agents
of `grid-10-density` take half an hour (`make million`), so their report is only rendered again.
"""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from memprof.export.json_text import parse
from memprof.render import View, terminal, view_of
from tests.conftest import ROOT, run_command

EXAMPLES = ROOT / "reports" / "examples"
_LAST_LINES = 3  # which files were written
REGRESSIONS = ROOT / "tests" / "regressions"


def reports() -> list[Path]:
    """The JSON of each example."""
    found = sorted(EXAMPLES.glob("*.json"))
    return [file for file in found if '"memprof.report/' in file.read_text()[:100]]


def profile() -> None:
    _run(ROOT, "profile", "scenarios/grid-29.yaml", "--out", EXAMPLES)


def leak() -> None:
    scenario = "scenarios/leaks/prev-actions.yaml"
    _run(ROOT, "leak", scenario, "--mode", "steps", "--out", EXAMPLES, code=1)


def run() -> None:
    _run(ROOT / "scenarios", "run", "--out", EXAMPLES, "simulation.py")


def gate() -> None:
    """A team's agents begin to keep a copy of their A."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file in ("team.py", "team.yaml"):
            shutil.copy(REGRESSIONS / file, folder)
        _run(folder, "gate", "team.yaml", "--update")
        _run(folder, "gate", "team.yaml", "--out", EXAMPLES, code=1, PLANT="copy")


MADE: dict[str, Callable[[], None]] = {
    "profile": profile,
    "leak": leak,
    "run": run,
    "gate": gate,
}


def _run(folder: Path, *arguments: object, code: int = 0, **environment: str) -> None:
    done = run_command(folder, *arguments, timeout=1800, **environment)
    if done.code != code:
        raise SystemExit(f"{arguments}: expected {code}, found {done.code}\n{done.out}{done.err}")


def show() -> None:
    """Every format of every example, and what they look like on a terminal in README and docs."""
    for file in reports():
        _run(ROOT, "report", file, "--out", EXAMPLES)
    leaks = _printed("prev-actions-leak-steps").split("\n\nEnvironment\n")[0]
    for path, block in (
        ("README.md", screen("grid-29")),
        ("README.md", screen("simulation-run")),
        ("docs/leaks.md", leaks),
        ("docs/run.md", screen("simulation-run")),
    ):
        file = ROOT / path
        file.write_text(_with_block(file.read_text(), block))


def _printed(name: str) -> str:
    return _stripped(terminal.render(_view(name), width=80, color=False))


def screen(name: str) -> str:
    """What the command itself prints, but for its last lines."""
    room = terminal.SCREEN_LINES - _LAST_LINES
    return _stripped(terminal.render_brief(_view(name), width=80, color=False, room=room))


def _view(name: str) -> View:
    return view_of(parse((EXAMPLES / f"{name}.json").read_text()))


def _stripped(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.strip("\n").split("\n"))


def _with_block(text: str, block: str) -> str:
    """The first fenced block that begins with the same line is replaced, but for what it says in
    the end of files that were written."""
    title, _, _ = block.partition("\n")
    found = re.search(
        rf"```\n({re.escape(title)}\n.*?)(\n\nWritten: [^\n]*(?:\nFull report: [^\n]*)?)?\n```",
        text,
        re.DOTALL,
    )
    if found is None:
        raise SystemExit(f"no block begins with {title!r}")
    return text[: found.start(1)] + block + (found[2] or "") + text[found.end() - 4 :]


def main(chosen: list[str]) -> None:
    if chosen != ["--shown"]:
        for name in chosen or MADE:
            MADE[name]()
    show()


if __name__ == "__main__":
    main(sys.argv[1:])
