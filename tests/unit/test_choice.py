"""How `auto` chooses with workers that end early: on scripted trials of calibration passes."""

import math
from types import SimpleNamespace

import pytest

from memprof.errors import WorkerDied, WorkerTimeout
from memprof.profile.auto import Tried
from memprof.profile.choice import Choice
from memprof.profile.passes import cost_of_trials
from memprof.profile.search import Search
from memprof.values.measurements import PlanTrial
from memprof.values.population import PopulationSpec

SPEC = PopulationSpec(
    backend="fake",
    model={"kind": "buffer"},
    private=True,
    differs=False,
    agent={},
    learning=(),
    passes=(),
    options={},
    loop="",
    agents=4,
    steps=3,
    seed=0,
    folder="/",
)


def trial(plan, size=1000.0, pace=1.0, **others):
    paces = (pace * 0.999, pace * 1.001)
    found = {"held_bytes": size, "asked_bytes": size, "fixed_bytes": 1e8, "digest": "same"}
    return PlanTrial(plan, agents=3, paces=paces, plain_pace=1.0, **{**found, **others})


def by_rule(plan):
    """`fake-half` and `fake-share` save; nothing else does anything."""
    return trial(plan, 1e6 - 4e5 * ("fake-half" in plan) - 5e5 * ("fake-share" in plan))


class End(BaseException):
    """Of a worker, wherever it is."""


class Workers:
    """In the place of a crew: each worker goes on with the search until it ends as is told."""

    def __init__(self, *ends):
        self.ends = list(ends)
        self.tried, self.said = [], []
        scenario = SimpleNamespace(backend="fake", max_slowdown=1.1)
        self.loaded = SimpleNamespace(scenario=scenario, spec=lambda passes: SPEC)

    def run(self, title, request, *, on_part):
        end = self.ends.pop(0) if self.ends else lambda plan, count: None
        count = 0

        def attempt(plan):
            nonlocal count
            count += 1
            try:
                end(plan, count)
            except Exception as error:
                raise End from error
            self.tried.append(plan)
            found.known = type(found.known)((*found.known.trials, by_rule(plan)))
            on_part(found.known)
            return found.known.trials[-1]

        found = Tried(request.spec, request.max_slowdown, request.known, attempt)
        try:
            found.search.run()
        except End as end_of_it:
            raise end_of_it.__cause__ from None
        return SimpleNamespace(value=found.known)

    def say(self, finding):
        self.said.append(finding)


def made(*ends):
    workers = Workers(*ends)
    choice = Choice(workers, None)
    choice.make()
    assert not workers.ends, "each worker has been asked for"
    return choice, workers


def dies_with(name):
    def end(plan, count):
        if name in plan:
            raise WorkerDied(f"killed by {name}")

    return end


def test_it_chooses_in_one_worker():
    choice, workers = made()
    assert choice.plan == ("fake-half", "fake-share")
    assert len(workers.tried) == len(set(workers.tried))
    assert workers.said[0] == "fake-half: 400 KB less per agent"


def test_a_worker_that_dies_has_failed_its_plan_and_the_next_one_goes_on_without():
    choice, workers = made(dies_with("fake-slow"))
    assert choice.plan == ("fake-half", "fake-share")
    assert choice.findings["fake-slow"].outcome == "failed"
    assert choice.findings["fake-slow"].detail == "killed by fake-slow"
    assert len(workers.tried) == len(set(workers.tried)), "nothing is tried twice"


def test_each_death_costs_one_worker():
    choice, _ = made(dies_with("fake-half"), dies_with("fake-slow"), dies_with("fake-crash"))
    assert choice.plan == ("fake-share",)
    assert [n for n, each in choice.findings.items() if each.outcome == "failed"] == [
        "fake-half",
        "fake-slow",
        "fake-crash",
    ]


def test_no_plan_is_to_blame_for_the_time_of_those_before_it():
    def end(plan, count):
        if count > 3:
            raise WorkerTimeout("too long")

    choice, _ = made(end, end)
    assert choice.plan == ("fake-half", "fake-share")
    assert "failed" not in {each.outcome for each in choice.findings.values()}


def test_a_plan_that_takes_all_the_time_of_a_worker_has_failed():
    def end(plan, count):
        if "fake-slow" in plan:
            raise WorkerTimeout("too long")

    choice, _ = made(end, end)  # the second one begins with it
    assert choice.findings["fake-slow"].detail == "too long"
    assert choice.plan == ("fake-half", "fake-share")


def test_without_the_plain_population_there_is_no_choice():
    def end(plan, count):
        raise WorkerDied("killed")

    with pytest.raises(WorkerDied):
        made(end)


def test_an_interruption_leaves_what_was_found():
    def end(plan, count):
        if "fake-share" in plan:
            raise KeyboardInterrupt

    choice = Choice(Workers(end), None)
    with pytest.raises(KeyboardInterrupt):
        choice.make()
    assert choice.plan == ("fake-half",)
    assert choice.findings["fake-half"].outcome == "saves"


def test_a_cost_is_that_of_the_first_trial_and_the_time_that_of_all():
    plan = ("fake-half",)
    trials = [trial(plan, 1000.0, transient_bytes=5.0), trial(plan, 900.0, pace=2.0)]
    paces = [pace for each in trials for pace in each.paces]
    found = cost_of_trials(trials, paces, agents=1000)
    assert found.per_agent.marginal_bytes == 1000
    assert (found.transient_bytes, found.digests) == (5.0, (("same",), ("same",)))
    assert found.step_time.value == pytest.approx(math.log(2) / 2, rel=1e-3)


def test_no_more_is_sure_of_an_agent_than_shows_in_the_process_with_all():
    """A page at either end: 8,192 B for 20 agents, less for more."""
    few, many = (cost_of_trials([trial((), 300.0)], [1.0], agents) for agents in (20, 20_000))
    low, high = few.per_agent.ci95_bytes
    assert (low, high) == pytest.approx((300 - 409.6, 300 + 409.6))
    assert not few.per_agent.resolved
    assert many.per_agent.resolved


def test_ctrl_c_amid_the_search_in_what_is_known_loses_nothing(monkeypatch):
    def interrupted(search):
        raise KeyboardInterrupt

    choice, _ = made()
    plan, findings = choice.plan, choice.findings
    assert plan == ("fake-half", "fake-share")
    monkeypatch.setattr(Search, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        choice._hear(choice._known)
    assert (choice.plan, choice.findings) == (plan, findings)
