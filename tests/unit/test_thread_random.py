"""Every thread draws from its own generator, and NumPy is as it was afterwards."""

import sys
import threading
from types import ModuleType

import numpy as np
import pytest

import memprof
from memprof.populations.thread_random import thread_random


def draws(seed, meet=lambda: None):
    """Numbers from the functions that PyMDP and environments use, and from some others; threads
    `meet` whenever each has its seed."""
    found = []
    for step in range(20):
        np.random.seed(seed + step)
        meet()
        found += [np.random.random(), np.random.randint(1000), np.random.choice(1000)]
        found += [*np.random.rand(2), *np.random.multinomial(50, [0.2, 0.3, 0.5])]
        found += [np.random.normal(), np.random.ranf(), np.random.sample()]
        found += [*np.random.permutation(5)]
    return found


def drawn_by_threads(count):
    found, barrier = {}, threading.Barrier(count)

    def draw(seed):
        found[seed] = draws(seed, barrier.wait)

    threads = [threading.Thread(target=draw, args=(seed,)) for seed in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [found[seed] for seed in range(count)]


def test_threads_draw_what_each_would_alone():
    alone = [draws(seed) for seed in range(6)]
    with thread_random():
        assert drawn_by_threads(6) == alone


def test_without_it_they_disturb_each_other():
    alone = [draws(seed) for seed in range(6)]
    assert drawn_by_threads(6) != alone


def test_all_is_put_back_by_an_error_too():
    before = dict(vars(np.random))

    def fail():
        assert np.random.choice is not before["choice"]
        raise RuntimeError("asked for")

    with pytest.raises(RuntimeError, match="asked for"), thread_random():
        fail()
    assert dict(vars(np.random)) == before


def test_the_first_thread_goes_on_with_the_process_s_generator():
    np.random.seed(3)
    expected = np.random.rand(4).tolist()
    np.random.seed(3)
    found = [np.random.rand()]
    with thread_random():
        found.append(np.random.rand())
        with thread_random():
            drawn_by_threads(2)
            found.append(np.random.rand())
    found.append(np.random.rand())
    assert found == expected


def test_a_later_block_of_another_thread_takes_its_turn_with_the_process_s_generator():
    with thread_random():
        pass
    found = {}

    def first():
        with thread_random():
            found["own"] = np.random.get_state()[1].tolist()

    np.random.seed(5)
    expected = np.random.get_state()[1].tolist()
    thread = threading.Thread(target=first)
    thread.start()
    thread.join()
    assert found["own"] == expected


def test_functions_imported_by_name_count_and_work_afterwards(monkeypatch):
    module = ModuleType("imports_by_name")
    module.choice = np.random.choice
    monkeypatch.setitem(sys.modules, module.__name__, module)
    own = np.random.choice
    with thread_random():
        kept = module.choice
        assert kept is not own
        assert kept.__name__ == "choice"
    assert module.choice is own
    np.random.seed(1)
    expected = own(1000)
    np.random.seed(1)
    assert kept(1000) == expected


def test_it_is_part_of_the_public_interface():
    assert memprof.thread_random is thread_random
