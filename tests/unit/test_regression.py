"""The gate's judgement, on samples of known figures."""

import re

import pytest
from msgspec.structs import replace

from memprof.gate import differences, judge
from memprof.gate.baseline import cautions
from memprof.gate.case import comparison
from memprof.gate.judge import alarm_rates, highest_rate
from memprof.gate.words import clause
from memprof.values.gate import DEFAULTS, ComponentChange, MetricChange, PassChange
from memprof.values.instruments import Reading
from memprof.values.measurements import GrowthPoint, LedgerRow, Sample, TrendSeries
from memprof.values.report import BudgetCheck

MB = 10**6


def reading(private, heap):
    return Reading(private + 30 * MB, private + 9 * MB, None, private, heap)


def sample(
    per_agent=50_000, heap_per_agent=None, fixed=100 * MB, peak=2 * MB, growth=160, step=2e-3,
    slow=(), at_hand=0,
):  # fmt: skip
    """A worker whose agents cost so much; `slow` batches were disturbed, and the first agents moved
    into `at_hand` bytes that were free."""
    handed = per_agent if heap_per_agent is None else heap_per_agent
    points = tuple(
        GrowthPoint(n, reading(fixed + max(0, n * per_agent - at_hand), MB + n * handed))
        for n in (4, 8, 12, 16, 20)
    )
    steps = [
        step * (9 if (batch, index) in slow else 1) for batch in range(5) for index in range(4)
    ]
    heap = tuple(MB + 20 * growth * count for count in range(6))
    return Sample(
        start=reading(10 * MB, 0),
        imported=reading(80 * MB, 0),
        points=points,
        at_n=points[-1],
        peak_rss_bytes=points[-1].reading.rss_bytes + peak,
        step_cpu_seconds=tuple(steps),
        batches=5,
        reference_cpu_seconds=(5e-4,) * 9 + (9e-4,),
        trend=TrendSeries(20, 21, 1, heap),
    )


@pytest.fixture
def run(report, good_variant):
    """A report of a scenario with the pass `share`, from these samples."""

    def make(*samples, **fields):
        plain = report()
        after = replace(good_variant(passes=("share",)), samples=samples, repeats=len(samples))
        return replace(
            plain, variants=replace(plain.variants, after=after), **{"budget": None, **fields}
        )

    return make


def judged(was, now, tolerances=DEFAULTS):
    return {each.metric: each for each in judge.judge(was, now, tolerances)}


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        ((6, 8), "worse"),
        ((5.01, 8), "worse"),
        ((4, 6), "could_not_measure"),
        ((-9, 6), "could_not_measure"),
        ((-1, 5), "same"),
        ((-9, 4), "same"),
        ((-9, -6), "better"),
    ],
)
def test_only_an_interval_beyond_the_tolerance_is_worse(change, verdict):
    assert judge.verdict_on(change, 5) == verdict


def test_figures_are_those_of_the_samples(run):
    found = judged(run(sample(), sample()), run(sample(per_agent=60_000), sample(per_agent=60_000)))
    assert found["marginal_bytes"].was == pytest.approx(50_000)
    assert found["marginal_bytes"].change == pytest.approx(10_000)
    assert found["marginal_bytes"].verdict == "worse"
    assert found["fixed_bytes"].was == pytest.approx(100 * MB)
    assert found["peak_bytes"].was == pytest.approx(103 * MB)
    assert found["growth_bytes_per_step"].was == pytest.approx(160)
    assert found["step_ratio"].was == pytest.approx(4)
    others = [name for name, each in found.items() if each.verdict != "same"]
    assert others == ["marginal_bytes"]


@pytest.mark.parametrize(
    ("change", "metric"),
    [
        ({"fixed": 107 * MB}, "fixed_bytes"),
        ({"peak": 9 * MB}, "peak_bytes"),
        ({"growth": 200}, "growth_bytes_per_step"),
        ({"step": 2.6e-3}, "step_ratio"),
        ({"slow": [(batch, 2) for batch in range(5)]}, "step_ratio"),  # slow by itself
    ],
)
def test_each_metric_has_an_eye_of_its_own(run, change, metric):
    found = judged(run(*[sample()] * 3), run(*[sample(**change)] * 3))
    assert found[metric].verdict == "worse"


