"""The pictures show what the tables say: the same figures, from the same report."""

import json

import pytest
from msgspec.structs import replace

from memprof.export.json_text import parse
from memprof.profile import pictures
from memprof.profile.held import held_lines, largest_components
from memprof.render import Bars, Level, Moment, View, view_of
from memprof.values.counts import COUNTS
from memprof.values.instruments import LineHotspot, Reading
from memprof.values.measurements import GrowthPoint, Ledger, LedgerRow, Mark, Sample, TrendSeries
from memprof.values.profile import PassResult, Timeline, TimelineSample
from tests.conftest import ROOT
from tests.gate_reports import COMPARED, GATE, SELF_CHECK

EXAMPLES = ROOT / "reports" / "examples"
NAMES = ("grid-29", "prev-actions-leak-steps", "grid-10-density")


def example(name: str) -> View:
    return view_of(parse((EXAMPLES / f"{name}.json").read_text()))


def all_pictures(view: View) -> list:
    drawn = [each for s in view.sections for each in (*s.charts, *s.pictures)]
    return [*([view.picture] if view.picture else []), *drawn]


def reading(private: int) -> Reading:
    return Reading(private, private, None, private, private)


def sample(first: int, slope: int, heap=(0, 160, 320)) -> Sample:
    """A worker that has `first` bytes without agents."""
    points = tuple(GrowthPoint(n, reading(first + slope * n)) for n in (4, 8, 12, 20))
    trend = TrendSeries(20, 21, 2, tuple(1_000_000 + 20 * size for size in heap))
    return Sample(reading(0), reading(0), points, points[-1], None, (), 1, (), trend)


@pytest.mark.parametrize("name", NAMES)
def test_every_picture_has_a_title_and_words_that_say_what_it_shows(name):
    found = all_pictures(example(name))
    assert len(found) >= 3
    assert all(each.title and any(letter.isdigit() for letter in each.alt) for each in found)


def test_the_first_picture_is_what_an_agent_costs_before_and_after(report, good_variant):
    view = view_of(report())
    assert isinstance(view.picture, Bars)
    assert view.picture.names == ("before", "share")
    assert [each.values for each in view.picture.series] == [(1000.0, None), (None, 10.0)]
    unresolved = good_variant(marginal=10.0, resolved=False, passes=("share", "pool"))
    picture = view_of(report(after=unresolved)).picture
    assert picture.names == ("before", "with 2 passes")
    assert picture.series[1].values == (None, pytest.approx(11.0)), "no less than its upper end"


def test_components_are_shown_per_agent_largest_first_and_what_is_shared_once(good_variant):
    before, after = good_variant(), good_variant(passes=("share",))
    rows = (
        LedgerRow("D", 100, 0, 100, 0, 1),
        LedgerRow("A", 18_000, 0, 18_000, 0, 20),
        LedgerRow("B", 50_000, 0, None, None, 20),
    )
    stored = (
        LedgerRow("records", 2_000, 0, 2_000, 0, 20),
        LedgerRow("template", 0, 3_400, 0, 3_400, 1),
    )
    before = replace(before, ledger=Ledger(20, 20_000, 20_000, 0, 900.0, rows))
    after = replace(after, ledger=Ledger(20, 5_400, 5_400, 0, 100.0, stored))
    alone, shared = pictures.component_bars([("before", before), ("after", after)])
    assert "an agent holds alone" in alone.title
    assert alone.names == ("B", "A", "records", "D")
    assert alone.series[0].values == (2_500.0, 900.0, 0.0, 5.0)
    assert alone.series[1].values == (0.0, 0.0, 100.0, 0.0), "no part of the template"
    assert "agents share, in total" in shared.title
    assert shared.names == ("template",)
    assert [each.values for each in shared.series] == [(0.0,), (3_400.0,)]


def test_lines_of_memprof_are_one_row_that_says_so():
    def line(path, number, size):
        return LineHotspot(path, number, f"text {number}", size, 1.0)

    lines = (
        line("my_agents.py", 3, 50.0),
        line("memprof/storage/segments.py", 96, 40.0),
        line("memprof/populations/environment.py", 92, 30.0),
        line("memprof/models/built_in.py", 61, 20.0),
    )
    found = [(each.place, each.bytes) for each in held_lines(lines)]
    assert found == [
        ("memprof", 70.0),
        ("my_agents.py:3", 50.0),
        ("memprof/models/built_in.py:61", 20.0),
    ]
    assert held_lines(lines)[0].text.startswith("memprof's own:")
    assert held_lines(()) == ()


