"""The report as JSON: the contract with scripts and CI. Bytes and seconds, never scaled units."""

from __future__ import annotations

import json
from dataclasses import asdict

from memprof.density import DensityReport
from memprof.leak import LeakReport
from memprof.results import Report


def render(report: Report | LeakReport | DensityReport) -> str:
    """`memprof.report/1` as indented JSON."""
    values = asdict(report)
    ordered = {"schema": values.pop("schema"), "kind": values.pop("kind"), **values}
    return json.dumps(ordered, indent=1, allow_nan=False) + "\n"
