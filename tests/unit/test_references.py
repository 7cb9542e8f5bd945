"""What passes take of Python's counts of references is tried before anything rests on it."""

import sys

import pytest

from memprof.errors import UsageError
from memprof.optimise.plan import Plan
from memprof.storage import activation


@pytest.fixture(autouse=True)
def anew():
    activation.check_references.cache_clear()
    yield
    activation.check_references.cache_clear()


def test_this_python_tells_who_holds_an_object():
    for what, tells in activation._TRIALS.items():
        assert tells(), what
    activation.check_references()


@pytest.mark.parametrize("passes", [["template"], ["share"]])
@pytest.mark.parametrize("error", [-1, 1], ids=["one is lent", "one is counted late"])
def test_nothing_rests_on_counts_that_are_others(monkeypatch, passes, error):
    """As if references that a call holds were not counted, or one more were."""
    counted = sys.getrefcount
    monkeypatch.setattr(sys, "getrefcount", lambda thing: counted(thing) - 1 + error)
    with pytest.raises(UsageError, match="its reference counts do not show what holds"):
        Plan.of(passes)
    Plan.of([])
