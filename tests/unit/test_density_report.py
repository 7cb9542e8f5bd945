"""The view of a density report: what it says of capacities, threads and the predecessor."""

from __future__ import annotations

import json
import re

import msgspec
import pytest
from msgspec.structs import replace

from memprof.density.view import density_view, headline
from memprof.export import json_text
from memprof.render import markdown, terminal
from memprof.values.density import (
    Capacity,
    Density,
    DensityReport,
    DensityVariant,
    Room,
    SizeRow,
    ThreadsRow,
    Verification,
)
from memprof.values.report import Environment, Equivalence, PerAgent, ScenarioFields, Variants

GIB = 2**30
BEFORE = DensityVariant(
    passes=(),
    repeats=1,
    per_agent=PerAgent(31.4e6, (31.3e6, 31.5e6), 120e6, 3.2e9, True),
    agents_per_gib=34.2,
    lived=100,
    ended="reached",
    detail="",
    uss_bytes=3.2e9,
    pss_bytes=3.2e9,
    peak_bytes=3.3e9,
    baseline_bytes=120e6,
    replaced=50,
    left_bytes=121e6,
    working_set=None,
    file_bytes=0.0,
    step_seconds=13e-3,
    build_seconds=75e-3,
    optimise_seconds=None,
    kept_whole=(),
    samples=(),
)
AFTER = replace(
    BEFORE,
    passes=("history", "pool", "template"),
    per_agent=PerAgent(300.0, (280.0, 320.0), 155e6, 155e6, True),
    agents_per_gib=GIB / 300,
    lived=1_000,
    optimise_seconds=1.5e-3,
)


def size(variant, agents, total, rate=100.0):
    per_agent = (total - 120e6) / agents
    return SizeRow(
        variant, agents, total, None, per_agent, total, rate, rate / agents, 1.0, agents, 1e-3, None
    )


def room(agents, expected=None, most=None, bound="--memory-limit"):
    return Room(bound, "data", 2 * GIB, agents, expected or agents, most, 5.8e6)


@pytest.fixture
def report():
    def make(**density) -> DensityReport:
        points = (
            size("before", 1, 151e6),
            size("before", 50, 1.69e9),
            size("before", 75, 2.47e9),
            size("after", 1, 154e6),
            size("after", 50, 154e6),
            size("after", 75, 154e6),
        )
        capacity = (
            Capacity("before", room(54), (room(700, bound="machine"),), None),
            Capacity("after", room(6_000_000), (), None),
        )
        return DensityReport(
            scenario=ScenarioFields(
                name="case", agents=1, steps=5, backend="numpy", passes=(), repeats=1
            ),
            environment=Environment(
                {"python": "3.11"}, "Linux", 2, 10**10, None, None, "madvise", {}, "cpu", {}
            ),
            variants=Variants(BEFORE, AFTER),
            density=replace(Density(points, capacity, (), False), **density),
            equivalence=Equivalence("exact", 100, 5, 1.0, 0.0, 0.0, "all digests are equal"),
            budget=None,
            warnings=(),
            complete=True,
        )

    return make


def on_screen(found: DensityReport) -> str:
    return " ".join(terminal.render(density_view(found), width=80, color=False).split())


def test_the_headline_says_how_many_fit_and_how_many_more(report):
    assert on_screen(report()).startswith(
        "case: up to 1,000 agents, 5 steps each 54 agents fit in 2 GiB (--memory-limit); with "
        "history, pool, template 6,000,000 (111,111 times as many). Both are 95 % lower bounds."
    )
    assert "Other bounds, before: 700 in 2 GiB, the machine's free memory." in on_screen(report())


def test_the_headline_has_figures_of_one_kind_and_the_table_says_which_is_another(report):
    """The capacity is a lower bound with all that the process takes; a GiB of agents is neither."""
    assert "GiB," not in headline(report())
    assert "agents that fit, at least" in on_screen(report())
    assert "agents per GiB, marginal" in on_screen(report())


@pytest.mark.parametrize(("known", "said"), [(None, "unknown"), (0.0, "below resolution")])
def test_a_peak_that_was_not_seen_is_no_peak_of_nothing(report, known, said):
    found = report()
    capacity = tuple(
        replace(each, room=replace(each.room, transient_bytes=known))
        for each in found.density.capacity
    )
    found = replace(found, density=replace(found.density, capacity=capacity))
    assert f"transient peak {said} {said}" in on_screen(found)
    assert ("the capacity leaves it out" in on_screen(found)) == (known is None)


