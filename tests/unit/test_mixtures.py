"""Populations of two sizes of agents, on scripted readings: the mean, whatever the order."""

import random
import statistics
from itertools import product

import pytest
from msgspec.structs import replace

from memprof.gate.judge import marginal
from memprof.profile.judge import one_agent
from memprof.stats.lines import (
    as_others,
    fewest_like_all,
    is_gained_alike,
    is_like_all,
    memory_line,
    per_agent,
    uneven,
)
from memprof.values.instruments import AllocationStack, Details, InstrumentRun, Reading
from memprof.values.measurements import GrowthPoint, Ledger, LedgerRow
from memprof.values.report import PerAgent
from tests.unit.conftest import SAMPLE

AGENTS, LARGE, SMALL = 20, 1_000_000, 50_000
SIZES = (4, 8, 12, 16, 20, 31, 47)
# What the ledger does not see: allocators round up, and each agent has something in no object.
ROUNDED, UNSEEN = 1.01, 500


def even(agent, large):
    number = agent % AGENTS
    return (number + 1) * large // AGENTS > number * large // AGENTS


def by_chance(agent, large):
    order = random.Random(large).sample(range(AGENTS), AGENTS)
    return order[agent % AGENTS] < large


ORDERS = {
    "even": even,
    "large first": lambda agent, large: agent < large,
    "small first": lambda agent, large: agent >= AGENTS - large,
    "by chance": by_chance,
}


def held_by(order, large):
    """What the ledger says that each agent holds, those beyond the scenario's included."""
    return [LARGE if ORDERS[order](agent, large) else SMALL for agent in range(SIZES[-1])]


def readings(held, noise):
    """Private memory of a process in which these agents come one after the other."""
    return [1e8 + sum(ROUNDED * each + UNSEEN for each in held[:size]) + noise() for size in SIZES]


def cost(held, memory, taken_off):
    points = [
        (size, bytes_ - off)
        for size, bytes_, off in zip(SIZES, memory, taken_off, strict=True)
        if is_like_all(held, AGENTS, size)
    ]
    return per_agent([points], memory[4], statistics.fmean(held[:AGENTS]))


def test_the_marginal_cost_of_a_mixture_is_the_mean_in_nine_proportions_and_four_orders():
    random.seed(2)
    mixtures = list(product(range(2, AGENTS, 2), ORDERS))
    inside, missed = 0, 0
    for large, order in mixtures:
        held = held_by(order, large)
        truth = ROUNDED * statistics.fmean(held[:AGENTS]) + UNSEEN
        memory = readings(held, lambda: random.gauss(0, 40_000))
        found = cost(held, memory, uneven(held, AGENTS, SIZES))
        assert found.marginal_bytes == pytest.approx(truth, rel=0.03), (large, order)
        low, high = found.ci95_bytes
        inside += low <= truth <= high
        plain = cost(held, memory, (0.0,) * len(SIZES))
        missed += abs(plain.marginal_bytes / truth - 1) > 0.03
    assert inside >= 0.95 * len(mixtures)
    assert missed > len(mixtures) / 4, "the line alone does not survive every order"


def test_what_all_agents_hold_alike_changes_no_reading():
    assert uneven([17_168] * 30, 20, SIZES[:5]) == (0.0,) * 5
    assert uneven([], 20, SIZES) == (0.0,) * len(SIZES), "nor does what nobody knows"


def test_memory_that_agents_share_within_a_size_is_no_part_of_it():
    """The readings have 5 MB that come with the third agent: no agent's alone, and a fixed cost."""
    held = held_by("even", 10)
    memory = [size + 5e6 for size in readings(held, lambda: 0.0)]
    found = cost(held, memory, uneven(held, AGENTS, SIZES))
    assert found.marginal_bytes == pytest.approx(ROUNDED * (LARGE + SMALL) / 2 + UNSEEN, rel=0.01)


def test_the_first_agent_counts_as_others_where_it_is_their_template():
    assert as_others([1300, 4000, 4200]) == [4100, 4000, 4200]
    assert as_others([4100, 4000, 4200]) == [4100, 4000, 4200]
    assert as_others([19_488, 19_504, 2_672]) == [19_488, 19_504, 2_672]
    assert as_others([7]) == [7]


@pytest.mark.parametrize(
    ("held", "agents"),
    [
        ([5] * 20, 1),
        ([9, 1] * 10, 2),
        ([9, 9, 9, 1] * 4, 4),
        ([9] * 10 + [1] * 10, 18),
        ([9] + [1] * 9, 1),
        ([9], 1),
    ],
)
def test_as_few_agents_as_stand_for_all_are_traced(held, agents):
    assert fewest_like_all(held) == agents


def test_what_libraries_take_for_the_first_agents_is_not_lost_among_later_ones_without():
    """Eight of sixteen have a megabyte from malloc, which no ledger knows, and no later one has."""
    sizes = (3, 6, 9, 12, 16, 17, 25, 38)
    points = [(size, 10**6 * min(size, 8)) for size in sizes]
    like = [size for size, _ in points if is_gained_alike(points, 16, size)]
    assert like == [3, 6, 9, 12, 16]
    even = [(size, 10**6 * size / 2 + 10**6 * (size > 24)) for size in sizes]
    assert all(is_gained_alike(even, 16, size) for size in sizes), "an arena is no other kind"


