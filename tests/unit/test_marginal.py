import math
import random

import pytest

from memprof.stats.lines import mean_interval, memory_line, per_agent, robust_fit, student_t


def test_a_straight_line_is_found_exactly():
    line = robust_fit([(n, 500.0 + 30.0 * n) for n in (4, 8, 12, 16)])
    assert line.slope == pytest.approx(30)
    assert line.intercept == pytest.approx(500)
    assert line.half_width == pytest.approx(0, abs=1e-9)


def test_two_points_say_nothing_about_scatter():
    assert math.isinf(robust_fit([(1, 1), (2, 2)]).half_width)


def test_one_population_size_is_no_line():
    with pytest.raises(ValueError, match="two different population sizes"):
        robust_fit([(3, 1.0), (3, 2.0)])


@pytest.mark.parametrize(("freedom", "quantile"), [(1, 12.706), (2, 4.303), (10, 2.228)])
def test_students_t_is_the_tabulated_one(freedom, quantile):
    assert student_t(freedom) == pytest.approx(quantile, abs=1e-3)


def test_the_interval_covers_the_truth_as_often_as_it_says():
    """Noise of a page or ten on readings of agents of 1 kB: 95 of 100 intervals hold the slope."""
    random.seed(1)
    covered = 0
    for _ in range(400):
        points = [(n, 1000.0 * n + random.gauss(0, 20_000)) for n in (4, 8, 12, 16, 20, 40, 80)]
        line = robust_fit(points)
        covered += abs(line.slope - 1000) <= line.half_width
    assert 0.92 <= covered / 400 <= 0.995


def test_one_jump_of_a_huge_page_is_no_cost_of_the_agents():
    sizes = (4, 8, 12, 16, 20, 31, 47, 60)
    points = [(n, 15_000.0 * n + (2**21 if n > 40 else 0)) for n in sizes]
    assert robust_fit(points).slope == pytest.approx(15_000, rel=0.01)
    assert robust_fit(points).half_width > 15_000, "and the interval shows that there was one"


def test_agents_that_cost_more_by_the_jump_are_not_called_cheap():
    """A cost that comes in steps all along is a slope, not a jump."""
    points = [(n, 2**20 * (n // 4)) for n in range(4, 60, 4)]
    assert robust_fit(points).slope == pytest.approx(2**20 / 4)


def test_the_mean_of_repeats_is_never_surer_than_the_repeats_allow():
    mean, (low, high) = mean_interval([10.0, 10.0, 10.0], within=3.0)
    assert mean == 10
    assert high - mean == mean - low == pytest.approx(3 / math.sqrt(3))
    _, wide = mean_interval([5.0, 10.0, 15.0], within=0.0)
    assert wide[1] - 10 == pytest.approx(4.303 * 5 / math.sqrt(3), rel=1e-3)


def test_an_agent_that_costs_nothing_is_below_resolution():
    flat = [[(4, 1e6), (8, 1e6 + 4096), (12, 1e6 - 4096), (16, 1e6)]]
    assert not per_agent(flat, 1e6, None).resolved
    steep = [[(n, 1e6 + 1e5 * n + (-1) ** n) for n in (4, 8, 12, 16)]]
    cost = per_agent(steep, 2e6, None)
    assert cost.resolved
    assert cost.fixed_bytes == pytest.approx(1e6, rel=1e-3)
    assert cost.at_n_bytes == 2e6


def test_an_agent_costs_no_less_than_it_is_known_to_hold_unless_its_line_fits_well():
    """Agents that move into freed memory look cheaper than they will be."""
    points = [[(n, 1e6 + 14_000.0 * n) for n in (4, 6, 8, 10)]]
    page = 2 * 4096 / 6
    cost = per_agent(points, 2e6, 17_000.0)
    assert cost.marginal_bytes == 17_000
    assert cost.ci95_bytes == pytest.approx((14_000 - page, 17_000 * 1.004))
    cost = per_agent(points, 2e6, 9_000.0)
    assert cost.marginal_bytes == pytest.approx(14_000)
    assert cost.ci95_bytes == pytest.approx((14_000 - page, 14_000 + page))
    many = [[(n, 1e6 + 14_000.0 * n) for n in (10, 20, 40, 80)]]
    cost = per_agent(many, 2e6, 17_000.0)
    assert cost.marginal_bytes == pytest.approx(14_000)
    assert cost.ci95_bytes[1] == 17_000 * 1.004


@pytest.mark.parametrize(("held", "low"), [(98_500.0, 98_500 * 0.996), (97_000.0, 99_600.0)])
def test_a_little_more_than_agents_hold_may_be_free_memory_between(held, low):
    """But not what nobody holds and is no little."""
    points = [[(n, 1e6 + 100_000.0 * n) for n in (100, 200, 400, 800)]]
    cost = per_agent(points, 2e6, held)
    assert cost.marginal_bytes == pytest.approx(100_000)
    assert cost.ci95_bytes == pytest.approx((low, 100_400))


def test_no_agent_is_known_better_than_to_a_page_of_a_megabyte():
    cost = per_agent([[(n, 1e6 * n) for n in (10, 200, 400, 800)]], 2e6, None)
    assert cost.ci95_bytes == pytest.approx((996_000, 1_004_000))


def test_readings_in_pages_are_no_surer_than_a_page():
    """Four agents and a page for each is not known to the byte, however straight the line."""
    line = memory_line([(n, 4096.0 * n) for n in (1, 2, 3, 4)])
    assert line.half_width == pytest.approx(2 * 4096 / 3)