def test_a_busy_machine_makes_no_step_slower(run):
    disturbed = {(batch, index) for batch in range(4) for index in range(4)}
    found = judged(run(*[sample()] * 3), run(*[sample(slow=disturbed)] * 3))
    assert found["step_ratio"].verdict == "same"


def test_what_agents_find_free_makes_them_no_cheaper(run):
    """The process grows by less, as its agents first fill what others left; by chance more or less
    of that. What the allocators handed out is the same."""
    was = run(*[sample(at_hand=free) for free in (100_000, 300_000, 600_000)])
    found = judged(was, run(*[sample(per_agent=53_000)] * 3))["marginal_bytes"]
    assert found.verdict == "worse"
    assert found.change == pytest.approx(3000)


def test_memory_that_nobody_touched_is_no_cost(run):
    """30 MB handed out to each agent, of which a tenth is resident."""
    lazy = {"per_agent": 3 * MB, "heap_per_agent": 30 * MB}
    assert judged(run(sample(**lazy)), run(sample(**lazy)))["marginal_bytes"].was == pytest.approx(
        3 * MB
    )


def test_the_spread_of_both_runs_decides_together(run):
    """Two repeats then say little of their own spread; nine now say how large it is."""
    was = run(*[sample(per_agent=size) for size in (49_000, 51_000)])
    few = judged(was, run(*[sample(per_agent=size) for size in (49_000, 51_000)]))
    many = judged(was, run(*[sample(per_agent=size) for size in (49_000, 51_000, 50_000) * 3]))
    assert few["marginal_bytes"].verdict == "could_not_measure"
    assert judge.inconclusive(list(few.values()))
    assert many["marginal_bytes"].verdict == "same"
    assert not judge.inconclusive(list(many.values()))


def of(*sizes):
    """Workers whose agents cost so many bytes."""
    return [sample(per_agent=size) for size in sizes]


@pytest.mark.parametrize(
    ("was", "now", "said"),
    [
        ((50_000,), (49_000, 52_000, 50_000) * 3, r"then \d instead of 1$"),
        ((49_000, 51_000) * 6, (49_500, 52_500), r"now \d instead of 2$"),
        ((30_000, 70_000), (30_000, 70_000), "more repeats would not decide either$"),
    ],
)
def test_what_is_too_noisy_says_on_which_side_more_repeats_decide(run, was, now, said):
    found = judged(run(*of(*was)), run(*of(*now)))["marginal_bytes"]
    assert found.verdict == "could_not_measure"
    assert re.search(said, found.detail), found.detail


def test_as_many_repeats_as_it_says_do_decide(run):
    """The same spread, in as many workers as were asked for."""
    was, now = (48_500, 51_500), (48_500, 51_500) * 4
    found = judged(run(*of(*was)), run(*of(*now)))["marginal_bytes"]
    then, current = found.enough
    assert (then > 2, current > 8) == (True, False)
    again = [was[worker % 2] for worker in range(then)]
    found = judged(run(*of(*again)), run(*of(*now)))["marginal_bytes"]
    assert (found.verdict, found.enough) == ("same", None)


def test_a_baseline_says_which_metrics_it_cannot_judge_and_how_it_could(run):
    narrow = cautions(run(*of(*[49_900, 50_100] * 2)), DEFAULTS, 9)
    assert narrow == ()
    (wide,) = cautions(run(*of(48_500, 51_500)), DEFAULTS, 9)
    assert wide.evidence == (
        "the least change that it can tell: marginal_bytes 3.75 KB (tolerance 2.50 KB)"
    )
    enough = int(re.search(r"--force --repeats (\d+)$", wide.remedy)[1])
    sizes = [(48_500, 51_500)[worker % 2] for worker in range(enough)]
    assert cautions(run(*of(*sizes)), DEFAULTS, 9) == ()
    (both,) = cautions(run(*of(47_000, 53_000)), DEFAULTS, 9)
    assert re.search(
        r"--force --repeats (\d+), and later gates with --max-repeats \1$", both.remedy
    )
    (hopeless,) = cautions(run(*of(20_000, 80_000)), DEFAULTS, 9)
    assert hopeless.remedy.startswith("allow more (--tolerance)")


