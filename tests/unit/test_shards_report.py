"""What the figures of shards come to, by made-up runs whose truth is known; and how that reads."""

from __future__ import annotations

import csv
import io

import pytest
from msgspec.structs import replace

from memprof.errors import BehaviourDiverged, ClusterError
from memprof.export import csv_text, json_text
from memprof.export.consistent import problems
from memprof.profile.shards import condensed, diverged
from memprof.render import markdown, terminal, view_of
from memprof.values.density import DensityPoint, DensityRun, DistributedRun
from memprof.values.distributed import NodeMemory
from memprof.values.instruments import Reading
from memprof.values.measurements import TraceComparison
from memprof.values.population import EngineSpec, PopulationSpec
from tests.conftest import ROOT

EACH, LIBRARIES, EMPTY = 100_000, 60_000_000, 80_000_000
SPEC = PopulationSpec(
    backend="numpy", model={}, private=False, differs=False, agent={}, learning=(), passes=(),
    options={}, loop="", agents=100, steps=5, seed=0, folder="/", engine=EngineSpec(2),
)  # fmt: skip


def reading(agents):
    """Of all shards: libraries are in PSS, and in no private memory."""
    private = EMPTY + EACH * agents
    return Reading(private + LIBRARIES, private + LIBRARIES, private + LIBRARIES, private, None)


def point(agents):
    return DensityPoint(agents, reading(agents), None, None, None, None, 1e-3, None, 1e-4, agents)


def node(name="a", machine="one", shards=1, left=10**9, limit=10**9, agents=0):
    held = (EMPTY + LIBRARIES) // 2 * shards + EACH * agents
    return NodeMemory(
        name=name, host="here", machine=machine, shards=shards, shards_bytes=held,
        private_bytes=held - LIBRARIES // 2 * shards, store_bytes=4096, ray_bytes=300_000_000,
        ray_processes=6, driver_bytes=90_000_000, left_bytes=left, limit_bytes=limit,
    )  # fmt: skip


