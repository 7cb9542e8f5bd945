"""What `memprof doctor` shows: first what prevents measuring, then what weakens figures."""

from __future__ import annotations

from collections.abc import Sequence

from memprof.doctor.checks import Check, State
from memprof.render import Section, Table, View

_TITLES: dict[State, str] = {
    "broken": "Fix this first: nothing can be measured",
    "worse": "This makes figures less reliable",
    "fine": "Fine",
}


def doctor_view(checks: Sequence[Check]) -> View:
    """All checks, the gravest first."""
    sections = []
    for state, title in _TITLES.items():
        found = [each for each in checks if each.state == state]
        if found:
            columns = ("", "found", "what to do")[: 2 if state == "fine" else 3]
            rows = tuple((each.name, each.found, each.remedy)[: len(columns)] for each in found)
            sections.append(Section(title, (), (Table("", columns, rows, kind="prose"),)))
    return View("memprof doctor", headline(checks), tuple(sections))


def headline(checks: Sequence[Check]) -> str:
    """Whether memprof can measure here, and how well."""
    broken = sum(each.state == "broken" for each in checks)
    worse = sum(each.state == "worse" for each in checks)
    if broken:
        return "memprof cannot measure here yet."
    if not worse:
        return "memprof can measure here, and found nothing that makes figures less reliable."
    things = "one thing makes" if worse == 1 else f"{worse} things make"
    return f"memprof can measure here; {things} figures less reliable."