def test_one_worker_cannot_judge_by_what_only_several_show(run):
    (wide,) = cautions(run(sample()), DEFAULTS, 9)
    assert wide.evidence.endswith(": step_ratio unknown from one worker (tolerance 25.0%)")
    assert wide.remedy == "run this command again with --force --repeats 3"


def test_a_population_whose_passes_were_not_measured_is_not_judged(run):
    """The run was cut short: its plain population is no worse than the optimised one was."""
    whole = run(sample())
    cut = replace(whole, variants=replace(whole.variants, after=None), complete=False)
    assert judge.judge(whole, cut, DEFAULTS) == []
    assert judge.judge(cut, whole, DEFAULTS) == []
    assert judge.judge(run(), whole, DEFAULTS) == [], "no samples"


def test_one_time_against_another_tells_nothing(run):
    found = judged(run(sample()), run(sample(step=2.8e-3)))["step_ratio"]
    assert (found.verdict, found.change_ci95) == ("could_not_measure", None)
    assert found.detail.startswith("one worker then and one now do not show")
    assert found.enough == (1, 3)
    assert judge.inconclusive([found]), "another worker may tell"


def test_what_neither_run_could_read_is_not_the_same(run):
    """A change of it would not have shown: under a malloc without an account, or in gVisor."""
    flat = [
        replace(each, peak_rss_bytes=None, trend=TrendSeries(20, 21, 1, (), "mimalloc: no account"))
        for each in (sample(), sample())
    ]
    found = judged(run(*flat), run(*flat))
    for metric in ("growth_bytes_per_step", "peak_bytes"):
        assert found[metric].verdict == "could_not_measure"
        assert found[metric].detail
    assert found["growth_bytes_per_step"].detail == "mimalloc: no account"
    assert found["marginal_bytes"].verdict == "same"


def test_what_one_run_does_not_have_is_not_measured(run):
    short = replace(sample(), trend=TrendSeries(20, 21, 1, (1, 2)), reference_cpu_seconds=())
    found = judged(run(sample()), run(short))
    assert found["growth_bytes_per_step"].verdict == "could_not_measure"
    assert found["step_ratio"].detail == "this run has no figure"
    assert "growth_bytes_per_step" not in judged(run(short), run(short))


@pytest.mark.parametrize(
    ("before", "after", "verdict"),
    [
        ("exact", "exact", "same"),
        ("exact", "bounded", "worse"),
        ("bounded", "exact", "better"),
        ("exact", "diverged", "worse"),
        ("diverged", "diverged", "worse"),
        ("diverged", "exact", "better"),
        ("exact", "not_checked", "could_not_measure"),
        ("not_checked", "not_checked", "same"),
        ("not_checked", "exact", "same"),
    ],
)
def test_behaviour_that_diverged_is_worse_whatever_it_was(run, before, after, verdict):
    was, now = run(sample()), run(sample())
    was = replace(was, equivalence=replace(was.equivalence, verdict=before))
    now = replace(now, equivalence=replace(now.equivalence, verdict=after))
    assert judged(was, now)["equivalence"].verdict == verdict


def test_a_broken_budget_is_worse_whatever_it_was(run):
    budget = BudgetCheck(55_000, 0.0, True)  # held against the gate's own figure
    kept, broken = run(sample(), budget=budget), run(sample(per_agent=60_000), budget=budget)
    assert judged(kept, kept)["budget"].verdict == "same"
    assert judged(broken, broken)["budget"].verdict == "worse"
    assert judged(broken, kept)["budget"].verdict == "better"
    assert judged(kept, broken)["budget"].now == pytest.approx(60_000)
    assert "budget" not in judged(kept, run(sample(), budget=None))