def test_a_gate_holds_the_mean_against_the_mean(good_variant):
    """The same mixture in another order is no change."""
    found = []
    for order in ORDERS:
        held = held_by(order, 6)
        memory = readings(held, lambda: 0.0)
        points = tuple(
            GrowthPoint(size, Reading(0, None, None, int(bytes_), int(bytes_)), off, off)
            for size, bytes_, off in zip(SIZES, memory, uneven(held, AGENTS, SIZES), strict=True)
            if is_like_all(held, AGENTS, size)
        )
        variant = replace(good_variant(), samples=(replace(SAMPLE, points=points),))
        found.append(marginal(variant).value)
    assert found == pytest.approx([found[0]] * len(found), rel=0.01)


# ---------------------------------------------------------------- one agent


def ledger(each, agents=20, mean=525_000.0, typical=525_000.0):
    rows = (LedgerRow("memory", agents * each, 0, agents * each, 0, agents),)
    return Ledger(agents, 0, 0, 0, typical, rows, mean, (SMALL, LARGE))


def figures(cost, held, traced=None, slope=None):
    slope = cost.marginal_bytes if slope is None else slope
    return {each.name: each for each in one_agent(cost, slope, 20, held, traced)}


MEAN = PerAgent(530_000.0, (529_000.0, 531_000.0), 1e8, 1.1e8, True)


def test_where_all_figures_agree_nothing_is_explained():
    stacks = (AllocationStack("build", (), 526_000.0, 3.0),)
    traced = InstrumentRun(
        (), (), 0.0, Details(stacks=stacks, further_bytes=525_000.0), mean_bytes=525e3
    )
    found = figures(MEAN, ledger(525_000), traced)
    assert list(found) == ["marginal", "held", "typical", "components", "calls"]
    assert not any(each.why for each in found.values())


def test_a_typical_agent_of_a_mixture_is_a_second_figure_with_its_reason():
    found = figures(MEAN, ledger(525_000, typical=float(LARGE)))
    assert found["marginal"] == replace(found["marginal"], bytes=530_000.0, why="")
    assert found["typical"].bytes == LARGE
    assert found["typical"].why.startswith("agents have several sizes, 50.0 KB to 1.00 MB")
    assert "the marginal cost is that of the mean" in found["typical"].why


def test_agents_beyond_the_scenarios_that_are_of_other_sizes_are_named():
    found = figures(MEAN, ledger(300_000, agents=60))
    assert found["components"].why.startswith(
        "the ledger has 60 agents, of which the scenario's 20"
    )


def test_traced_agents_of_another_mixture_are_named():
    stacks = (AllocationStack("build", (), 1_001_000.0, 3.0),)
    traced = InstrumentRun((), (), 0.0, Details(stacks=stacks, further_bytes=1e6), mean_bytes=525e3)
    found = figures(MEAN, ledger(525_000), traced)
    assert found["calls"].why == (
        "of one further agent, which holds, by the ledger's walk, 1.00 MB; the mean of all is "
        "525 KB"
    )


def test_what_calls_allocated_beyond_the_agent_is_no_page_that_nothing_has_touched():
    stacks = (AllocationStack("build", (), 900_000.0, 3.0),)
    traced = InstrumentRun(
        (), (), 0.0, Details(stacks=stacks, further_bytes=525e3), mean_bytes=525e3
    )
    why = figures(MEAN, ledger(525_000), traced)["calls"].why
    assert why.startswith("the agent itself holds 525 KB, by the ledger's walk")
    less = replace(
        traced, details=replace(traced.details, stacks=(replace(stacks[0], bytes_per_agent=400e3),))
    )
    assert figures(MEAN, ledger(525_000), less)["calls"].why.startswith("traced from Python")


def test_pages_that_nothing_has_touched_are_named():
    stacks = (AllocationStack("build", (), 700_000.0, 3.0),)
    traced = InstrumentRun(
        (), (), 0.0, Details(stacks=stacks, further_bytes=690e3), mean_bytes=690e3
    )
    assert "untouched pages" in figures(MEAN, ledger(525_000), traced)["calls"].why


def test_a_line_that_fits_well_stands_beside_what_agents_hold():
    """They moved into memory that was freed: the process grew by 14 KB, and they hold 17."""
    points = [[(n, 1e6 + 14_000.0 * n) for n in (10, 20, 40, 80)]]
    found = per_agent(points, 2e6, 17_000.0)
    assert found.marginal_bytes == pytest.approx(14_000)
    assert found.ci95_bytes[1] == 17_000 * 1.004
    held = ledger(17_000, mean=17_000.0, typical=17_000.0)
    assert "the process grew by less" in figures(found, held)["held"].why


def test_an_uncertain_line_gives_way_and_is_said_to():
    slope = memory_line([(n, 14_000.0 * n) for n in (4, 8, 12, 16)]).slope
    found = per_agent([[(n, 1e6 + 14_000.0 * n) for n in (4, 5, 6, 7)]], 2e6, 17_000.0)
    assert found.marginal_bytes == 17_000
    why = figures(found, ledger(17_000, mean=17e3, typical=17e3), slope=slope)["marginal"].why
    assert why.startswith("the slope, 14.0 KB, is uncertain, and less than what agents hold")
