"""Tasks that a crew does beside each other: all of them, or as far as one of them lets it."""

import threading

import pytest

from memprof.errors import ScenarioError
from memprof.launch.limits import left_bytes
from memprof.launch.runner import Crew, Observer
from memprof.posix import Limits, processors
from memprof.scenario import load_scenario
from tests.conftest import SCENARIOS

two_processors = pytest.mark.skipif(processors() < 2, reason="nothing runs beside anything")


@pytest.fixture
def crew():
    return Crew(load_scenario(SCENARIOS / "grid-5.yaml"), Limits(), Observer())


def test_all_tasks_are_done_each_once(crew):
    done = []
    crew.all_of([lambda n=n: done.append(n) for n in range(100)], room_bytes=1)
    assert sorted(done) == list(range(100))
    assert not crew.is_abreast


@two_processors
def test_two_tasks_run_at_one_time(crew):
    both = threading.Barrier(2)
    crew.all_of([lambda: both.wait(300), lambda: both.wait(300)], room_bytes=1)
    assert not both.broken


def test_where_memory_has_room_for_one_they_run_one_after_the_other(crew):
    found = []
    task = lambda: found.append((threading.current_thread(), crew.is_abreast))  # noqa: E731
    crew.all_of([task, task], room_bytes=left_bytes())
    assert found == [(threading.main_thread(), False)] * 2


def test_what_ends_one_task_is_raised_and_the_crew_is_of_use_afterwards(crew):
    def wrong():
        raise ScenarioError("model", "this is wrong")

    with pytest.raises(ScenarioError, match="this is wrong"):
        crew.all_of([wrong, lambda: None], room_bytes=1)
    done = []
    crew.all_of([lambda: done.append(1)] * 2, room_bytes=1)
    assert done == [1, 1]


@two_processors
def test_others_wait_for_the_clock_of_the_first_task(crew):
    order = []
    first = lambda: order.append(("first", crew.is_abreast))  # noqa: E731
    other = lambda: order.append(("other", crew.is_abreast))  # noqa: E731
    crew.all_of([first, other, other, other], room_bytes=1, after_clock=True)
    assert order == [("first", False), *[("other", True)] * 3]
