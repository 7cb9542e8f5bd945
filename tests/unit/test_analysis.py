"""Trend, equivalence, ledger and readings on scripted series."""

import statistics

import pytest
from msgspec.structs import replace

from memprof.instruments.walker import balance
from memprof.launch.spawn import Finished
from memprof.profile import cautions
from memprof.profile.judge import side_by_side, trend
from memprof.profile.passes import Gain, cost_of, gain
from memprof.stats import equivalence
from memprof.values.instruments import Calibration, InstrumentRun, Reading
from memprof.values.measurements import (
    GrowthPoint,
    Ledger,
    LedgerRow,
    Mark,
    Measurement,
    Sample,
    TraceComparison,
    TrendSeries,
    WorkerRun,
)
from memprof.values.profile import PassResult, Trend


def series(heap, agents=10):
    return TrendSeries(agents=agents, first_step=21, stride=1, heap_bytes=tuple(heap))


def test_steady_growth_is_a_leak_and_given_per_agent_and_step():
    found = trend([series(1_000_000 + 1700 * step for step in range(12)) for _ in range(3)])
    assert found.verdict == "leak"
    assert found.bytes_per_step == pytest.approx(170)
    assert (found.first_step, found.last_step) == (21, 32)


def test_repeats_with_other_numbers_of_agents_are_of_one_mind():
    few, many = (series((170 * n * step for step in range(12)), agents=n) for n in (10, 30))
    found = trend([few, many])
    assert found.bytes_per_step == pytest.approx(170)
    assert found.ci95_bytes == pytest.approx((170, 170))


def test_a_flat_heap_is_clean_with_a_floor():
    found = trend([series([500, 540, 480, 520, 500, 510, 490, 505, 500]), series([500] * 9)])
    assert found.verdict == "clean"
    low, high = found.ci95_bytes
    assert low < 0 < high
    assert 1.6 <= found.floor_bytes < 10


def test_repeats_that_contradict_each_other_decide_nothing():
    found = trend([series(range(500, 1700, 100)), series([500] * 12)])
    assert found.verdict == "inconclusive"


def test_less_than_a_block_for_all_agents_together_is_none_that_they_leave_behind():
    assert trend([series(range(500, 620, 10))] * 2).verdict == "clean"
    assert trend([series(range(500, 692, 16))] * 2).verdict == "leak"


def test_a_trend_without_a_reading_of_the_heap_is_undecided():
    blind = TrendSeries(20, 21, 1, (), "native: mimalloc keeps no account")
    found = trend([series([500] * 12), blind])
    assert (found.verdict, found.bytes_per_step, found.floor_bytes) == ("inconclusive", None, None)


def test_too_few_readings_are_no_trend():
    found = trend([series(range(7))])
    assert found.verdict is None
    assert found.bytes_per_step is None


def test_equal_digests_are_exact_and_one_other_digest_is_not():
    assert equivalence.same_digests([("a", "b")] * 3, [("a", "b")] * 3)
    assert not equivalence.same_digests([("a", "b")] * 3, [("a", "b"), ("a", "c"), ("a", "b")])
    assert not equivalence.reproducible([("a",), ("b",)])


def test_the_verdict_on_values_says_how_far_and_from_where():
    found = equivalence.judge(TraceComparison(4, 5, 20, 19, 0.25, 0.1, (1, 2)))
    assert found.verdict == "diverged"
    assert found.action_agreement == 0.95
    assert found.max_abs_belief_error == 0.25
    assert "agent 1, step 2" in found.detail


@pytest.mark.parametrize(
    ("error", "bound", "verdict"),
    [
        (0.25, None, "diverged"),
        (1e-300, None, "diverged"),
        (0.25, 0.25, "bounded"),
        (0.25, 0.24, "diverged"),
        (None, 0.25, "diverged"),
    ],
)
def test_a_difference_is_bounded_only_within_the_bound_of_the_plan(error, bound, verdict):
    found = equivalence.judge(TraceComparison(4, 5, 20, 19, error, 0.1, (1, 2)), bound)
    assert found.verdict == verdict
    assert found.max_divergence_nats == 0.1
    if bound is not None:
        assert f"may change by up to {bound:.3g}" in found.detail
        assert "95.0% of the actions agree" in found.detail


