"""Leaks that `memprof leak` would miss where a reading is not what it seems. All environments, and
how often: `python -m tests.figures_environments`."""

import pytest

from memprof.launch.machine import huge_pages_mode
from tests.environments import environments
from tests.figures_environments import Checked, check, fault, planted

ALL = {each.name: each for each in environments()}


@pytest.fixture
def leak_check(tmp_path):
    def run(name: str, how: str = "", size: int = 0) -> Checked:
        environment = ALL[name]
        if missing := environment.missing():
            pytest.skip(missing)
        with environment.made(tmp_path) as variables:
            return check(environment, variables, how, size)

    return run


def test_a_leak_in_a_thread_is_found_under_jemalloc(leak_check):
    """Which has counted a hundred such blocks when the thread asks for the first of them."""
    found = leak_check("jemalloc", "in_thread", 256)
    assert (found.verdict, found.leak["bytes_per_cycle"]) == ("leak", pytest.approx(256, abs=8))


def test_a_leak_within_huge_pages_is_found(leak_check):
    """The first page touched would be 2 MiB of them, which is enough for all cycles."""
    if huge_pages_mode() not in ("always", "madvise"):
        pytest.skip("there are no huge pages here")
    found = leak_check("glibc", "of_arena", 5120)
    assert (found.verdict, found.leak["bytes_per_cycle"]) == ("leak", pytest.approx(5120, rel=0.1))


def test_without_an_account_of_malloc_there_is_neither_a_verdict_nor_a_floor(leak_check):
    clean = leak_check("mimalloc")
    assert fault(ALL["mimalloc"], clean) == ""
    assert (clean.verdict, clean.floor) == ("inconclusive", None)
    assert leak_check("mimalloc", *planted(clean, 0)).verdict == "leak"