def test_the_screen_names_the_largest_components():
    rows = (
        LedgerRow("C", 100, 0, 100, 0, 4),
        LedgerRow("A", 9_000, 3_000, 9_000, 3_000, 4),
        LedgerRow("B", 28_000, 0, 28_000, 0, 4),
        LedgerRow("D", 8_000, 0, 8_000, 0, 4),
    )
    (said,) = largest_components(Ledger(4, 50_000, 48_100, 0, None, rows))
    assert (
        said == "Largest of what agents hold, resident: B 58% (7.00 KB each), A 25% (3.00 KB each)."
    )
    shared = (LedgerRow("A", 0, 5_000, 0, 5_000, 1),)
    (said,) = largest_components(Ledger(4, 5_000, 5_000, 0, None, shared))
    assert said == "Largest of what agents hold, resident: A 100% (5.00 KB, shared)."
    assert not list(largest_components(Ledger(4, 0, 0, 0, None, ())))


def test_the_waterfall_goes_from_plan_to_plan_of_the_kept_passes(report):
    row = PassResult("share", "exact", 900.0, 1.0, "saves", "", marginal_bytes=100.0)
    rows = (
        row,
        replace(row, name="gc", kept=False, marginal_bytes=90.0),
        replace(row, name="pool", outcome="no_effect", marginal_bytes=100.0),
        replace(row, name="template", marginal_bytes=-5.0),
    )
    picture = pictures.passes_waterfall(replace(report(), passes=rows))
    assert picture.levels == (
        Level("before", 1000.0),
        Level("share", 100.0, "exact, saves"),
        Level("pool", 100.0, "exact, no effect"),
        Level("template", 0.0, "exact, saves"),
    )
    unknown = replace(row, marginal_bytes=None)
    assert pictures.passes_waterfall(replace(report(), passes=(unknown,))) is None


def test_growth_is_shown_above_what_each_worker_has_without_agents(good_variant):
    samples = (sample(100_000, 1000), sample(900_000, 1000))
    variant = replace(good_variant(), samples=samples)
    chart = pictures.growth_chart("before", variant)
    points, line = chart.series
    assert set(points.points) == {(float(n), 1000.0 * n) for n in (4, 8, 12, 20)}
    assert line.points == ((4.0, 4_000.0), (20.0, 20_000.0))
    (band,) = chart.bands
    assert all(low <= 1000 * n <= high for n, low, high in band.points)
    _, low, high = band.points[-1]
    assert (low, high) == (pytest.approx(19_200), pytest.approx(20_800)), "10 % of 8 agents"
    assert pictures.growth_chart("before", good_variant()) is None, "an older report"


def test_phases_that_go_on_are_one_moment():
    marks = (Mark(0.0, "import"), Mark(1.0, "build", 4), Mark(2.0, "build", 8), Mark(3.0, "settle"))
    timeline = Timeline((TimelineSample(0.0, 1e6), TimelineSample(4.0, 5e6)), marks)
    chart = pictures.timeline_chart("before", timeline)
    assert chart.moments == (Moment(0.0, "import"), Moment(1.0, "build"), Moment(3.0, "settle"))
    assert chart.alt == "resident memory peaks at 5.00 MB in 4.0 s"


def test_the_treemap_has_private_and_shared_apart_and_adds_up():
    rows = (
        LedgerRow("A", 900, 300, 800, 200, 5),
        LedgerRow("B", 0, 500, 0, 400, 1),
        LedgerRow("C", 10, 0, None, None, 1),
    )
    root = pictures.ledger_tree("before", Ledger(4, 2_000, 1_400, 600, None, rows)).root
    assert [(each.name, each.value) for each in root.children] == [
        ("private", 810.0),
        ("shared", 600.0),
        ("unexplained", 600.0),
    ]
    assert root.value == sum(each.value for each in root.children)
    assert [each.name for each in root.children[1].children] == ["B", "A"]


