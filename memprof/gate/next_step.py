"""The one thing to do after a gate."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence

from memprof.gate.baseline import TOO_WIDE
from memprof.render import Next
from memprof.values.gate import DEFAULT_BASELINE, Comparison, GateReport, MetricChange


def next_step(report: GateReport) -> Next | None:
    """What to do with the verdict; a comparison has no baseline to renew."""
    if report.kind != "gate":
        return None
    if report.updated:
        return _before_commit(report)
    verdicts = {each.verdict for each in report.scenarios}
    if "worse" in verdicts:
        return Next(
            "If the change is intended, renew the baseline and commit it:",
            _command(report, "--update --force"),
        )
    if any(each.failure for each in report.scenarios):
        return Next("Mend what stood in the way, and run the gate again.")
    if "could_not_measure" in verdicts:
        return _to_decide(report)
    if "better" in verdicts or "new" in verdicts:
        new = [each.file for each in report.scenarios if each.verdict == "new"]
        return Next(
            "Renew the baseline and commit it, so that later runs compare with this one:",
            _command(report, "--update", new),
        )
    return None


def _before_commit(report: GateReport) -> Next | None:
    """That a new baseline is too wide, and what makes it narrower."""
    wide = [w for each in report.scenarios for w in each.warnings if w.kind == TOO_WIDE]
    if not wide:
        return None
    remedies = "; ".join(dict.fromkeys(each.remedy for each in wide))
    return Next(
        "The intervals of this baseline are too wide to judge every metric. Before you commit it: "
        f"{remedies}."
    )


def _to_decide(report: GateReport) -> Next | None:
    """More repeats, where they would decide: in the baseline, of the run now, or of both."""
    more = [
        (each.enough, found.repeats)
        for found in report.scenarios
        for each in _undecided(found)
        if each.enough is not None
    ]
    then = max((enough[0] for enough, known in more if enough[0] > known[0]), default=0)
    now = max((enough[1] for enough, known in more if enough[1] > known[1]), default=0)
    if then:
        again = f", and this gate again with --max-repeats {now}" if now else ""
        return Next(
            "The baseline's intervals are too wide to decide. Make it anew, from the code that it "
            f"stands for{again}:",
            _command(report, f"--update --force --repeats {then}"),
        )
    if now:
        return Next(
            "This run's intervals are too wide to decide. Run the gate again with more repeats:",
            _command(report, f"--max-repeats {now}"),
        )
    if any(each.change is not None for found in report.scenarios for each in _undecided(found)):
        return Next(
            "More repeats would not decide. Allow more (--tolerance), measure more agents, or use "
            "a quieter machine."
        )
    return None  # something has no figure, and the headline says why


def _undecided(found: Comparison) -> Iterator[MetricChange]:
    return (each for each in found.metrics if each.verdict == "could_not_measure")


def _command(report: GateReport, options: str, files: Sequence[str] = ()) -> str:
    """A gate with the report's baseline."""
    usual = report.baseline == DEFAULT_BASELINE
    baseline = "" if usual else f"--baseline {shlex.quote(report.baseline)} "
    return f"memprof gate {''.join(f'{shlex.quote(each)} ' for each in files)}{baseline}{options}"
