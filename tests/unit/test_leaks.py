"""The judgement of scripted series: what is a leak, what only looks like one."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memprof.stats import growth

GRAIN = 16
NOISE = (-32, -16, 0, 16, 32)


def judge(readings, cycles=None, grain=GRAIN, least=0):
    """The verdict where all readings are asked for, so that none is warm-up; or on fewer."""
    series = growth.CycleSeries(readings, grain, least)
    return growth.judge(series, cycles or len(readings) - 1)


def watched(reading, cycles=10, grain=GRAIN):
    """The verdict on readings that are taken as a worker takes them: until they decide."""
    series = [reading(0)]
    for cycle in range(1, growth.most_cycles(cycles) + 1):
        series.append(reading(cycle))
        if cycle >= cycles and growth.decided([growth.CycleSeries(series, grain)], cycles):
            break
    rising = growth.rising_cycles(cycles)
    return growth.judge(growth.CycleSeries(series, grain), cycles, rising), series


def noisy(reading, seed=0):
    chance = random.Random(seed)
    return lambda cycle: reading(cycle) + chance.choice(NOISE)


def flat(cycle):
    return 1_000_000


def test_what_rises_beside_a_leak_is_watched_a_bit_longer_and_not_for_ever():
    """One that leaks is enough for a verdict; the others are to say whether they leak, too."""

    def cycles_of(*readings, cycles=10):
        for cycle in range(1, growth.most_cycles(cycles) + 1):
            series = [
                growth.CycleSeries([each(n) for n in range(cycle + 1)], 1) for each in readings
            ]
            if cycle >= cycles and growth.decided(series, cycles):
                return cycle, [growth.judge(each, cycles).verdict for each in series]
        raise AssertionError("it never ended")

    def rising(start):
        return lambda cycle: 100 * cycle + 1000 * min(cycle, start)

    assert cycles_of(rising(0)) == (20, ["leak"])
    assert cycles_of(rising(0), rising(4)) == (24, ["leak", "leak"])
    assert cycles_of(rising(0), lambda cycle: cycle**0.5) == (30, ["leak", "inconclusive"])


def test_a_flat_series_is_clean_down_to_the_smallest_block():
    found, series = watched(flat)
    assert found.verdict == "clean"
    assert found.floor == GRAIN
    assert len(series) == 11, "nothing rises, so the cycles asked for suffice"


@pytest.mark.parametrize("seed", range(20))
def test_noise_is_clean_and_the_floor_says_what_it_may_hide(seed):
    found, _ = watched(noisy(flat, seed))
    assert found.verdict == "clean"
    assert found.floor < 100


def test_chance_gives_a_false_alarm_in_less_than_one_of_a_thousand_repeats():
    chance = random.Random(1)
    verdicts = [watched(lambda cycle: chance.gauss(0, 30))[0].verdict for _ in range(1000)]
    assert verdicts.count("clean") >= 999


@pytest.mark.parametrize("at", range(1, 11))
@pytest.mark.parametrize("seed", range(5))
def test_a_single_step_is_no_leak(at, seed):
    step = noisy(lambda cycle: 5000 * (cycle >= at), seed)
    found, _ = watched(step)
    assert found.verdict == "clean"


@pytest.mark.parametrize("period", [2, 3, 4, 5, 7])
def test_a_staircase_is_a_leak_of_its_mean_slope(period):
    """As lists grow: by jumps, every few cycles."""
    found, _ = watched(noisy(lambda cycle: 500 * (cycle // period)))
    assert found.verdict == "leak"
    assert found.slope == pytest.approx(500 / period, rel=0.25)


@pytest.mark.parametrize("period", [1, 2, 4, 5])
def test_how_often_a_leak_leaks_is_seen_under_noise(period):
    """Its sites are looked for over as many cycles as it takes to leak some times."""
    readings = [noisy(lambda cycle: 500 * (cycle // period), cycle)(cycle) for cycle in range(21)]
    assert growth.gains_per_cycle(readings) == pytest.approx(1 / period, rel=0.3)
    assert growth.gains_per_cycle([5, 5, 5]) == 1


@pytest.mark.parametrize("fills", [1, 3, 5, 8])
def test_a_cache_that_fills_is_no_leak_and_its_filling_is_left_out(fills):
    found, _ = watched(noisy(lambda cycle: 2000 * min(cycle, fills)))
    assert found.verdict == "clean"
    assert fills <= found.cut <= fills + 8


@pytest.mark.parametrize("rate", [0.5, 0.6, 0.7])
def test_growth_that_dies_away_is_no_leak(rate):
    found, _ = watched(lambda cycle: int(20_000 * (1 - rate**cycle)) // 16 * 16)
    assert found.verdict == "clean"


@pytest.mark.parametrize("rate", [0.9, 0.95])
def test_growth_that_is_still_dying_away_decides_nothing(rate):
    found, _ = watched(lambda cycle: int(20_000 * (1 - rate**cycle)) // 16 * 16)
    assert found.verdict == "inconclusive"


@pytest.mark.parametrize("ends", [12, 15, 18])
def test_growth_that_goes_on_for_longer_than_was_asked_for_and_then_ends_is_no_leak(ends):
    """What rises is watched for twice the cycles: 18 cycles of growth deceive nobody."""
    found, _ = watched(lambda cycle: 512 * min(cycle, ends))
    assert found.verdict == "clean"


@pytest.mark.parametrize("slope", [32, 64, 256])
@pytest.mark.parametrize("seed", range(10))
def test_a_slow_leak_under_noise_is_found(slope, seed):
    found, series = watched(noisy(lambda cycle: slope * cycle, seed))
    assert found.verdict == "leak"
    assert found.slope == pytest.approx(slope, abs=6)
    assert found.floor < 32
    assert len(series) > 20, "what rises is watched for twice the cycles"


@pytest.mark.parametrize("period", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("phase", range(5))
def test_what_is_counted_leaks_one_at_a_time_even_if_only_in_some_cycles(period, phase):
    """Such as open descriptors."""
    found, series = watched(lambda cycle: 7 + (cycle + phase) // period, grain=1)
    assert (found.verdict, found.floor) == ("leak", 1)
    assert len(series) <= max(25, period * growth.FEWEST_CYCLES)


def test_one_byte_per_cycle_is_found_where_there_is_no_noise():
    assert watched(lambda cycle: cycle)[0].verdict == "leak"


@pytest.mark.parametrize("period", [3, 5, 7, 12])
def test_what_a_collector_frees_again_is_no_leak(period):
    assert watched(noisy(lambda cycle: 4000 * (cycle % period)))[0].verdict == "clean"


def test_what_shrinks_is_no_leak():
    assert watched(noisy(lambda cycle: -500 * cycle))[0].verdict == "clean"


def test_a_leak_of_the_floor_is_found_on_the_same_readings():
    """The floor is a promise: the same readings with a leak of that size are a leak."""
    chance = random.Random(3)
    series = [chance.choice(NOISE) * 4 for _ in range(16)]
    floor = judge(series).floor
    level = judge(series).slope
    with_leak = [each + (floor * 1.001 - level) * n for n, each in enumerate(series)]
    without = [each + (floor * 0.9 - level) * n for n, each in enumerate(series)]
    assert judge(with_leak).verdict == "leak"
    assert judge(without).verdict != "leak"


def test_growth_after_a_long_decline_of_growth_is_not_trusted():
    """It has been steady for less time than it took to become steady."""
    falling = [sum(1000 - 40 * k for k in range(n)) for n in range(24)]
    series = falling + [falling[-1] + 60 * n for n in range(1, 13)]
    assert judge(series, 12).verdict == "inconclusive"
    assert judge(series, 12).cycles_needed >= 24


def test_repeats_that_disagree_are_inconclusive_and_a_blind_one_leaves_no_floor():
    leaking = judge([64 * n for n in range(12)])
    clean = judge([0] * 12)
    assert growth.agreed([leaking, leaking]).verdict == "leak"
    assert growth.agreed([leaking, clean]).verdict == "inconclusive"
    assert growth.highest([16.0, 48.0]) == 48.0
    assert growth.highest([16.0, None]) is None


def test_with_fewer_than_seven_cycles_not_even_steady_growth_is_certain():
    rising = [1000 * n for n in range(growth.FEWEST_CYCLES + 1)]
    assert judge(rising).verdict == "leak"
    assert judge(rising[:-1]).verdict == "clean"
    assert judge(rising[:-1]).floor is None, "and it says that it sees nothing"


@given(
    st.lists(st.integers(-200, 200), min_size=8, max_size=30),
    st.integers(-(10**9), 10**9),
    st.integers(1, 50),
)
def test_the_verdict_does_not_depend_on_the_level_or_the_unit(noise, level, unit):
    found = judge(noise, grain=1)
    moved = judge([level + unit * each for each in noise], grain=1)
    assert moved.verdict == found.verdict
    assert moved.slope == pytest.approx(unit * found.slope)


@given(st.lists(st.integers(-200, 200), min_size=8, max_size=30), st.integers(0, 300))
def test_more_growth_never_makes_a_leak_clean(noise, slope):
    def verdict(extra):
        return judge([n + extra * i for i, n in enumerate(noise)], grain=1).verdict

    if verdict(slope) == "leak":
        assert verdict(slope + 50) == "leak"


PAGE = 4096


def test_what_takes_memory_in_large_pieces_leaks_however_it_lies_at_the_end():
    """A process gains 23.7 KB in a step, by extensions of its heap; the last steps took none."""
    gains = [0, 0, 0, 0, 0, 1] * 8 + [0] * 5
    readings = [33 * PAGE * sum(gains[:n]) for n in range(len(gains) + 1)]
    found = judge(readings, growth.FEWEST_CYCLES, grain=PAGE, least=PAGE)
    assert (found.verdict, found.cut) == ("leak", None)
    assert found.slope == pytest.approx(23_700, rel=0.1)


def test_what_has_not_settled_is_not_clean():
    """Less remains of the cycles asked for than what is still."""
    wild = [0, 90_000, 10_000, 70_000, 5_000, 60_000, 20_000]
    assert judge([*wild, *[20_000] * 9], 10).verdict == "inconclusive"
    found = judge([*wild, *[20_000] * 10], 10)
    assert (found.verdict, found.cut, found.floor) == ("clean", 6, GRAIN)


def test_a_jump_at_the_end_of_next_to_nothing_is_looked_at_for_longer():
    """As malloc had handed out after cycles of JAX agents that leak nothing, in one run of four."""
    readings = [0, 0, 16, 16, 16, 32, 32, 48, 48, 64, 64, 80, 560, 1200]
    assert judge(readings, grain=16).verdict == "inconclusive"
    assert judge([*readings, *[1200] * 12], grain=16).verdict != "leak"
    assert judge([*readings, *range(1300, 2700, 100)], 10, grain=16).verdict == "leak"


def test_a_steady_leak_in_pages_does_not_slow_down():
    """A page more in some cycles, by chance more often in the first."""
    gains = [13, 12, 12, 12, 12, 12, 12, 12, 12, 11, 12, 12, 11, 12, 11, 12, 11, 12, 11, 11]
    readings = [PAGE * sum(gains[:n]) for n in range(len(gains) + 1)]
    assert judge(readings, growth.FEWEST_CYCLES, grain=PAGE, least=PAGE).verdict == "leak"


def test_a_few_steps_up_are_no_leak_yet():
    """As malloc had handed out after cycles of JAX agents that leak nothing, beside a busy core."""
    steps = {4: 80, 11: 160, 19: 992}
    found, series = watched(lambda cycle: sum(size for at, size in steps.items() if cycle >= at))
    assert found.verdict == "clean"
    assert judge(series[:23], 10, grain=GRAIN).verdict == "inconclusive"


def test_less_than_a_leak_gains_at_the_least_is_none():
    """A page in eight cycles and then in every fourth, as it was read beside a busy core."""
    pages = [PAGE * n for n in (0, 0, 0, 0, 1) + (2,) * 8 + (3,) * 4 + (4,) * 4]
    assert judge(pages, grain=PAGE).verdict == "inconclusive", "a rise it is"
    found = judge(pages, grain=PAGE, least=PAGE / 2)
    assert found.verdict == "clean"
    assert found.floor >= PAGE / 2
    every = [PAGE * n for n in range(21)]
    assert judge(every, grain=PAGE, least=PAGE / 2).verdict == "leak"