@pytest.mark.parametrize(
    ("verdict", "said"),
    [
        ("diverged", "agents behave differently, so no capacity is claimed"),
        ("not_checked", "was not checked, so no capacity is claimed"),
    ],
)
def test_without_proof_there_is_no_capacity_after(report, verdict, said):
    unproved = Equivalence(verdict, 0, 0, None, None, None, "why")
    text = on_screen(replace(report(), equivalence=unproved))
    assert said in text
    assert "times as many" not in text


@pytest.mark.parametrize(
    ("verification", "said"),
    [
        (
            Verification(60, 55, "memory"),
            "54 agents lived in 2 GiB, as predicted; the limit was reached at 55, +1.9% from the",
        ),
        (
            Verification(60, 50, "memory"),
            "50 agents lived in 2 GiB, fewer than predicted; the limit was reached at 50, -7.4%",
        ),
        (
            Verification(60, 60, "reached"),
            "a tenth more, 60, fit too, within the interval (up to 65)",
        ),
        (
            Verification(70, 70, "reached"),
            "a tenth more, 70, fit too, beyond the interval (up to 65)",
        ),
        (Verification(60, 20, "time"), "20 agents lived in 2 GiB within the time limit, of 54"),
    ],
)
def test_a_verification_says_how_it_ended(report, verification, said):
    capacity = Capacity("before", room(54, most=65), (), verification)
    assert said in on_screen(report(capacity=(capacity,)))


def test_the_chart_has_both_variants(report):
    text = markdown.render_view(density_view(report()))
    assert "● before, ○ after" in text
    assert "| 75 | 2.47 GB |" in text


def test_what_fills_the_limit_has_the_process_without_agents_too(report):
    capacity = (
        Capacity("before", replace(room(100), empty_bytes=220e6), (), None),
        Capacity("after", replace(room(1_000), empty_bytes=230e6), (), None),
    )
    view = density_view(report(capacity=capacity))
    (drawn,) = view.sections[0].pictures
    assert drawn.names == ("process without agents", "transient peak", "agents")
    for bars, empty in zip(drawn.series, (220e6, 230e6), strict=True):
        assert bars.values[:2] == (empty, 5.8e6)
        assert sum(bars.values) == 2 * GIB
    assert re.search(r"taken without agents +220 MB +230 MB", on_screen(report(capacity=capacity)))
    older = density_view(report())
    assert not older.sections[0].pictures
    assert "taken without agents" not in on_screen(report())


def test_threads_and_the_predecessor_stand_side_by_side(report):
    threads = (
        ThreadsRow("before", 30, 50, 4, 1, 75.0, 80.0, 1.07, (1.0, 1.1), 98e3),
        ThreadsRow("after", 30, 50, 4, 2, 1500.0, 1650.0, 1.1, (1.05, 1.15), -4e3),
    )
    text = on_screen(report(threads=threads, suite=True))
    for said in (
        "one agent 95.4 MB to 0.02 MB 31.0 MB 34.0 MB",
        "75 agents, each 0.017 MB 31.3 MB 453 KB",
        "to optimise an agent 9.2 ms - 1.50 ms",
        "4,967/s 80/s 1,650/s",
        "after 1,500/s 1,650/s 1.10 x 1.05 .. 1.15 -4.00 KB",
        "before: 1 of the 4 threads ran at the same time",
        "Its agents were mocks",
    ):
        assert said in text
    plain = on_screen(report())
    assert "predecessor" not in plain
    assert "Threads" not in plain


def test_the_json_reads_back_whole(report):
    values = json.loads(json_text.render(report()))
    assert (values["schema"], values["kind"]) == ("memprof.report/2", "density")
    assert set(values["density"]) >= {"points", "capacity"}
    assert set(values["variants"]["after"]["per_agent"]) >= {
        "marginal_bytes", "ci95_bytes", "fixed_bytes", "at_n_bytes",
    }  # fmt: skip
    assert msgspec.convert(values, DensityReport) == report()


def test_it_says_how_the_passes_come_into_a_program(report):
    found = density_view(report()).next
    assert found.text == (
        "history, pool and template make this possible; apply them with these two lines:"
    )
    assert found.code.endswith('optimize(agents, passes=["history", "pool", "template"])')
    alone = replace(report(), variants=Variants(BEFORE, None))
    assert density_view(alone).next.code == "memprof density SCENARIO --passes auto"
    capacity = [
        replace(each, room=replace(each.room, agents=0)) for each in report().density.capacity
    ]
    full = replace(report(), density=replace(report().density, capacity=tuple(capacity)))
    assert density_view(full).next.text.startswith(
        "No more agents fit with history, pool and template"
    )
    diverged = replace(report(), equivalence=Equivalence("diverged", 1, 1, 0.5, 0.1, None, "x"))
    assert "optimize" not in density_view(diverged).next.code
