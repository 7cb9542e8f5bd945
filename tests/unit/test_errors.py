"""Errors cross processes as they are, whatever their constructors take."""

import copy
import pickle
from pathlib import Path

import pytest

from memprof import errors
from memprof.errors import AgentActive, Interrupted, MemprofError, OutputError, ScenarioError
from memprof.storage.flatten import NotStorable

OTHERS = {
    AgentActive: lambda: AgentActive(7),
    Interrupted: Interrupted,
    OutputError: lambda: OutputError("no room", [Path("a"), Path("b")], detail="line 1\nline 2"),
    ScenarioError: lambda: ScenarioError("model.size", "too large", where="a.yaml:3", detail="x"),
}
"""Those whose constructors take something else than a message and its detail."""


def kinds(of=MemprofError):
    """All that memprof has, whatever other tests may have made."""
    known = [each for each in of.__subclasses__() if each.__module__.startswith("memprof.")]
    return [of, *(each for kind in known for each in kinds(kind))]


def made(kind):
    return OTHERS[kind]() if kind in OTHERS else kind("a message", detail="line 1\nline 2")


@pytest.mark.parametrize("again", [lambda error: pickle.loads(pickle.dumps(error)), copy.copy])
def test_every_error_is_the_same_in_another_process(again):
    assert {NotStorable, *OTHERS} < {*kinds()}
    for kind in kinds():
        error = made(kind)
        error.add_note("agent 3 of the population, observing [0]")
        found = again(error)
        assert type(found) is kind
        assert (str(found), found.args) == (str(error), error.args)
        assert vars(found) == vars(error)
        assert found.exit_code == error.exit_code
        assert found.__notes__ == ["agent 3 of the population, observing [0]"]


def test_what_an_error_says_is_not_made_harmless_twice():
    error = MemprofError("a \x1b[31mred\x1b[0m message " + "x" * 40_000)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert str(pickle.loads(pickle.dumps(error, protocol))) == str(error)


def test_the_module_lists_its_errors():
    for kind in kinds():
        if kind.__module__ == errors.__name__:
            assert kind.__name__ in errors.__doc__