def test_the_trend_is_per_agent_and_repeat(good_variant):
    variant = replace(good_variant(), samples=(sample(0, 1), sample(0, 1, heap=(5, 10))))
    chart = pictures.trend_chart("before", variant)
    assert [each.points for each in chart.series] == [
        ((21.0, 0.0), (23.0, 160.0), (25.0, 320.0)),
        ((21.0, 0.0), (23.0, 5.0)),
    ]


def test_a_leak_has_the_interval_of_its_gain_and_every_repeat():
    view = example("prev-actions-leak-steps")
    leak = json.loads((EXAMPLES / "prev-actions-leak-steps.json").read_text())["leak"]
    trend = view.sections[0]
    assert view.picture is trend.charts[0]
    (band,) = view.picture.bands
    cycle, low, high = band.points[-1]
    counted = cycle - leak["warm_up_cycles"][0]
    assert (low, high) == tuple(counted * end for end in leak["ci95_bytes"])
    last = view.picture.series[0].points[-1][1]
    assert last == pytest.approx((low + high) / 2, rel=0.01), "of one repeat, the band is of all"
    steady = [s for s in leak["signals"] if s["name"] in COUNTS and s["verdict"] == "clean"]
    assert len(steady) > 5
    assert [each.title for each in trend.pictures] == [
        f"{each['name']}: {each['verdict']}" for each in leak["signals"] if each not in steady
    ]
    assert len([s for s in trend.pictures[0].series if s.joined]) == leak["repeats"]


def test_density_has_capacity_memory_and_speed():
    view = example("grid-10-density")
    found = json.loads((EXAMPLES / "grid-10-density.json").read_text())
    rooms = [each["room"]["agents"] for each in found["density"]["capacity"]]
    assert [each.values for each in view.picture.series] == [(rooms[0], None), (None, rooms[1])]
    chart = all_pictures(view)[1]
    cost = found["variants"]["before"]["per_agent"]
    agents, low, high = chart.bands[0].points[-1]
    assert low == pytest.approx(cost["fixed_bytes"] + agents * cost["ci95_bytes"][0])
    assert high == pytest.approx(cost["fixed_bytes"] + agents * cost["ci95_bytes"][1])
    assert all_pictures(view)[-1].title == "steps per second against agents"


def test_a_gate_shows_changes_beside_what_is_allowed():
    picture = view_of(GATE).picture
    changes = {
        f"{scenario.name}: {metric.metric}": (
            pytest.approx(100 * metric.change / metric.was),
            pytest.approx(100 * metric.allowed / metric.was),
        )
        for scenario in GATE.scenarios
        for metric in scenario.metrics
        if metric.was and metric.change is not None and metric.allowed is not None
    }
    change, worse, allowed = picture.series
    assert [each.role for each in picture.series] == ["after", "worse", "quiet"]
    sizes = [
        one if other is None else other
        for one, other in zip(change.values, worse.values, strict=True)
    ]
    shown = zip(picture.names, zip(sizes, allowed.values, strict=True), strict=True)
    assert dict(shown) == changes
    verdicts = {
        f"{scenario.name}: {metric.metric}": metric.verdict
        for scenario in GATE.scenarios
        for metric in scenario.metrics
    }
    for name, one, other in zip(picture.names, change.values, worse.values, strict=True):
        assert (one is None) == (other is not None) == (verdicts[name] == "worse")
    assert view_of(SELF_CHECK).picture.title.startswith("largest change")
    assert view_of(replace(GATE, scenarios=())).picture is None


def test_a_gate_says_how_to_go_on():
    usual = replace(GATE, baseline="memprof-baseline.json")
    assert view_of(usual).next.code == "memprof gate --update --force"
    moved = replace(GATE, baseline="base lines/b.json")
    assert view_of(moved).next.code == (
        "memprof gate --baseline 'base lines/b.json' --update --force"
    )
    assert view_of(COMPARED).next is None, "there is no baseline to renew"
    assert view_of(replace(GATE, updated=("grid-29",))).next is None


def test_operations_are_compared_by_their_peak(good_variant):
    (first, lines) = pictures.hotspot_bars([("before", good_variant())])
    assert (first.names, first.series[0].values) == (("build",), (5000.0,))
    assert (lines.names, lines.series[0].values) == (("my_model.py:3",), (900.0,))