def row(private, shared):
    return LedgerRow("A", 0, 0, private, shared, 1)


def test_the_ledger_balances_and_shows_the_rest():
    ledger = balance(10, 1000, [row(500, 100), row(200, 50)], [60, 70, 80])
    assert (ledger.explained_bytes, ledger.unexplained_bytes) == (850, 150)
    assert ledger.typical_agent_bytes == 70
    blind = balance(10, 1000, [row(500, 100), row(None, None)], [])
    assert blind == Ledger(10, 1000, None, None, None, blind.rows)


def measurement(step=0.01, size=1000):
    points = tuple(
        GrowthPoint(
            n, Reading(9000 + size * n, 8000 + size * n, None, 6000 + size * n, 7000 + size * n)
        )
        for n in (4, 8, 12, 16, 20)
    )
    zero = Reading(9000, 8000, None, 6000, 7000)
    sample = Sample(
        zero, zero, points, points[-1], None, (step,) * 20, 1, (0.001,), series([0] * 5)
    )
    return Measurement(
        sample, (step,) * 20, None, (0.1,), (), balance(20, 1, [], []), baseline=zero,
        working_set=None, file_bytes=0, kept_whole=(), digests=("d",), facts={},
    )  # fmt: skip


def test_instruments_stand_side_by_side_with_their_slowdown():
    clean = [measurement(), measurement()]
    run = InstrumentRun(((4, 400), (8, 800), (12, 1200)), (0.05,) * 5, 0.5)
    rows = side_by_side(clean, {"pympler": run}, {"tracemalloc": "died"}, None)
    found = {each.name: each for each in rows}
    assert list(found) == ["process", "heap", "pympler", "tracemalloc"]
    assert found["process"].per_agent_bytes == pytest.approx(1000)
    assert found["pympler"].per_agent_bytes == pytest.approx(100)
    assert found["pympler"].slowdown == pytest.approx(5)
    assert found["tracemalloc"].failure == "died"
    assert all(each.sees and each.blind_to for each in rows)


def test_pages_of_files_are_no_fixed_cost_of_a_plan():
    """Another process that maps the same libraries takes 40 MB out of a worker's USS."""
    run = measurement()
    lonely = replace(run.baseline, uss_bytes=run.baseline.uss_bytes + 40_000_000)
    found = gain(cost_of([replace(run, baseline=lonely)]), cost_of([run]))
    assert found == Gain(None, None, None)
    lean = replace(run.baseline, private_bytes=5000, uss_bytes=7000)
    assert cost_of([run]).fixed_bytes == pytest.approx(6000)
    assert cost_of([replace(run, baseline=lean)]).fixed_bytes == pytest.approx(6000)
    compiling = replace(run, baseline=lonely)
    assert gain(cost_of([run], compiling), cost_of([run], run)) == Gain(None, None, None)


def plan_cost(*sizes, held=None):
    """The cost of a plan whose workers grew by `sizes` bytes for each agent, of which the ledger
    knows what agents have `held`; else all of it."""
    ledger = replace(balance(20, 1, [], []), mean_agent_bytes=held or statistics.fmean(sizes))
    return cost_of([replace(measurement(size=size), ledger=ledger) for size in sizes])


def test_a_saving_is_told_by_all_workers_of_both_plans():
    """Two workers alone say little of how far workers differ: by their own intervals, of 12 times
    their spread, these would overlap, and a pass that saves 38 of 46 KB would do nothing."""
    was, now = plan_cost(44_500, 47_500), plan_cost(5_700, 9_500)
    assert was.per_agent.ci95_bytes[0] < now.per_agent.ci95_bytes[1]
    assert gain(was, now).per_agent_bytes == pytest.approx(38_400)
    assert gain(now, was).per_agent_bytes == pytest.approx(-38_400)


