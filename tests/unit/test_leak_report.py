"""`memprof leak`'s report for people, made by hand for each verdict."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import msgspec
import pytest
from msgspec.structs import replace

from memprof.export import json_text
from memprof.leak import causes
from memprof.leak.view import headline, leak_view
from memprof.render import Next, Section, markdown, terminal
from memprof.values.leak import Leak, LeakReport, Signal, Site, SiteLine, Unchecked
from memprof.values.report import Caution, Environment, ScenarioFields

SCENARIO = ScenarioFields(name="case", backend="numpy", agents=20, steps=5, passes=(), repeats=3)

HISTORY = Site(
    owner="Agent.prev_actions",
    lines=(
        SiteLine("pymdp/legacy/agent.py", 812, "self.prev_actions.append(self.action)", 3_000.0),
        SiteLine("pymdp/legacy/control.py", 77, "action = np.zeros(n)", 800.0),
    ),
    type_name="numpy.ndarray",
    bytes_per_cycle=3_800.0,
    objects_per_cycle=100.0,
    kept_by=("Agent.prev_actions", "list of 20 Agent", "forager.AGENTS"),
    seen_by="object graph",
    cause=causes.history("Agent.prev_actions"),
)
RETRACE = Site(
    owner="",
    lines=(SiteLine("pymdp/control.py", 801, "jax.lax.scan(body, init, xs)", 0.0),),
    type_name="",
    bytes_per_cycle=0.0,
    objects_per_cycle=5.0,
    kept_by=(),
    seen_by="jax",
    traces_per_cycle=5.0,
    cause=causes.retracing("pymdp/control.py:801"),
)
FAULTLESS = [0, 900_000, *(903_800 for _ in range(9))]
GROWING = [0, 900_000, *(903_800 + 3_800 * each for each in range(9))]


def native(verdict="leak", readings=GROWING, per_cycle=3_800.0) -> Signal:
    interval = (per_cycle - 100, per_cycle + 100)
    return Signal("native", verdict, per_cycle, interval, 48.0, (tuple(readings),) * 3)


@pytest.fixture
def report() -> Callable[..., LeakReport]:
    """A history that grows, unless told otherwise."""

    def make(**fields: object) -> LeakReport:
        leak = Leak(
            verdict="leak",
            mode="lifecycle",
            cycles=10,
            agents=20,
            steps=5,
            passes=(),
            repeats=3,
            bytes_per_cycle=3_800.0,
            ci95_bytes=(3_700.0, 3_900.0),
            bytes_per_agent=190.0,
            floor_bytes=48.0,
            warm_up_cycles=(2, 2, 2),
            cycles_needed=None,
            compilations_per_cycle=None,
            detail="",
            signals=(
                native(),
                Signal("objects", "leak", 100.0, (99.0, 101.0), 1.0, ((0, 1, *range(9)),) * 3),
            ),
            sites=(HISTORY,),
            unattributed_bytes=12.0,
            native_bytes=0.0,
            cycle_seconds=0.1,
        )
        return LeakReport(
            scenario=SCENARIO,
            environment=Environment(
                {"python": "3.11"}, "Linux", 2, 10**10, None, None, "madvise", {}, "cpu", {}
            ),
            leak=replace(leak, **fields),
            warnings=(),
            complete=True,
        )

    return make


@pytest.fixture
def clean(report) -> LeakReport:
    return report(
        verdict="clean",
        bytes_per_cycle=0.0,
        ci95_bytes=(-20.0, 20.0),
        bytes_per_agent=0.0,
        signals=(native("clean", FAULTLESS, 0.0),),
        sites=(),
        unattributed_bytes=None,
    )


def titles(found: LeakReport) -> list[str]:
    return [section.title for section in leak_view(found).sections]


def section(found: LeakReport, title: str) -> Section:
    return next(each for each in leak_view(found).sections if each.title == title)


def on_screen(found: LeakReport) -> str:
    text = terminal.render(leak_view(found), width=80, color=False)
    assert max(map(len, text.splitlines())) <= 80
    return text


def words(text: str) -> str:
    return " ".join(text.split())


def test_a_leak_is_sized_and_placed_in_one_sentence(report):
    assert headline(report().leak) == (
        "LEAK: 3.80 KB per cycle (3.70 KB to 3.90 KB), 190 B per agent and cycle; "
        "first at Agent.prev_actions."
    )
    assert leak_view(report()).title == "case: 20 agents, cycles of build, 5 steps and release"
    living = leak_view(report(mode="steps", steps=1))
    assert living.title == "case: 20 agents, cycles of 1 more step"


def test_its_sites_say_where_it_was_made_and_what_keeps_it(report):
    found = report()
    assert titles(found) == ["Trend", "Sites", "Environment"]
    overview, lines, chains = section(found, "Sites").tables
    assert overview.rows == (
        ("Agent.prev_actions", "3.80 KB", "100.0", "numpy.ndarray", "object graph"),
        ("unattributed", "12 B", "", "", ""),
        ("in all", "3.81 KB", "", "", ""),
    )
    assert lines.rows[0] == (
        "pymdp/legacy/agent.py:812", "3.00 KB", "self.prev_actions.append(self.action)",
    )  # fmt: skip
    assert chains.rows == (
        ("Agent.prev_actions", "Agent.prev_actions <- list of 20 Agent <- forager.AGENTS"),
    )
    assert "--history-steps" in leak_view(found).next.text
    assert "memray" not in on_screen(found)


def test_the_remedy_is_that_of_the_first_site(report):
    def remedy(site: Site) -> str:
        return leak_view(report(sites=(site,))).next.text

    kept_by = ("service.SUBSCRIBERS", "service")
    own = replace(HISTORY, owner="service.SUBSCRIBERS", kept_by=kept_by, cause=None)
    assert "service.SUBSCRIBERS is retained by service." in remedy(own)
    assert "history_steps" not in remedy(own)
    memprofs = replace(own, owner="memprof", cause=causes.memprofs_own())
    assert remedy(memprofs) == "What memprof itself keeps grows. Report it with this scenario."
    line_only = replace(HISTORY, owner="", kept_by=(), cause=None)
    assert remedy(line_only).startswith("Start at pymdp/legacy/agent.py:812")
    assert "jax.clear_caches()" in remedy(RETRACE)
    both = report(sites=(HISTORY, RETRACE))
    assert "--history-steps" in leak_view(both).next.text
    assert "jax.clear_caches()" in section(both, "What else to do").text[0]


def test_lines_that_jax_retraces_stand_with_their_traces(report):
    found = report(sites=(RETRACE,), compilations_per_cycle=2.0, unattributed_bytes=None)
    assert headline(found.leak).endswith("first at pymdp/control.py:801.")
    overview, _ = section(found, "Sites").tables
    assert overview.rows == (("pymdp/control.py:801", "0 B", "5 traces", "-", "jax"),)
    assert "Programs that JAX compiles per cycle: 2." in on_screen(found)


def test_clean_says_what_would_have_been_found(clean):
    assert headline(clean.leak) == (
        "Clean: nothing grows; a leak of 48 B per cycle would have been found."
    )
    assert titles(clean) == ["Trend", "Environment"]


def test_clean_does_not_promise_of_mapped_memory_what_holds_of_the_heap(clean):
    """Pages that are mapped once in some cycles show in the process, which is coarser."""
    pages = replace(clean.leak.signals[0], name="process", floor=4096.0)
    heap = clean.leak.signals
    assert headline(replace(clean.leak, signals=(*heap, pages))).endswith(
        "48 B per cycle would have been found (4.10 KB of directly mapped memory)."
    )
    blind = replace(pages, floor=None)
    assert headline(replace(clean.leak, signals=(*heap, blind))).endswith(
        "(none of directly mapped memory)."
    )
    fine = replace(pages, floor=16.0)
    assert headline(replace(clean.leak, signals=(*heap, fine))).endswith("would have been found.")


def test_two_modes_have_a_verdict_each_and_the_first_line_says_both(report, clean):
    lived = replace(clean.leak, mode="steps", floor_bytes=64.0, history_steps=16)
    both = replace(clean, also=(lived,))
    assert leak_view(both).headline == (
        "Clean: nothing grows as agents come and go or keep running; a leak of 64 B per cycle "
        "would have been found."
    )
    assert leak_view(both).title.endswith(
        "cycles of build, 5 steps and release, and of 5 more steps"
    )
    assert titles(both)[:2] == [
        "Trend, as agents come and go: clean", "Trend, as agents keep running: clean",
    ]  # fmt: skip
    assert "keeps only the last 16 steps" in words(on_screen(both))
    assert words(on_screen(both)).count("Readings are taken after each cycle") == 1
    leaking = replace(report(mode="steps"), also=(clean.leak,))
    assert leak_view(leaking).headline.startswith("LEAK: 3.80 KB per cycle")
    assert titles(leaking)[0] == "Trend, as agents keep running: leak"
    unsaid = replace(clean, unchecked=(Unchecked("steps", "IndexError: the data ends"),))
    assert leak_view(unsaid).headline.endswith(
        "Not checked: what grows as agents keep running (IndexError: the data ends)."
    )


def test_the_users_own_line_comes_first(report):
    own = SiteLine("factory.py", 31, "fig, ax = plt.subplots()", 3_800.0)
    found = report(sites=(replace(HISTORY, owner="Gcf.figs", yours=(own,)),))
    assert headline(found.leak).endswith("; first at Gcf.figs (made at factory.py:31).")
    _, lines, _ = section(found, "Sites").tables
    assert lines.title == "Gcf.figs: where its objects are made (your own lines first)"
    assert [row[0] for row in lines.rows] == [
        "factory.py:31", "pymdp/legacy/agent.py:812", "pymdp/legacy/control.py:77",
    ]  # fmt: skip
    unowned = replace(HISTORY, owner="", yours=(own,))
    assert unowned.name == unowned.where == "factory.py:31"


def test_where_objects_are_made_and_where_they_are_added_are_told_apart(report):
    made = SiteLine("forager.py", 5, "return Entry(observation)", 3_800.0)
    put = SiteLine("forager.py", 13, "self.seen.append(entry)", 90.0)
    site = replace(HISTORY, owner="Forager.seen", lines=(made,), yours=(made,), added=(put,))
    assert site.where == "Forager.seen (made at forager.py:5, added at forager.py:13)"
    assert replace(site, yours=()).where == "Forager.seen (added at forager.py:13)"
    both = replace(site, added=(made,))
    assert both.where == "Forager.seen (forager.py:5)", "one line does both"
    _, lines, _ = section(report(sites=(site,)), "Sites").tables
    assert lines.title == "Forager.seen: where its objects are made and added"
    assert lines.rows == (
        ("forager.py:5", "3.80 KB", "return Entry(observation)"),
        ("forager.py:13", "added here", "self.seen.append(entry)"),
    )
    _, lines, _ = section(report(sites=(both,)), "Sites").tables
    assert len(lines.rows) == 1


def test_memprofs_own_lines_are_one_row(report):
    own = [SiteLine(f"memprof/storage/{n}.py", 1, "x = y", 100.0) for n in ("a", "b")]
    model = SiteLine("memprof/models/built_in.py", 26, "return built", 50.0)
    found = report(sites=(replace(HISTORY, lines=(*own, model)),))
    _, lines, _ = section(found, "Sites").tables
    assert [row[:2] for row in lines.rows] == [
        ("memprof/models/built_in.py:26", "50 B"), ("memprof", "200 B"),
    ]  # fmt: skip
    memprofs = report(sites=(replace(HISTORY, owner="memprof", lines=(*own, model)),))
    _, lines, _ = section(memprofs, "Sites").tables
    assert len(lines.rows) == 3, "whoever mends memprof needs them"


def test_the_rows_of_sites_add_up(report):
    sites = tuple(
        replace(HISTORY, owner=f"module.KEPT_{n}", bytes_per_cycle=100.0 * (12 - n))
        for n in range(12)
    )
    overview = section(report(sites=sites, unattributed_bytes=-200.0), "Sites").tables[0]
    assert [row[:2] for row in overview.rows[8:]] == [
        ("4 smaller sites", "1.00 KB"), ("unattributed", "-200 B"), ("in all", "7.60 KB"),
    ]  # fmt: skip


def test_inconclusive_says_what_would_decide(clean):
    leak = replace(
        clean.leak,
        verdict="inconclusive",
        detail="the repeats contradict each other",
        cycles_needed=30,
    )
    found = replace(clean, leak=leak)
    assert headline(leak) == (
        "Inconclusive: the repeats contradict each other; 30 cycles would decide."
    )
    assert leak_view(found).next == Next("Run it again with --cycles 30.")
    assert on_screen(found).count("contradict each other") == 1
    hopeless = replace(found, leak=replace(leak, cycles_needed=None))
    assert titles(hopeless) == ["Trend", "Environment"]
    assert leak_view(hopeless).next is None


def test_growth_that_nothing_accounts_for_is_said_and_where_to_look(report):
    found = report(sites=(), unattributed_bytes=3_800.0, native_bytes=3_700.0)
    assert "first at" not in headline(found.leak)
    assert titles(found) == ["Trend", "Sites", "Environment"]
    text = words(on_screen(found))
    assert "No site was found for the 3.80 KB per cycle." in text
    assert "Native libraries keep 3.70 KB per cycle: the extra memprof-pymdp[native]" in text
    assert "memprof-pymdp[native]" in text
    with_memray = replace(found, environment=replace(found.environment, versions={"memray": "1"}))
    assert "memprof-pymdp[native]" not in on_screen(with_memray)


def test_only_what_leaks_in_some_cycles_is_looked_for_in_those(report):
    steady = report(sites=())
    assert "some cycles" not in leak_view(steady).next.text
    jumps = [0, 900_000, *(900_000 + 12_000 * (each // 3) for each in range(18))]
    seldom = report(sites=(), signals=(native(readings=jumps),))
    assert "only in some cycles" in leak_view(seldom).next.text


def test_sites_from_active_agents_are_said_to_be(report):
    found = report(sites_without=("template",), unattributed_bytes=1_200.0, bytes_per_cycle=40.0)
    brief = "".join(text for each in leak_view(found).brief for text in each.text)
    assert "stay active" in brief, "the sizes would not go with the leak's"
    said = words(on_screen(found))
    assert "Sites are from agents that stay active (without template)" in said
    assert "These agents gain 5.00 KB per cycle where those at rest gain 40 B." in said
    assert "stay active" not in on_screen(report())


@pytest.mark.parametrize(
    ("warm_up", "sentence"),
    [
        ((0, 0), "Counted cycles: 10, after a warm-up of 0, in 2"),
        ((1,), "Counted cycles: 9, after a warm-up of 1, in 1 repeat."),
        ((2, 3), "Counted cycles: 8 and 7, after a warm-up of 2 and 3"),
    ],
)
def test_it_says_which_cycles_count(report, warm_up, sentence):
    found = report()
    signals = tuple(replace(s, series=s.series[:1] * len(warm_up)) for s in found.leak.signals)
    leak = replace(found.leak, signals=signals, warm_up_cycles=warm_up, repeats=len(warm_up))
    assert sentence in words(on_screen(replace(found, leak=leak)))


def test_every_signal_is_judged_in_its_own_unit(report):
    (table,) = section(report(), "Trend").tables
    assert table.rows == (
        ("native", "leak", "+3.80 KB", "3.70 KB .. 3.90 KB", "48 B"),
        ("objects", "leak", "+100.0", "99.0 .. 101.0", "1.0"),
    )


def chart_of(found: LeakReport) -> list[str]:
    """The chart's rows, as Markdown has them."""
    fenced = re.search(r"```text\n(.*?)\n```", markdown.render_view(leak_view(found)), re.DOTALL)
    assert fenced
    return fenced[1].splitlines()


