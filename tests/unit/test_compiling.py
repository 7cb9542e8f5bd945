"""Workers of a backend that compiles, here of one that has nothing to compile: which there are, and
what is kept of them."""

import mmap

import pytest

from memprof.errors import Interrupted, WorkerDied, WorkerFailed
from memprof.launch.machine import worker_environment
from memprof.launch.runner import Crew, Observer
from memprof.posix import Limits
from memprof.profile.run import condense
from memprof.profile.workers import Runs
from memprof.scenario import load_scenario
from memprof.values.requests import LiveInCycles, Measure, ReadThrough

CACHE = "JAX_COMPILATION_CACHE_DIR"


class Told(Observer):
    def __init__(self):
        self.workers, self.end_at = [], ""

    def worker(self, title, number, total, left_seconds):
        self.workers.append((title, number, total))
        if title == self.end_at:
            raise KeyboardInterrupt


@pytest.fixture
def told(monkeypatch):
    monkeypatch.setattr(Crew, "compiles", True)
    return Told()


@pytest.fixture
def runs(fake, told):
    return lambda **fields: Runs(Crew(load_scenario(fake(**fields)), Limits(), told))


def test_what_is_announced_from_the_start_is_what_comes(runs, told):
    runs(passes=["fake-share", "fake-half"], repeats=2).run_all()
    titles, numbers, totals = zip(*told.workers, strict=True)
    assert titles[0] == "no passes, compiling"
    assert {*titles[1:3]} == {"fake-share + fake-half, compiling", "fake-share, compiling"}, (
        "beside each other"
    )
    traces = 2  # none, as it turns out
    assert totals[0] == numbers[-1] + traces
    assert list(totals) == sorted(totals, reverse=True)
    assert totals[-1] == numbers[-1]


def test_where_passes_fail_the_population_without_them_is_reported(runs, told):
    found = runs(passes=["fake-crash"]).run_all()
    assert isinstance(found.failure, WorkerFailed)
    report = condense(found, found.crew.loaded, Limits())
    assert (report.complete, report.variants.before.repeats, report.variants.after) == (
        False,
        1,
        None,
    )
    assert [title for title, *_ in told.workers] == [
        "no passes, compiling",
        "fake-crash, compiling",
        "before, repeat 1 of 1",
    ], "and nobody tries again"


def test_a_plan_in_between_that_fails_ends_no_other(runs, monkeypatch):
    run = Crew.run

    def unless_in_between(crew, title, *given, **options):
        if title == "fake-share, compiling":
            raise WorkerDied("it was killed")
        return run(crew, title, *given, **options)

    monkeypatch.setattr(Crew, "run", unless_in_between)
    found = runs(passes=["fake-share", "fake-half"]).run_all()
    assert found.trial_failures == {("fake-share",): "it was killed"}
    assert len(found.before.clean) == len(found.after.clean) == 1


def test_a_population_that_fails_is_not_tried_again(runs, told):
    with pytest.raises(WorkerFailed, match="this fault was asked for"):
        runs(model={"fault": "raise"}, passes=["fake-share"]).run_all()
    assert len(told.workers) == 1


def test_the_worker_that_compiled_is_reported_where_no_other_was_measured(runs, told):
    told.end_at = "before, repeat 1 of 1"
    found = runs().run_all()
    assert isinstance(found.failure, Interrupted)
    report = condense(found, found.crew.loaded, Limits())
    cost = report.variants.before.per_agent
    assert (report.complete, report.variants.before.repeats) == (False, 1)
    agents = report.scenario.agents
    # Where the population has been read at that size again with the same result, it is on the line.
    total = cost.fixed_bytes + agents * cost.marginal_bytes
    assert total == pytest.approx(cost.at_n_bytes, abs=mmap.PAGESIZE)


def test_a_plan_finds_nothing_that_another_one_compiled(tmp_path, monkeypatch):
    """Most programs are the same under all plans: it would compile in half the time, and take
    less."""
    monkeypatch.delenv(CACHE, raising=False)
    plans = (), ("share",), ("share", "template")
    folders = {worker_environment("jax", Measure, tmp_path, plan)[CACHE] for plan in plans}
    assert len(folders) == len(plans)
    assert all(each.startswith(f"{tmp_path}/") for each in folders)


@pytest.mark.parametrize("job", [Measure, ReadThrough, LiveInCycles])
def test_what_threads_put_by_is_no_growth_of_agents(job, monkeypatch):
    """It comes over hundreds of steps: agents that gain nothing seemed to grow by 3 to 30 B in each
    of them."""
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.perturb=1")
    found = worker_environment("jax", job)["GLIBC_TUNABLES"]
    assert found == "glibc.malloc.perturb=1:glibc.malloc.tcache_count=0"