def test_a_new_scenario_is_new_but_must_not_diverge(run):
    report = run(sample())
    assert {each.verdict for each in judge.first(report)} == {"new"}
    wrong = replace(report, equivalence=replace(report.equivalence, verdict="diverged"))
    found = {each.metric: each.verdict for each in judge.first(wrong)}
    assert found["equivalence"] == "worse"
    assert found["marginal_bytes"] == "new"


def test_components_are_told_with_what_grew(run):
    was, now = run(sample()), run(sample())
    ledger = replace(
        now.variants.after.ledger,
        rows=(
            LedgerRow("A", 18_000, 1_000, 18_000, 1_000, 20),
            LedgerRow("B", 20 * MB, 0, 20 * MB, 300_000, 20),
            LedgerRow("dust", 100, 0, 100, 0, 20),
        ),
    )
    now = replace(
        now, variants=replace(now.variants, after=replace(now.variants.after, ledger=ledger))
    )
    assert differences.components(was, now) == (ComponentChange("B", float(MB), 300_000.0),)


def with_share(found, saved, ci95):
    """With what an agent costs under the pass `share`, of 900 to 1,100 bytes without it."""
    share = replace(found.passes[0], saved_bytes_per_agent=saved, ci95_bytes=ci95)
    return replace(found, passes=(share,))


def test_a_pass_that_saves_less_is_named(run):
    was, now = with_share(run(sample()), 990.0, (5, 15)), run(sample())
    stopped = with_share(now, None, (900, 1_100))
    assert differences.passes(was, stopped) == (PassChange("share", 990.0, None),)
    assert differences.passes(was, was) == ()


@pytest.mark.parametrize("ci95", [(-2_000, 2_000), None])
def test_a_pass_that_may_save_as_much_is_not_named(run, ci95):
    """Below resolution is not nothing, and not known is not nothing either."""
    was, now = with_share(run(sample()), 990.0, (5, 15)), with_share(run(sample()), None, ci95)
    assert differences.passes(was, now) == ()


def test_what_records_hide_is_told_of_the_agents_before_the_passes(run):
    was = run(*[sample()] * 2)
    now = run(*[sample(per_agent=60_000)] * 2)
    before = now.variants.before
    rows = (*before.ledger.rows, LedgerRow("Rat.map", 20 * 1_600, 0, 20 * 1_600, 0, 20))
    before = replace(before, ledger=replace(before.ledger, rows=rows))
    record = LedgerRow("records", 20 * 1_500, 0, 20 * 1_500, 0, 20)
    after = now.variants.after
    after = replace(after, ledger=replace(after.ledger, rows=(record,)))
    hidden = replace(now, variants=replace(now.variants, before=before, after=after))
    assert differences.before_passes(was, hidden) == (ComponentChange("Rat.map", 1_600.0, 0.0),)
    shown = replace(hidden, variants=replace(hidden.variants, after=before))
    assert differences.before_passes(was, shown) == (), "the components after the passes say it"
    metrics = judge.judge(was, hidden, DEFAULTS)
    found = comparison("rats", "rats.yaml", was, hidden, metrics)
    said = clause(next(each for each in metrics if each.metric == "marginal_bytes"), found)
    assert "records: +1.50 KB private per agent" in said
    assert "; before passes Rat.map: +1.60 KB private per agent" in said


def test_the_rate_of_false_alarms_has_a_limit():
    """Clopper and Pearson: none in 59 leaves 5 % open (the rule of three)."""
    assert highest_rate(0, 59) == pytest.approx(0.0495, abs=1e-4)
    assert highest_rate(1, 20) == pytest.approx(0.2161, abs=1e-4)
    assert highest_rate(3, 3) == 1.0
    quiet = MetricChange("fixed_bytes", "bytes", "same", change=3.0, allowed=10.0)
    loud = MetricChange("fixed_bytes", "bytes", "worse", change=-12.0, allowed=9.0)
    (rate,) = alarm_rates("grid", [[quiet], [loud]])
    assert (rate.comparisons, rate.false_alarms, rate.undecided) == (2, 1, 0)
    assert (rate.largest_change, rate.allowed) == (-12.0, 9.0)
