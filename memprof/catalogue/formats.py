"""The formats by name, and the view of each kind of report, readable without importing them.

A format is a function that makes text of any report, or None of one that has nothing for it. A view
is what all formats for people show of a report.
"""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from operator import attrgetter

from memprof.catalogue import Catalogue, load_target
from memprof.errors import OutputError
from memprof.text import raised

VIEWS = {
    "profile": "memprof.profile.kinds_view:view",
    "leak": "memprof.leak.view:leak_view",
    "density": "memprof.density.view:density_view",
    "prediction": "memprof.density.predict_view:predict_view",
    "run": "memprof.run.view:run_view",
    "gate": "memprof.gate.view:gate_view",
    "compare": "memprof.gate.view:gate_view",
    "self_check": "memprof.gate.view:gate_view",
}
"""By the kind of a report: the function that makes the view of it."""


@dataclass(frozen=True, slots=True)
class Format:
    """One way of writing a report down.

    Attributes:
        suffix: what is put behind a report's name to make a file's.
        summary: what it is for.
        target: `module:function`; the function takes a report.
    """

    name: str
    suffix: str
    summary: str
    target: str

    def render(self, report: object) -> str | None:
        """The report in this format; None where it has nothing that the format is for.

        Raises:
            OutputError: the format is another package's, and failed.
        """
        package = FORMATS.origin(self.name)
        try:
            text: str | None = load_target(self.target)(report)
        except Exception as error:
            if not package:
                raise
            problem = f"the format {self.name} of the package {package} failed: {raised(error)}"
            raise OutputError(problem, detail=traceback.format_exc()) from None
        return text


FORMATS = Catalogue(
    "formats",
    "format",
    Format,
    (
        Format(
            "json", ".json", "the contract with scripts and CI", "memprof.export.json_text:render"
        ),
        Format("markdown", ".md", "for GitHub and editors", "memprof.render.markdown:render"),
        Format(
            "html", ".html", "a page with charts, offline", "memprof.render.document:render"
        ),
        Format("csv", ".csv", "every series, for spreadsheets", "memprof.export.csv_text:render"),
        Format(
            "speedscope", ".speedscope.json", "stacks, for speedscope.app",
            "memprof.export.profilers:speedscope",
        ),
        Format(
            "collapsed", ".collapsed.txt", "stacks, for flamegraph.pl",
            "memprof.export.profilers:collapsed",
        ),
        Format("mprof", ".dat", "the timeline, for mprof plot", "memprof.export.profilers:mprof"),
    ),
    attrgetter("name"),
    attrgetter("suffix"),
)  # fmt: skip
