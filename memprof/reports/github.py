"""A gate's report where GitHub Actions shows it: annotations of the files, and the job's summary.

Annotations are workflow commands, escaped as actions/toolkit does (packages/core/src/command.ts)
and as the runner undoes it (actions/runner, src/Runner.Common/ActionCommand.cs).
"""

from collections.abc import Iterator
from typing import Literal

from memprof.gate import Change, Comparison, GateReport
from memprof.reports import markdown
from memprof.reports.changes import clause, figures
from memprof.text import harmless

_LEVELS: dict[Change, Literal["error", "notice"]] = {
    "worse": "error",
    "could_not_measure": "error",
    "better": "notice",
}
# GitHub refuses a summary of more than 1 MiB for a step; other commands of the step may add to it.
_MOST_BYTES = 1_000_000
_CUT = "\n**The summary was cut here: GitHub takes no more than 1 MiB. The JSON has all of it.**\n"


def annotations(report: GateReport) -> str:
    """A command in a line for each metric that is not the same, errors first: GitHub shows ten of a
    level for each step."""
    found = [each for scenario in report.scenarios for each in _annotations(scenario)]
    order = ("error", "warning", "notice")
    found.sort(key=lambda each: order.index(each[0]))
    lines = [_command(level, file, title, message) for level, file, title, message in found]
    return "".join(f"{line}\n" for line in lines)


def summary(report: GateReport) -> str:
    """Markdown to append to the file that $GITHUB_STEP_SUMMARY names."""
    text = markdown.render(report)
    whole = text.encode()
    if len(whole) <= _MOST_BYTES:
        return text
    kept = whole[: _MOST_BYTES - len(_CUT)].decode(errors="ignore")
    return kept[: kept.rfind("\n") + 1] + _CUT


def _annotations(found: Comparison) -> Iterator[tuple[str, str, str, str]]:
    """Level, file, title and message."""
    if found.failure:
        title = f"memprof: {found.name} could not be measured"
        yield "error", found.file, title, found.failure
    for each in found.metrics:
        if each.verdict in _LEVELS:
            title = f"memprof: {found.name}: {each.metric} {each.verdict.replace('_', ' ')}"
            message = "\n".join((clause(each, found), *figures(each)))
            yield _LEVELS[each.verdict], found.file, title, message
    for caution in found.warnings:
        title = f"memprof: {found.name}: {caution.kind}"
        yield "warning", found.file, title, f"{caution.evidence}; {caution.remedy}"


def _command(level: str, file: str, title: str, message: str) -> str:
    """`::error file=FILE,title=TITLE::MESSAGE`; GitHub leaves out a property without a value."""
    properties = {"file": file, "title": title}
    given = ",".join(f"{name}={_property(text)}" for name, text in properties.items() if text)
    return f"::{level} {given}::{_data(message)}"


def _data(text: str) -> str:
    return harmless(text).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