def made(nodes=(), sizes=(1, 10, 25, 50, 75, 100), **more):
    """A run on these nodes; by default one of two shards."""
    nodes = nodes or (node(shards=2, agents=sizes[-1]),)
    shards = sum(each.shards for each in nodes)
    digests = tuple(f"{agent:x}" for agent in range(sizes[-1]))
    sweep = DensityRun(
        facts={}, baseline=reading(0), file_bytes=0, kept_whole=(), working_set=None,
        digests=digests, points=tuple(map(point, sizes)), lived=sizes[-1], time_up=False,
        replaced=0, left=None,
    )  # fmt: skip
    run = DistributedRun(
        ray="2.60.0",
        sweep=sweep,
        empty=tuple(replace(each, shards_bytes=70_000_000 * each.shards) for each in nodes),
        nodes=nodes,
        agents=tuple(sizes[-1] * each.shards // shards for each in nodes),
        ended="reached",
        behaved=(digests,),
        courses=((),),
        paced=100,
        one_process_seconds=(2e-3, 2e-3, 2.2e-3, 1.8e-3, 2e-3),
        shards_seconds=(1e-3,) * 5,
        messages=4.0,
        message_bytes=2e4,
    )
    return replace(run, **more)


def test_an_agent_costs_what_it_adds_to_all_shards_and_libraries_are_fixed():
    found = condensed(made(), SPEC)
    assert found.per_agent.marginal_bytes == pytest.approx(EACH)
    assert found.per_agent.fixed_bytes == pytest.approx(EMPTY + LIBRARIES)
    assert found.shard_bytes == 70_000_000
    assert (found.shards, found.agents, found.address, found.world) == (2, 100, "", "")


def test_a_cost_is_no_surer_than_the_grain_of_all_shards():
    """Even where all points are on one line: a process grows by arenas."""
    low, high = condensed(made(), SPEC).per_agent.ci95_bytes
    grain = 2 * 2**20 * 2**0.5 / 99
    assert (low, high) == (pytest.approx(EACH - grain), pytest.approx(EACH + grain))
    few = condensed(made(sizes=(1, 2, 3)), SPEC).per_agent
    assert not few.resolved


def test_the_cluster_holds_what_each_node_holds_with_its_own_limit():
    nodes = (
        node("a", "one", shards=3, left=2 * 10**9, limit=10**10),
        node("b", "two", shards=1, left=4 * 10**8, limit=10**9),
        node("c", "three", left=10**7, limit=10**9),
    )
    found = condensed(made(nodes), SPEC)
    most = found.per_agent.ci95_bytes[1]
    assert most >= EACH
    rooms = [2 * 10**9 - 5 * 10**8, 4 * 10**8 - 5 * 10**7, 0]  # 5 % are Ray's
    assert [row.more for row in found.nodes] == [int(room / most) for room in rooms]
    assert found.capacity == 100 + sum(row.more for row in found.nodes)


def test_what_building_takes_in_passing_is_left_free_on_every_node():
    nodes = (node("a", "one", shards=3), node("b", "two", shards=1))
    calm = made(nodes)
    peak = calm.sweep.points[-1].reading.rss_bytes + 4 * 10**7
    risen = [replace(each, peak_rss_bytes=peak) for each in calm.sweep.points[-1:]]
    sweep = replace(calm.sweep, points=(*calm.sweep.points[:-1], *risen))
    before, after = condensed(calm, SPEC), condensed(replace(calm, sweep=sweep), SPEC)
    each = before.per_agent.ci95_bytes[1]
    lost = [b.more - a.more for b, a in zip(before.nodes, after.nodes, strict=True)]
    assert lost == pytest.approx([3 * 10**7 / each, 10**7 / each], abs=1)


def test_nodes_on_one_machine_share_what_it_has_left():
    alone = condensed(made((node("a", shards=2),)), SPEC)
    shared = condensed(made((node("a"), node("b"))), SPEC)
    apart = condensed(made((node("a"), node("b", machine="another"))), SPEC)
    assert shared.capacity == pytest.approx(alone.capacity, abs=2)
    assert apart.capacity - 100 == pytest.approx(2 * (alone.capacity - 100), abs=2)


def test_speed_is_compared_round_by_round():
    pace = condensed(made(), SPEC).pace
    assert pace.ratio == 2.0
    assert pace.ratio_ci95[0] < 2.0 < pace.ratio_ci95[1]
    assert (pace.one_process_per_second, pace.shards_per_second) == (500, 1000)
    assert condensed(made(one_process_seconds=(), shards_seconds=()), SPEC).pace is None


def test_shards_that_do_otherwise_fail_the_command():
    run = made()
    other = replace(run.sweep, digests=(*run.sweep.digests[:7], "other", *run.sweep.digests[8:]))
    found = condensed(replace(run, sweep=other), SPEC)
    assert found.equivalence.verdict == "diverged"
    assert "1 of 100 agents do otherwise" in found.equivalence.detail
    assert "agent 7" in found.equivalence.detail
    assert isinstance(diverged(found), BehaviourDiverged)
    assert diverged(condensed(run, SPEC)) is None
    assert diverged(None) is None


@pytest.mark.parametrize(("error", "verdict"), [(1e-13, "bounded"), (1e-3, "diverged")])
def test_passes_that_are_bounded_are_held_to_their_bound(error, verdict):
    """Sums of fewer agents together may round otherwise."""
    run = made()
    moved = replace(run.sweep, digests=("x",) * 100)
    compared = TraceComparison(100, 5, 500, 500, error, 1e-9, (3, 2))
    run = replace(run, sweep=moved, behaved=run.behaved * 2, comparison=compared)
    found = condensed(run, replace(SPEC, passes=("batch",))).equivalence
    assert found.verdict == verdict


def test_where_one_process_differs_from_itself_nothing_is_compared():
    run = made()
    again = tuple("another" for _ in run.behaved[0])
    moved = replace(run.sweep, digests=("x",) * 100)
    courses = (("a", "b", "c", "d"), ("a", "b", "other", "d"))
    found = condensed(
        replace(run, sweep=moved, behaved=(*run.behaved, again), courses=courses), SPEC
    )
    assert found.equivalence.verdict == "not_checked"
    assert "the world is not deterministic" in found.equivalence.detail
    assert diverged(found) is None


@pytest.mark.parametrize(
    ("ended", "lack", "said"),
    [
        ("time", "", r"raise --time-limit$"),
        ("memory", "out of memory in shard 1", r"use more .* \(out of memory in shard 1\)$"),
    ],
)
def test_two_sizes_are_no_line(ended, lack, said):
    with pytest.raises(ClusterError, match=said):
        condensed(made(sizes=(1, 10), ended=ended, lack=lack), SPEC)


# ------------------------------------------------------------------------------- reports


def reported(name="grid-10-density", **more):
    """An example with the shards of a made-up run."""
    report = json_text.parse((ROOT / "reports" / "examples" / f"{name}.json").read_text())
    assert report.distributed is None, "an older report has none"
    two = (node("aaaaaaaa", agents=50), node("bbbbbbbb", agents=50))
    return replace(report, distributed=condensed(made(two, **more), SPEC))


def on_screen(report, *, brief=False):
    render = terminal.render_brief if brief else terminal.render
    return render(view_of(report), width=80, color=False)


@pytest.mark.parametrize("name", ["grid-10-density", "grid-29"])
def test_it_stands_in_all_formats_of_both_commands(name):
    report = reported(name)
    assert json_text.parse(json_text.render(report)) == report
    whole = on_screen(report)
    flat = " ".join(whole.split())
    for said in (
        "Over 2 shards on 2 nodes of this machine an agent costs 100 KB (70.0 KB to 130 KB)",
        "1,000 steps of agents a second, against 500 in one process: 2.00 times as many",
        "100% of one process per shard",
        "Equivalence with one process: exact: all digests are equal",
        "Ray itself is processes that Ray starts on every node",
        "own records (gcs_server); 6 in all on node aaaaaaaa.",
        "A step of all agents takes 4 messages with 20.0 KB, both ways together.",
        "here (aaaaaaaa)",
        "here (bbbbbbbb)",
    ):
        assert said in flat, said
    assert max(map(len, whole.splitlines())) <= 80
    assert "Shards on Ray" in markdown.render(report)
    screen = on_screen(report, brief=True)
    assert "Over 2 shards on 2 nodes" in screen
    assert len(screen.splitlines()) <= terminal.SCREEN_LINES


def test_the_table_has_a_row_per_node_and_figure():
    rows = list(csv.DictReader(io.StringIO(csv_text.render(reported()))))
    shards = [row for row in rows if row["variant"] == "shards"]
    found = {(row["series"], row["note"]): float(row["y"]) for row in shards}
    assert found["ray_bytes", "aaaaaaaa"] == found["ray_bytes", "bbbbbbbb"] == 300_000_000
    assert found["marginal_bytes", ""] == pytest.approx(EACH)
    assert found["shards_over_one_process", ""] == 2.0


def test_a_report_whose_nodes_contradict_it_is_refused():
    report = reported()
    wrong = replace(report, distributed=replace(report.distributed, agents=99))
    assert ("distributed.agents", "expected 100, as nodes have it, found 99") in problems(wrong)


def test_what_was_not_counted_or_timed_is_not_said():
    run = {"one_process_seconds": (), "shards_seconds": (), "messages": None}
    text = on_screen(reported(**run))
    assert "Speed" not in text.partition("Shards on Ray")[2].partition("\nSweep")[0]
    assert "messages" not in text
