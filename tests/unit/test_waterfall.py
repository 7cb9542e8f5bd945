"""What each pass of a plan is given, on scripted costs."""

from dataclasses import replace

import pytest

from memprof.profile.passes import gain
from memprof.profile.rows import chosen, waterfall
from memprof.profile.search import Finding
from tests.unit.test_search import cost

EXACT = {"a": "exact", "b": "exact", "c": "exact"}


def rows(costs, plan=("a", "b"), claims=EXACT, failures=None, verdict="exact"):
    return waterfall(plan, claims, costs, failures or {}, verdict)


def test_each_pass_is_given_what_it_adds():
    costs = {(): cost(1000), ("a",): cost(600), ("a", "b"): cost(100, step=0.5)}
    first, second = rows(costs)
    assert (first.saved_bytes_per_agent, second.saved_bytes_per_agent) == (400, 500)
    assert (first.marginal_bytes, second.marginal_bytes) == (600, 100)
    assert (first.step_time_ratio, second.step_time_ratio) == pytest.approx((1.0, 0.5))
    assert (first.outcome, second.outcome) == ("saves", "saves")
    assert second.ci95_bytes == (95, 105)
    assert second.transient_bytes == 2e7


def test_a_saving_smaller_than_the_intervals_is_no_figure():
    costs = {(): cost(1000), ("a",): cost(600), ("a", "b"): cost(593)}
    second = rows(costs)[1]
    assert second.outcome == "no_effect"
    assert second.saved_bytes_per_agent is None
    assert second.marginal_bytes == 593
    assert "below resolution" in second.detail


THREE = (0.98, 1.0, 1.02)


def test_a_time_within_the_intervals_is_no_slowdown():
    costs = {
        (): cost(paces=THREE, doubt=0.2),
        ("a",): cost(step=1.3, doubt=0.35),
        ("a", "b"): cost(step=2.2, paces=THREE),
    }
    first, second = rows(costs)
    assert (first.outcome, first.step_time_ratio) == ("no_effect", pytest.approx(1.3, rel=1e-3))
    assert second.outcome == "slower"
    assert second.detail == "at least 1.19 times the time per step"


def test_a_time_that_workers_of_one_plan_differ_by_is_no_effect():
    """One program runs at another speed in another process, however alike the steps of each."""
    costs = {
        (): cost(paces=(0.8, 1.0, 1.2)),
        ("a",): cost(step=0.7),
        ("a", "b"): cost(step=0.3, paces=(0.8, 1.0, 1.2)),
    }
    first, second = rows(costs)
    assert (first.outcome, first.step_time_ratio) == ("no_effect", pytest.approx(0.71, abs=0.01))
    assert second.outcome == "faster"
    assert second.detail == "at most 0.81 times the time per step"


def test_single_workers_tell_nothing_of_time():
    costs = {(): cost(), ("a",): cost(step=0.5), ("a", "b"): cost(step=5)}
    found = rows(costs)
    assert [each.outcome for each in found] == ["no_effect", "no_effect"]
    assert [each.step_time_ratio for each in found] == pytest.approx([0.5, 10])


def test_the_pass_that_diverges_is_the_one_that_is_blamed():
    broken = ("other",)
    costs = {
        (): cost(1000),
        ("a",): cost(600),
        ("a", "b"): cost(100, digests=broken),
        ("a", "b", "c"): cost(50, digests=broken),
    }
    first, second, third = rows(costs, ("a", "b", "c"), verdict="diverged")
    assert [each.outcome for each in (first, second, third)] == ["saves", "diverged", "saves"]
    assert first.saved_bytes_per_agent == 400
    assert second.saved_bytes_per_agent is second.marginal_bytes is second.step_time_ratio is None


def test_a_bounded_pass_is_held_to_the_verdict_on_the_whole():
    costs = {(): cost(1000), ("a",): cost(600), ("a", "b"): cost(100, digests=("near",))}
    claims = {"a": "exact", "b": "bounded"}
    for verdict, expected in (
        ("bounded", "saves"),
        ("diverged", "diverged"),
        ("not_checked", "not_checked"),
    ):
        second = rows(costs, claims=claims, verdict=verdict)[1]
        assert second.outcome == expected
        assert (second.saved_bytes_per_agent is not None) == (expected == "saves")


def test_an_exact_pass_is_not_excused_by_the_bound_of_another():
    costs = {(): cost(1000), ("a",): cost(600, digests=("near",))}
    costs["a", "b"] = cost(100, digests=("other",))
    claims = {"a": "bounded", "b": "exact"}
    found = rows(costs, claims=claims, verdict="bounded")
    assert [each.outcome for each in found] == ["saves", "diverged"]


def test_another_pass_that_broke_its_claim_leaves_a_bounded_one_unchecked():
    costs = {
        (): cost(1000),
        ("a",): cost(600, digests=("other",)),
        ("a", "b"): cost(100, digests=("near",)),
    }
    found = rows(costs, claims={"a": "exact", "b": "bounded"}, verdict="diverged")
    assert [each.outcome for each in found] == ["diverged", "not_checked"]


def test_a_plan_that_was_not_measured_is_no_saving_of_its_neighbours():
    costs = {(): cost(1000), ("a", "b"): cost(100)}
    assert [each.outcome for each in rows(costs)] == ["not_checked"] * 2
    failed = rows(costs, failures={("a",): "it was killed"})
    assert [(each.outcome, each.detail) for each in failed] == [("failed", "it was killed")] * 2


def test_a_population_that_is_not_reproducible_proves_nothing():
    plain = replace(cost(1000), digests=(("x",), ("y",)))
    (row,) = rows({(): plain, ("a",): cost(100)}, ("a",), verdict="not_checked")
    assert (row.outcome, row.saved_bytes_per_agent) == ("not_checked", None)


def test_auto_shows_what_it_kept_in_order_and_then_what_it_left_out():
    findings = {
        "a": Finding("saves", "400 B less per agent"),
        "b": Finding("diverged", "agents do something else"),
        "c": Finding("faster", "0.80 times the time per step"),
    }
    costs = {(): cost(1000), ("a",): cost(600), ("a", "c"): cost(600)}
    found = chosen(rows(costs, ("a", "c")), findings)
    assert [(each.name, each.kept, each.outcome) for each in found] == [
        ("a", True, "saves"),
        ("c", True, "no_effect"),
        ("b", False, "diverged"),
    ]
    assert found[1].detail.endswith("auto kept it because: 0.80 times the time per step")


def test_what_the_waterfall_could_not_measure_is_told_by_the_search():
    saved = gain(cost(1000), cost(600))
    found = {"a": Finding("saves", "400 B less per agent", cost(600), saved, 1.0)}
    (row,) = chosen(rows({(): cost(1000)}, ("a",)), found)
    assert (row.outcome, row.saved_bytes_per_agent) == ("saves", 400)