def test_the_chart_rises_with_the_heap_and_marks_the_warm_up(report):
    lines = chart_of(report())
    assert all(line in on_screen(report()) for line in lines)
    rows = [line for line in lines if "┤" in line or "│" in line]
    assert rows[0].startswith("+40.0 KB ┤")
    assert rows[-1].startswith("     0 B ┤")
    assert sum(row.count("●") for row in rows) == 9
    columns = [row.index("●") for row in rows if "●" in row]
    assert columns == sorted(columns, reverse=True), "it rises"
    assert rows[-1].count("↓") == 2, "the readings before 900 KB of warm-up are far below"
    assert lines[-2].split() == ["cycle", *map(str, range(11))]
    assert lines[-1].strip() == "● counted, ↓ left out, below the chart"


def test_noise_below_the_floor_does_not_fill_the_chart(clean):
    noisy = [0, 20, *(20 + 30 * (each % 2) for each in range(9))]
    leak = replace(clean.leak, signals=(native("clean", noisy, 0.0),))
    rows = [line for line in chart_of(replace(clean, leak=leak)) if "┤" in line or "│" in line]
    assert rows[0].startswith("+400 B ┤"), "48 B in each of 8 counted cycles"
    assert sum("●" in row for row in rows) <= 2


def test_native_and_python_are_one_heap(report):
    python = Signal("python", "clean", 0.0, (0.0, 0.0), 16.0, (tuple(range(0, 1_100, 100)),) * 3)
    (chart,) = section(report(signals=(native(), python)), "Trend").charts
    assert chart.series[0].points[0] == (2.0, 0.0)
    assert chart.series[0].points[-1] == (10.0, 8 * 3_900.0)
    assert [x for x, _ in chart.series[1].points] == [0.0, 1.0]


