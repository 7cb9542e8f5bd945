"""What a person reads of a report, of whatever kind."""

from __future__ import annotations

from memprof.density import DensityReport
from memprof.leak import LeakReport
from memprof.reports.density import density_view
from memprof.reports.gate import gate_view
from memprof.reports.json_text import AnyReport
from memprof.reports.leak import leak_view
from memprof.reports.page import View
from memprof.reports.profile import profile_view
from memprof.results import Report


def view_of(report: AnyReport) -> View:
    """The view that all formats for people share."""
    match report:
        case Report():
            return profile_view(report)
        case LeakReport():
            return leak_view(report)
        case DensityReport():
            return density_view(report)
        case _:
            return gate_view(report)
