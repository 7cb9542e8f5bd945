"""What a person reads of a report, of whatever kind."""

from __future__ import annotations

from memprof.density.view import density_view
from memprof.export.json_text import AnyReport
from memprof.gate.view import gate_view
from memprof.leak.view import leak_view
from memprof.profile.view import profile_view
from memprof.render.page import View
from memprof.values.density import DensityReport
from memprof.values.leak import LeakReport
from memprof.values.profile import Report


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