def test_no_saving_is_told_within_what_workers_differ_by():
    assert gain(plan_cost(40_000, 52_000), plan_cost(38_000, 50_000)).per_agent_bytes is None
    # A page at either end of 16 agents is 512 bytes for each, however alike the workers are.
    assert gain(plan_cost(2_000, 2_000), plan_cost(1_700, 1_700)).per_agent_bytes is None
    assert gain(plan_cost(9_000, 9_000), plan_cost(1_700, 1_700)).per_agent_bytes == 7_300


def test_what_a_process_may_take_once_is_no_cost_of_an_agent():
    """A pass that does nothing had every worker take ten pages more from the 4th agent to the 16th,
    and was told to cost 4 KB for each. By the ledger agents held the same."""
    was, now = plan_cost(40_400, 40_450, held=37_000), plan_cost(44_900, 44_950, held=37_000)
    assert gain(was, now).per_agent_bytes is gain(now, was).per_agent_bytes is None
    held = plan_cost(44_900, 44_950, held=41_000)
    assert gain(was, held).per_agent_bytes == -4_500
    less = plan_cost(44_900, 44_950, held=33_000)  # the ledger says the other way round
    assert gain(was, less).per_agent_bytes is None
    # No process takes 2 MiB for each of 16 agents once.
    native = plan_cost(3_000_000, 3_000_100, held=37_000)
    assert gain(native, was).per_agent_bytes == pytest.approx(2_959_625)


def built_anew(sizes, leap, held):
    """A worker of a population that was built anew: each agent takes `held` bytes, and programs for
    the larger sizes `leap` bytes more."""
    run = measurement()
    heap = [6000 + held * size + leap * (size > min(sizes)) for size in sizes]
    points = tuple(
        GrowthPoint(size, Reading(each, each, None, each, each))
        for size, each in zip(sizes, heap, strict=True)
    )
    first = GrowthPoint(max(sizes), Reading(1, 1, None, heap[-1] - 3, 1))
    sample = replace(run.sample, points=points, at_n=first, programs_differ=True)
    ledger = replace(balance(20, 1, [], []), mean_agent_bytes=held)
    return replace(run, sample=sample, ledger=ledger)


def test_programs_that_differ_from_size_to_size_are_no_cost_of_an_agent():
    """Four JAX agents of a 3 by 3 grid: the program of a batch of one took 9.4 MB less than the
    others, to the byte in every worker, and an agent was told to cost 3.14 to 3.16 MB."""
    leapt = cost_of([built_anew((2, 2, 3, 4, 4), 9_400_000, 2_000)] * 3)
    low, high = leapt.per_agent.ci95_bytes
    assert leapt.per_agent.marginal_bytes == 2_000
    assert low <= 2_000
    assert high > 9_000_000
    less = cost_of([built_anew((2, 2, 3, 4, 4), 3_000_000, 1_000)] * 3)
    assert gain(leapt, less).per_agent_bytes is None
    even = cost_of([built_anew((2, 2, 3, 4, 4), 0, 16_000_000)] * 3)
    assert even.per_agent.resolved
    assert even.per_agent.marginal_bytes == 16_000_000
    assert gain(even, less).per_agent_bytes == 15_999_000


def sampled_row(samples):
    """Populations of 4, 8 and 12 at rest from second n to n + 1, growing in between."""
    clean = [measurement(0.011), measurement(0.010)]
    marks = [Mark(100.0, "import")]
    for n in (4, 8, 12):
        marks += [
            Mark(100.0 + n, "settle", n),
            Mark(100.9 + n, "read", n),
            Mark(101.0 + n, "build"),
        ]
    finished = Finished(clean[0], tuple(marks), tuple(samples))
    return side_by_side(clean, {}, {}, finished)[2]


def test_the_samplers_slope_is_taken_where_the_population_was_at_rest():
    at_rest = [(100.5 + n, 5000.0 + 300 * n) for n in (4, 8, 12)]
    growing = [(102.0 + n, 9e9) for n in (4, 8, 12)]
    row = sampled_row(sorted(at_rest + growing))
    assert row.per_agent_bytes == pytest.approx(300)
    assert row.slowdown == pytest.approx(1.1)


def test_a_sampler_that_missed_the_population_says_so():
    row = sampled_row([(104.5, 1.0), (110.5, 2.0)])
    assert row.per_agent_bytes is None
    assert row.failure == "the population grew faster than the sampling interval"


