"""Whose line it was: stacks of real allocations, from a file of the user's."""

import importlib.util
import tracemalloc
from pathlib import Path

import pytest

from memprof.instruments.source_lines import PACKAGE, UserLines, is_memprofs_work

SOURCE = """import copy, json

KEPT = []
TAKEN = []

def parse():
    KEPT.append(json.loads("[" * 30 + "]" * 30))

def take(thing):
    TAKEN.append(thing)

def copy():
    KEPT.append(TAKEN.copy())
"""


@pytest.fixture
def user(tmp_path):
    path = tmp_path / "user_model.py"
    path.write_text(SOURCE)
    spec = importlib.util.spec_from_file_location("user_model", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def seen(lines, do):
    """What the user's lines remember of what `do` leaves."""
    tracemalloc.start(40)
    try:
        do()
        lines.see(tracemalloc.take_snapshot())
    finally:
        tracemalloc.stop()


def test_what_a_library_made_far_below_is_named_by_the_line_that_called_it(user):
    lines = UserLines({})
    seen(lines, user.parse)
    (made,) = [place for place in lines._callers if place[0] == user.__file__]
    assert lines.made({made: 100.0}) == {(user.__file__, 7): 100.0}


def test_what_was_only_put_away_is_named_by_the_line_that_says_its_owner(user):
    lines, things = UserLines({}), [object() for _ in range(1000)]
    seen(lines, lambda: [user.take(each) for each in things])
    assert lines.made({("/elsewhere/pymdp/control.py", 1): 100.0}) == {}
    assert list(lines.added("user_model.TAKEN")) == [(user.__file__, 10)]
    assert lines.added("user_model.OTHER") == {}
    assert lines.added("lookup (lru_cache)") == {}


def test_a_line_that_only_says_the_owners_name_adds_nothing_to_it(user):
    lines = UserLines({})
    user.TAKEN += [object()] * 1000
    seen(lines, user.copy)
    assert lines.added("user_model.TAKEN") == {}
    assert list(lines.added("user_model.KEPT")) == [(user.__file__, 13)]


def test_what_is_installed_is_the_users_if_the_factory_is_from_there():
    import numpy
    import yaml

    lines = UserLines({"callable": "yaml.loader:make"})
    assert lines.own(yaml.__file__)
    assert not lines.own(numpy.__file__)
    assert not lines.own(tracemalloc.__file__)
    assert not lines.own(UserLines.__init__.__code__.co_filename)
    assert not lines.own("<frozen importlib._bootstrap>")


@pytest.mark.parametrize("room", ["instruments", "worker", "leak", "profile", "a_new_room"])
def test_what_watches_agents_is_memprofs_own_work(room):
    assert is_memprofs_work(f"{PACKAGE}{room}/part.py")


@pytest.mark.parametrize("room", ["models", "optimise", "populations", "storage", "upstream"])
def test_what_lives_as_part_of_agents_is_not(room):
    (file, *_) = sorted(Path(PACKAGE, room).glob("[a-z]*.py"))
    assert not is_memprofs_work(str(file))
    assert not is_memprofs_work(f"/home/user/{room}/part.py")
