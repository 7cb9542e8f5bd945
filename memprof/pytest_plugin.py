"""The pytest plugin: the marker `agent_memory` and the fixture `memprof`.

Both measure agents in fresh worker processes, as `memprof profile` does, and fail a test whose
agents cost too much. A test run that uses neither pays only for importing this file.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Generator, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest

if TYPE_CHECKING:
    from memprof.errors import MemprofError
    from memprof.launch.runner import Outcome
    from memprof.scenario import LoadedScenario
    from memprof.values.profile import Report

_MARKER = "agent_memory"
_TIMEOUT_SECONDS = 900.0
Agents: TypeAlias = "str | os.PathLike[str] | Callable[..., Any]"

_checked: pytest.StashKey[Outcome[Report]] = pytest.StashKey()
_error: pytest.StashKey[MemprofError] = pytest.StashKey()
_calls: pytest.StashKey[int] = pytest.StashKey()
_session: pytest.StashKey[dict[tuple[Path, int | None], Outcome[Report]]] = pytest.StashKey()


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker, for `--strict-markers` too."""
    config.addinivalue_line(
        "markers",
        f"{_MARKER}(*, per_agent=None, scenario=None): fail the test if an agent of the scenario, "
        "or of what the fixture memprof measures, costs more than per_agent (such as '64 KB')",
    )
    config.stash[_session] = {}


@pytest.fixture
def memprof(request: pytest.FixtureRequest) -> Profiler:
    """Measure agents in fresh processes: `memprof(build, agents=20, per_agent="64 KB")`."""
    return Profiler(request.node)


class Profiler:
    """The value of the fixture, one per test."""

    def __init__(self, item: pytest.Item) -> None:
        self._item = item
        item.stash[_calls] = 0

    def __call__(
        self,
        build: Agents,
        *,
        per_agent: str | int | None = None,
        params: Mapping[str, Any] | None = None,
        **fields: Any,
    ) -> Report:
        """Measure the agents that a function builds, or those of a scenario file.

        Fails the test if one costs more than `per_agent` (if not given, the marker's), or if passes
        change what agents do.

        Args:
            build: a function at the top level of a module, which may take the agent's index as
                `agent`. It returns a PyMDP agent or its keyword arguments, or a pair of that and an
                environment. Or the path of a scenario file, relative to pytest's rootdir.
            per_agent: the largest marginal cost of an agent, in bytes or as `"64 KB"`.
            params: further arguments of the function.
            fields: fields of the scenario, such as agents, steps, passes and repeats. Without
                `passes`, a function's agents are measured as they are.

        Raises:
            MemprofError: it could not be measured, or makes no sense.
        """
        __tracebackhide__ = True
        self._item.stash[_calls] += 1
        with _noting(self._item):
            marked = _marked(self._item).get("per_agent")
            loaded = _loaded(self._item.config, build, params or {}, fields)
            checked = _check(loaded, _bytes(marked if per_agent is None else per_agent))
        _fail(checked)
        return checked.report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, None, None]:
    """After the fixtures: measure the marker's scenario, so that a failure to do so is an error."""
    yield
    if item.get_closest_marker(_MARKER) is not None:
        with _noting(item):
            _measure_marked(item)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    """After the test's body: a scenario over its limit fails the test."""
    yield
    if _checked in item.stash:
        _fail(item.stash[_checked])
    elif item.get_closest_marker(_MARKER) is not None and not item.stash.get(_calls, 0):
        from memprof.errors import UsageError

        with _noting(item):
            raise UsageError(
                f"{_MARKER}: nothing was checked: the test requested the fixture memprof but "
                "never called it. Call it, or give the marker a scenario"
            )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """memprof's errors say everything in one message; a traceback would add nothing."""
    report = yield
    error = item.stash.get(_error, None)
    if error is not None and call.excinfo is not None and call.excinfo.value is error:
        text = call.excinfo.getrepr(style="value")
        if error.detail:
            text.addsection("in the worker", error.detail)
        report.longrepr = text
        report.not_measured = True  # type: ignore[attr-defined]
    return report


def pytest_report_teststatus(report: pytest.TestReport) -> tuple[str, str, str] | None:
    """A failed measurement is an error, even if the test's body requested it."""
    if report.failed and report.when == "call" and getattr(report, "not_measured", False):
        return "error", "E", "ERROR"
    return None