def test_a_sampler_that_may_not_look_does_not_blame_the_population():
    assert sampled_row([]).failure == "it could not read the memory of another process here"


def calibrated(*calibrations):
    return [WorkerRun(facts={}, calibration=each) for each in calibrations]


def test_what_readings_do_not_tell_is_said_once_with_its_reason():
    blind = Calibration(left_out={"native": "mimalloc: no account", "peak": "it moved by 0 B"})
    found = list(cautions.of_workers(None, calibrated(Calibration(), blind, blind)))
    assert [each.kind for each in found] == ["left_out", "left_out"]
    assert "'native' is left out: mimalloc: no account" in found[0].evidence
    assert all(each.remedy for each in found)
    (endless,) = cautions.of_workers(None, calibrated(Calibration(endless_garbage=True)))
    assert endless.kind == "endless_garbage"
    assert "made by finalizers or callbacks" in endless.evidence
    told = Calibration(endless_garbage=True, finalizers=("Canary.__del__",))
    (endless,) = cautions.of_workers(None, calibrated(told, told))
    assert "made by finalizers (Canary.__del__)" in endless.evidence
    assert list(cautions.of_workers(None, calibrated(Calibration()))) == []


def test_cautions_are_silent_about_a_good_report_and_loud_about_a_bad_one(good_variant, snapshot):
    exact = equivalence.exact(2, 2)
    assert cautions.find(good_variant(), good_variant(marginal=10.0), exact, [], None) == ()
    found = cautions.find(
        good_variant(resolved=False, explained=0.5),
        good_variant(step_seconds=0.0112, kept_whole=("hook (function)",)),
        exact,
        [
            PassResult("idle", "exact", None, 1.0, "no_effect", "did nothing here"),
            PassResult("good", "exact", 9.0, 1.0, "saves", "9 B less per agent"),
        ],
        RuntimeError("x"),
        max_slowdown=1.1,
        runs=[WorkerRun(facts={"not replaced by pool": "spm_dot (__main__.mine)"})],
    )
    assert {each.kind for each in found} == {
        "incomplete", "not_replaced", "no_saving", "kept_whole", "below_resolution", "unexplained",
        "slower_than_allowed",
    }  # fmt: skip
    said = (f"{each.kind}\n    {each.evidence}\n    {each.remedy}" for each in found)
    snapshot("cautions", "\n".join(said))


def test_a_pass_that_costs_memory_and_saves_time_is_left_to_its_user(good_variant):
    rows = [
        PassResult("pool", "exact", -9.0, 0.05, "costs", "9 B more per agent"),
        PassResult("idle", "exact", -9.0, 1.0, "costs", "9 B more per agent"),
    ]
    exact = equivalence.exact(2, 2)
    fast, idle = cautions.find(good_variant(), good_variant(marginal=10.0), exact, rows, None)
    assert "unless speed matters more" in fast.remedy
    assert idle.remedy == "leave it out of this scenario"


def test_within_the_limit_of_auto_nothing_is_said(good_variant):
    exact = equivalence.exact(2, 2)
    slower = good_variant(step_seconds=0.0109)
    assert cautions.find(good_variant(), slower, exact, [], None, max_slowdown=1.1) == ()


def test_retracing_is_named_with_its_growth_and_its_line(good_variant, device):
    exact = equivalence.exact(2, 2)
    (found,) = cautions.find(
        good_variant(device=device()), good_variant(device=device(0.0)), exact, [], None
    )
    assert found.kind == "retracing"
    assert found.evidence == (
        "before: JAX still traces 2 and compiles 1 programs per step, and the process grows by "
        "3.40 KB per step; most at pymdp/control.py:801: lax.scan(body)"
    )
    assert "loop: jit" in found.remedy


def test_without_a_certain_trend_retracing_claims_no_growth(good_variant, device):
    flat = Trend("clean", 5.0, (-1.0, 11.0), 20.0, 5, 16)
    variant = replace(good_variant(device=device()), trend=flat)
    (found,) = cautions.find(variant, None, equivalence.not_checked("no passes"), [], None)
    assert "grows" not in found.evidence
