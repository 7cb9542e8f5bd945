"""How many agents fit: lines through scripted readings, against known truth."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from memprof.density.capacity import lowest, size_rows, sweep_sizes, usage
from memprof.density.forecast import _beside_each
from memprof.values.density import Bound, DensityPoint, DensityRun
from memprof.values.instruments import Reading

MB = 10**6
BASE, FILES, THREADS = 70 * MB, 50 * MB, 150 * MB


def point(
    agents: int, each: float, *, untouched: float = 0.0, transient: int = 0, fixed: int = 0
) -> DensityPoint:
    private = round(BASE + fixed + agents * each)
    data = round(private + THREADS + agents * untouched)
    return DensityPoint(
        agents=agents,
        reading=Reading(private + FILES, private + FILES, private, private, private),
        data_bytes=data,
        virtual_bytes=data + FILES,
        peak_virtual_bytes=data + FILES + transient,
        peak_rss_bytes=private + FILES + transient,
        build_seconds=1e-3,
        optimise_seconds=None,
        step_seconds=2e-3,
        stepped=agents,
    )


def run(*points: DensityPoint) -> DensityRun:
    baseline = Reading(BASE + FILES, BASE + FILES, BASE, BASE, BASE)
    return DensityRun(
        points, points[-1].agents, False, 0, baseline, baseline=baseline, working_set=None,
        file_bytes=0, kept_whole=(), digests=(), facts={},
    )  # fmt: skip


def sweep(each: float, **options: float) -> DensityRun:
    return run(*(point(agents, each, **options) for agents in sweep_sizes(100)))


@pytest.mark.parametrize(
    ("most", "sizes"),
    [
        (100, (1, 10, 25, 50, 75, 100)),
        (1000, (1, 100, 250, 500, 750, 1000)),
        (5, (1, 2, 4, 5)),
        (2, (1, 2)),
        (1, (1,)),
    ],
)
def test_the_sizes_of_a_sweep(most, sizes):
    assert sweep_sizes(most) == sizes


@given(st.integers(1, 10**8))
def test_sizes_rise_from_one_agent_to_all(most):
    sizes = sweep_sizes(most)
    assert sizes[0] == 1
    assert sizes[-1] == most
    assert list(sizes) == sorted(set(sizes))


def test_resident_memory_fits_to_the_byte():
    found = usage([sweep(1 * MB, transient=30 * MB)], "resident")
    room = found.room(Bound("machine", BASE + FILES + 30 * MB + 1000 * MB, "resident"))
    assert room.expected == 1000
    assert 950 < room.agents <= 1000 <= room.most < 1050
    assert room.transient_bytes == 30 * MB


def test_the_data_segment_counts_what_nobody_touches():
    plain = usage([sweep(1 * MB)], "data").room(Bound("--memory-limit", 2000 * MB, "data"))
    zeros = usage([sweep(1 * MB, untouched=1 * MB)], "data")
    room = zeros.room(Bound("--memory-limit", 2000 * MB, "data"))
    assert plain.expected == pytest.approx(2000 - 220, abs=1)
    assert room.expected == pytest.approx((2000 - 220) / 2, abs=1)
    assert room.empty_bytes == plain.empty_bytes == pytest.approx(BASE + THREADS)


def test_a_grain_of_mapped_memory_is_no_slope():
    points = [point(n, 200, untouched=0) for n in (1, 1000, 10_000)]
    jump = [replace(p, data_bytes=p.data_bytes + (p.agents > 1) * 2**20) for p in points]
    room = usage([run(*jump)], "data").room(Bound("--memory-limit", 2000 * MB, "data"))
    assert room.expected == pytest.approx((2000 - 221) * MB / 200, rel=0.01)


def test_the_peak_of_the_warm_up_is_not_taken_for_the_agents():
    """VmPeak is of the whole process: 500 MB of imports came before a population that needs 5."""
    points = [
        replace(p, peak_virtual_bytes=500 * MB + BASE + THREADS + FILES)
        for p in sweep(1 * MB).points[:3]
    ]
    later = [point(n, 1 * MB, transient=5 * MB) for n in (600, 700)]
    found = usage([run(*points, *later)], "data")
    assert found.transient_bytes == 5 * MB
    hidden = usage([run(*points)], "data")
    assert hidden.transient_bytes == 475 * MB, "it was not more; nothing better is known"


def test_the_lowest_bound_counts():
    found = usage([sweep(1 * MB)], "resident")
    rooms = [
        found.room(Bound("machine", 2000 * MB, "resident")),
        found.room(Bound("cgroup", 500 * MB, "resident")),
    ]
    assert lowest(rooms).bound == "cgroup"


def test_noise_widens_the_interval_and_lowers_what_is_promised():
    steps = [0, 40, -40, 40, -40, 0]
    noisy = run(
        *(
            point(n, 1000, fixed=step * 1000)
            for n, step in zip(sweep_sizes(1000), steps, strict=True)
        )
    )
    bound = Bound("machine", 1000 * MB, "resident")
    sure, unsure = usage([sweep(1000)], "resident").room(bound), usage([noisy], "resident")
    assert unsure.room(bound).agents < sure.agents < sure.expected


def test_agents_that_cannot_be_told_from_none_have_no_upper_end():
    room = usage([sweep(1)], "resident").room(Bound("machine", 1000 * MB, "resident"))
    assert room.most is None
    assert room.agents < 100 * 1000 * MB


def test_a_limit_below_what_was_measured_is_interpolated():
    room = usage([sweep(10 * MB)], "resident").room(
        Bound("cgroup", BASE + FILES + 500 * MB, "resident")
    )
    assert room.expected == 50
    assert 48 <= room.agents <= 50


def test_nothing_fits_where_the_process_itself_does_not():
    room = usage([sweep(1 * MB)], "resident").room(Bound("cgroup", 10 * MB, "resident"))
    assert room.agents == room.expected == 0


def test_a_platform_without_mappings_has_no_such_gauge():
    blind = [replace(p, data_bytes=None, virtual_bytes=None) for p in sweep(1 * MB).points]
    assert usage([run(*blind)], "data") is None
    assert usage([run(*blind)], "resident") is not None


def test_rows_say_what_each_further_agent_cost_and_how_speed_held():
    points = [point(n, 1 * MB) for n in (1, 10, 100)]
    slower = replace(points[-1], step_seconds=4e-3)
    rows = size_rows("before", [run(*points[:-1], slower)])
    assert [row.agents for row in rows] == [1, 10, 100]
    assert [row.marginal_bytes for row in rows] == [None, 1 * MB, 1 * MB]
    assert [row.per_agent_bytes for row in rows] == [1 * MB] * 3
    assert [row.steps_per_second for row in rows] == pytest.approx([500, 500, 250])
    assert [row.efficiency for row in rows] == pytest.approx([1, 1, 0.5])
    assert rows[-1].steps_per_second_per_agent == pytest.approx(2.5)


def test_a_peak_that_no_reading_shows_is_unknown():
    points = tuple(
        replace(each, peak_rss_bytes=None, peak_virtual_bytes=None)
        for each in sweep(1 * MB, transient=30 * MB).points
    )
    blind = replace(sweep(1 * MB), points=points)
    for gauge in ("resident", "data"):
        found = usage([blind], gauge)
        assert found.transient_bytes is None
        assert usage([blind, sweep(1 * MB, transient=30 * MB)], gauge).transient_bytes == 30 * MB


def test_what_an_agent_has_beside_its_arrays_is_as_it_is_in_memory_and_a_mean():
    """Python's floats ask for 24 bytes and take 32."""
    floats = 3000, 1000, 3000, 2000

    class Crowd:
        def __len__(self):
            return len(floats)

        def holdings(self):
            for agent, count in enumerate(floats):
                yield agent, "environment", [float(number) for number in range(count)]

    mean = sum(floats[1:]) / 3 * (32 + 8)
    assert _beside_each(Crowd()) == pytest.approx(mean, rel=0.05)