def test_where_the_heap_holds_still_the_chart_is_of_what_grows(report):
    still = native("clean", FAULTLESS, 0.0)
    device = Signal("device", "leak", 3_800.0, (3_800.0, 3_800.0), 1.0, (tuple(GROWING),) * 3)
    (chart,) = section(report(signals=(still, device)), "Trend").charts
    assert chart.title.startswith("device")
    assert chart.series[0].points[-1][1] == 8 * 3_800.0


def test_a_leak_of_counts_only_says_nothing_of_memory(report):
    """A process that gains nothing gains as much as the heap: that is no memory of its own."""
    process = Signal("process", "clean", 0.0, (0.0, 0.0), 4_096.0, ((9,) * 11,) * 3)
    threads = Signal("threads", "leak", 1.0, (1.0, 1.0), 1.0, (tuple(range(11)),) * 3)
    found = report(signals=(process, threads), bytes_per_cycle=0.0, ci95_bytes=(0.0, 0.0), sites=())
    said = words(on_screen(found))
    assert "LEAK: 1 thread per cycle." in said
    assert "directly mapped memory" not in said


def test_many_cycles_fit_the_screen_too(report):
    found = report(cycles=400, signals=(native(readings=range(0, 401_000, 1_000)),))
    on_screen(found)
    assert max(map(len, chart_of(found))) <= 80