@contextlib.contextmanager
def _noting(item: pytest.Item) -> Iterator[None]:
    """Remember that an error is ours, so that it is reported as its message alone."""
    from memprof.errors import MemprofError

    try:
        yield
    except MemprofError as error:
        item.stash[_error] = error
        raise


def _measure_marked(item: pytest.Item) -> None:
    """Measure the scenario of the item's marker, once in a session for the same limit."""
    from memprof.errors import UsageError

    arguments = _marked(item)
    given, per_agent = arguments.get("scenario"), _bytes(arguments.get("per_agent"))
    if given is None:
        if "memprof" not in getattr(item, "fixturenames", ()):
            raise UsageError(
                f"{_MARKER}: nothing to check; give it scenario='path.yaml', or measure agents in "
                "the test with the fixture memprof"
            )
        if per_agent is None:
            raise UsageError(f"{_MARKER}: no size; give it per_agent, such as '64 KB'")
        return
    loaded = _loaded(item.config, given, {}, {})
    if per_agent is None and loaded.scenario.budget is None:
        raise UsageError(
            f"{_MARKER}: no size; give it per_agent, such as '64 KB', since {given} has no budget"
        )
    session, key = item.config.stash[_session], (loaded.path.resolve(), per_agent)
    if key not in session:
        session[key] = _check(loaded, per_agent)
    item.stash[_checked] = session[key]


def _marked(item: pytest.Item) -> Mapping[str, Any]:
    """The arguments of the item's marker, the nearest one.

    Raises:
        UsageError: they make no sense.
    """
    from memprof.errors import UsageError, unknown

    marker = item.get_closest_marker(_MARKER)
    if marker is None:
        return {}
    problem = ""
    if marker.args:
        problem = f"expected keyword arguments, e.g. per_agent='64 KB', found {marker.args[0]!r}"
    elif others := marker.kwargs.keys() - {"per_agent", "scenario"}:
        problem = unknown("argument", min(others), ("per_agent", "scenario"))
    elif sum(each.name == _MARKER for each in item.own_markers) > 1:
        problem = "duplicate marker on this test; remove one"
    if problem:
        raise UsageError(f"{_MARKER}: {problem}")
    return marker.kwargs


def _bytes(size: Any) -> int | None:
    from memprof.errors import UsageError
    from memprof.text import parse_size

    try:
        found = None if size is None else parse_size(size)
    except ValueError as error:
        raise UsageError(f"per_agent: {error}, found {size!r}") from None
    if found == 0:
        raise UsageError("per_agent: expected a size above 0, found 0 bytes")
    return found


def _loaded(
    config: pytest.Config, agents: Agents, params: Mapping[str, Any], fields: Mapping[str, Any]
) -> LoadedScenario:
    """The scenario of a file or a function; no instrument unless it is asked for."""
    from memprof.errors import ScenarioError, UsageError, option_of
    from memprof.scenario import load_scenario, scenario_of_function

    if not isinstance(agents, str | os.PathLike):
        return scenario_of_function(agents, params, {"instruments": [], "passes": [], **fields})
    path = config.rootpath / agents
    if not path.exists():
        raise UsageError(
            f"no such scenario file: {path}; relative paths start at pytest's rootdir, "
            f"{config.rootpath}"
        )
    if params:
        raise UsageError("params: only apply to a function; a scenario file has its own")
    try:
        return load_scenario(Path(os.path.relpath(path)), {"instruments": [], **fields})
    except ScenarioError as error:
        if error.where == option_of(error.field.partition(".")[0]):  # there is no command line
            raise ScenarioError(error.field, error.problem) from None
        raise


def _check(loaded: LoadedScenario, per_agent: int | None) -> Outcome[Report]:
    from memprof.launch.runner import Observer
    from memprof.posix import Limits
    from memprof.profile.run import check, limited

    return check(limited(loaded, per_agent), Limits(_TIMEOUT_SECONDS), Observer())


def _fail(checked: Outcome[Report]) -> None:
    """Fail the test where its agents did."""
    if checked.failure is not None:
        from memprof.gate.words import broken_check

        pytest.fail(broken_check(checked.report, checked.failure), pytrace=False)
