"""What the profiles of several kinds say together."""

import math
from pathlib import Path

import pytest
from msgspec.structs import replace

from memprof.export.json_text import parse, render
from memprof.profile.kinds import combined
from memprof.profile.kinds_view import view
from memprof.render import markdown
from memprof.scenario import scenario_of
from memprof.values.measurements import LedgerRow
from memprof.values.report import Variants


@pytest.fixture
def loaded():
    """A fifth of large agents among small ones."""
    model = {"kind": "grid_world", "size": 5}
    kinds = [
        {"name": "large", "agents": 4, "model": model},
        {"name": "small", "agents": 16, "model": model},
    ]
    return scenario_of({"name": "mixed", "kinds": kinds, "passes": ["share"]}, Path())


@pytest.fixture
def reports(loaded, report, good_variant):
    """Of each kind, as a profile of it in the company of the other."""

    def of(kind, before, after):
        variants = Variants(good_variant(before), good_variant(after, passes=("share",)))
        fields = kind.scenario.reported
        return replace(report(), scenario=fields, variants=variants)

    def beside(report, row):
        """With the other kind in its ledger."""
        variants = [
            replace(each, ledger=replace(each.ledger, rows=(*each.ledger.rows, row)))
            for _, each in report.variants.named()
        ]
        return replace(report, variants=Variants(*variants))

    large, small = loaded.kinds
    others = LedgerRow("kind large", 0, 5_000, 0, 5_000, 4)
    return {"large": of(large, 10_000.0, 100.0), "small": beside(of(small, 1_000.0, 10.0), others)}


def test_the_mean_is_that_of_the_slopes_and_no_slope_of_a_mixture(loaded, reports):
    found = combined(loaded, reports)
    before = found.variants.before
    assert before.per_agent.marginal_bytes == pytest.approx((4 * 10_000 + 16 * 1_000) / 20)
    low, high = before.per_agent.ci95_bytes
    halves = [
        (each.per_agent.ci95_bytes[1] - each.per_agent.ci95_bytes[0]) / 2 for each in before.kinds
    ]
    assert high - low == pytest.approx(2 * math.hypot(0.2 * halves[0], 0.8 * halves[1]))
    cost = before.per_agent
    assert cost.fixed_bytes + 20 * cost.marginal_bytes == pytest.approx(cost.at_n_bytes)
    assert [each.name for each in before.kinds] == ["large", "small"]
    assert sum(row.private_bytes for row in before.ledger.rows) == pytest.approx(
        sum(each.agents * each.ledger.private_each() for each in before.kinds), abs=2
    )
    assert found.complete
    assert parse(render(found)) == found
    assert [each.scenario.name for each in found.of_kinds()] == ["mixed.large", "mixed.small"]


def test_one_kind_that_behaves_differently_is_the_verdict_on_all(loaded, reports):
    equivalence = replace(
        reports["small"].equivalence, verdict="diverged", detail="agent 3, step 1"
    )
    reports["small"] = replace(reports["small"], equivalence=equivalence)
    found = combined(loaded, reports)
    assert found.equivalence.verdict == "diverged"
    assert found.equivalence.detail == "small: agent 3, step 1"
    assert "small: agent 3, step 1" in view(found).headline


def test_what_was_measured_of_one_kind_outlives_the_interruption_of_the_next(loaded, reports):
    cut = replace(reports["small"].variants, after=None)
    reports["small"] = replace(reports["small"], variants=cut, complete=False)
    found = combined(loaded, reports)
    assert not found.complete
    assert [each.name for each in found.variants.after.kinds] == ["large"]
    assert parse(render(found)) == found
    rows = view(found).brief[0].tables[0].rows
    assert [row[0] for row in rows] == ["large", "small", "all kinds"]
    assert [row[3] for row in rows] == ["100 B", "-", "-"], "no mean of one kind is that of all"
    assert "100 B" in markdown.render(found)