def test_hostile_text_is_no_markup(report):
    hostile = "<script>alert(1)</script>[bold]x[/bold]`|*"
    site = Site(
        owner=hostile,
        lines=(SiteLine(f"{hostile}.py", 1, hostile, 1.0),),
        type_name="[bold]T[/bold]",
        bytes_per_cycle=1.0,
        objects_per_cycle=1.0,
        kept_by=(hostile, "[bold]m[/bold]"),
        seen_by="tracemalloc",
    )
    found = report(sites=(site,), detail=hostile)
    found = replace(
        found, scenario=replace(SCENARIO, name=hostile), warnings=(Caution("k", hostile, hostile),)
    )
    text = markdown.render_view(leak_view(found))
    assert "<script>" not in text.replace("\\<", "")
    assert not re.search(r"(?<!\\)\[bold\]", text)
    screen = "".join(on_screen(found).split())
    assert hostile in screen
    assert "[bold]T[/bold]" in screen


def test_long_names_keep_to_the_width(report):
    name = "a_package.with_long_names.and_a_module:" + "x" * 60
    site = replace(
        HISTORY,
        owner=f"{name}.prev",
        type_name=name,
        lines=(SiteLine(f"{name}.py", 1, "y" * 100, 1.0),),
        kept_by=(name,) * 4,
    )
    text = on_screen(report(sites=(site,)))
    (row,) = (line for line in text.splitlines() if "object graph" in line)
    assert "3.80 KB" in row
    assert "100.0" in row


def test_the_json_of_a_leak_reads_back_whole(report):
    values = json.loads(json_text.render(report()))
    assert (values["schema"], values["kind"]) == ("memprof.report/2", "leak")
    assert set(values["leak"]) >= {
        "verdict", "bytes_per_cycle", "ci95_bytes", "floor_bytes", "sites",
    }  # fmt: skip
    assert msgspec.convert(values, LeakReport) == report()
