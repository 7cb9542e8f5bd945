"""Running memprof as users do: the command in a subprocess, on scenario files."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import hypothesis
import pytest
import yaml
from msgspec.structs import replace

from tests import command_server

# No search looks at a clock. They are short here; `make fuzz` searches for long.
hypothesis.settings.register_profile("short", deadline=None, max_examples=30)
hypothesis.settings.register_profile("long", deadline=None, max_examples=1000)
hypothesis.settings.load_profile("short")
os.environ.setdefault("JAX_PLATFORMS", "cpu")  # what is expected here is measured there

ROOT = Path(__file__).parents[1]
SCENARIOS = ROOT / "scenarios"
LEAN, _SUPPORT = (Path(__file__).parent / name for name in ("lean", "support"))
_LONGEST = {
    *("test_figures", "test_gate_regressions", "test_ci", "test_density_command", "test_jax"),
    *("test_jax_command", "test_leak_command", "test_sites", "test_quirks"),
    *("test_pages", "test_gate", "test_workers", "test_gate_workers", "test_leak_workers"),
    *("test_run", "test_servers", "test_density_workers", "test_processes", "test_notebook"),
    *("test_predict", "test_tutorial", "test_advice_on_agents", "test_run_jax", "test_run_truth"),
    *("test_auto", "test_jax_compiling", "test_jax_given", "test_scenarios", "test_kinds"),
    "test_retention",  # looks at all objects, of which there are few at first
}
COMMAND = [sys.executable, "-P", "-m", "memprof"]


def pytest_configure(config: pytest.Config) -> None:
    """All processes of a session find the calibration agents as an installed package, in `support`.

    Those that compile the same JAX programs share them, as files. They trace and ask for a
    compilation as often as without; from the second time on, it is done sooner.
    """
    if hasattr(config, "workerinput"):  # a process of xdist inherits the variables
        return
    folder = tempfile.TemporaryDirectory(prefix="memprof-tests-", ignore_cleanup_errors=True)
    config.add_cleanup(folder.cleanup)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = folder.name
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"
    os.environ["PYTHONPATH"] = os.pathsep.join(
        filter(None, [str(LEAN), str(_SUPPORT), os.environ.get("PYTHONPATH")])
    )
    command_server.session_environment.update(os.environ)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that take longest start first, so that no process waits for another in the end."""
    items.sort(key=lambda item: item.path.stem not in _LONGEST)


@dataclass(frozen=True)
class Run:
    """What one run of the command gave."""

    code: int
    out: str
    err: str
    folder: Path

    def report(self, name: str = "case") -> dict[str, Any]:
        return json.loads((self.folder / "reports" / f"{name}.json").read_text())


@dataclass(frozen=True)
class Session:
    """What one run of pytest gave; outcomes and what was said, by test."""

    code: int
    out: str
    outcomes: dict[str, str]
    texts: dict[str, str]


Command = Callable[..., Run]


def digests_of(path: Path, passes: tuple[str, ...], agents: int, steps: int) -> tuple[str, ...]:
    """What the NumPy agents of a scenario believe and do, agent by agent; in this process."""
    from memprof.instruments import Stopwatch
    from memprof.populations.numpy_agents import NumpyPopulation
    from memprof.populations.trace import DigestTrace
    from memprof.scenario import load_scenario

    spec = replace(load_scenario(path).spec(passes), agents=agents, steps=steps)
    population, found = NumpyPopulation(spec, Stopwatch()), DigestTrace(agents, steps)
    try:
        for lived in population.live(population.grow(agents), range(steps)):
            found.record(*lived)
    finally:
        population.close()
    return found.per_agent()


def assert_ledger_adds_up(ledger: dict[str, Any], least: float, name: str) -> None:
    """The rows are all that is explained, and that is `least` of the growth, and no more than it:
    but for what the process freed since the baseline, some 0.4 MB whatever the agents."""
    growth, explained = ledger["growth_bytes"], ledger["explained_bytes"]
    assert explained >= least * growth, name
    assert explained - growth <= max((1 - least) * growth, 500_000), name
    assert explained + ledger["unexplained_bytes"] == growth
    assert explained == sum(
        row["private_resident_bytes"] + row["shared_resident_bytes"] for row in ledger["rows"]
    )


def run_pytest(folder: Path, *arguments: object) -> Session:
    """pytest with memprof's plugin, and no other that happens to be installed, in a folder."""
    (folder / "pytest.ini").write_text("[pytest]\naddopts = --strict-markers\n")
    file = folder / "junit.xml"
    plugin = ["-p", "memprof.pytest_plugin", "-p", "no:cacheprovider"]
    words = ["-v", *plugin, f"--junitxml={file}", *map(str, arguments)]
    plain = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    run = _run("pytest", folder, words, {**os.environ, **plain})
    found = re.findall(r"::(\w+) (PASSED|FAILED|ERROR|SKIPPED|XFAIL)\b", run.out)
    texts: dict[str, str] = {}
    for case in ElementTree.parse(file).iter("testcase") if file.exists() else ():
        said = [f"{each.get('message')}\n{each.text}" for each in case if each.tag != "properties"]
        texts[case.get("name", "")] = "\n".join(said)
    return Session(run.code, run.out + run.err, dict(found), texts)


def run_command(
    folder: Path, *arguments: object, timeout: float = 300, stdin: str = "", **environment: str
) -> Run:
    """Run `memprof ARGUMENTS` in a folder."""
    variables = {**os.environ, **environment}
    return _run("memprof", folder, [*map(str, arguments)], variables, stdin, timeout)


def _run(
    module: str,
    folder: Path,
    words: list[str],
    variables: dict[str, str],
    stdin: str = "",
    timeout: float = 300,
) -> Run:
    """Run a module as a program, in a fork of one that has imported memprof where that does."""
    if command_server.serves(variables):
        return Run(*command_server.run(module, words, folder, variables, stdin, timeout), folder)
    done = subprocess.run(
        [sys.executable, "-P", "-m", module, *words],
        cwd=folder,
        env=variables,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    return Run(done.returncode, done.stdout, done.stderr, folder)


def whole_path(*, support: bool = True) -> str:
    """PYTHONPATH without what makes the workers of tests lean; or without any of our tests' own."""
    left_out = {str(LEAN)} if support else {str(LEAN), str(_SUPPORT)}
    paths = os.environ["PYTHONPATH"].split(os.pathsep)
    return os.pathsep.join(each for each in paths if each not in left_out)


@pytest.fixture
def whole_imports(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers import all that users' do."""
    monkeypatch.setenv("PYTHONPATH", whole_path())


@pytest.fixture
def memprof(tmp_path: Path) -> Command:
    """Run `memprof ARGUMENTS` in an empty folder of its own."""
    return partial(run_command, tmp_path)


@pytest.fixture
def scenario(tmp_path: Path) -> Callable[..., Path]:
    """Write a scenario of real PyMDP agents; fields may be replaced."""

    def write(**fields: Any) -> Path:
        base: dict[str, Any] = {
            "name": "case",
            "model": {"kind": "grid_world", "size": 3},
            "agents": 4,
            "steps": 3,
            "repeats": 1,
            "instruments": [],
            "effort": "quick",
        }
        path = tmp_path / "case.yaml"
        path.write_text(yaml.safe_dump({**base, **fields}, sort_keys=False))
        return path

    return write


@pytest.fixture
def fake(scenario: Callable[..., Path]) -> Callable[..., Path]:
    """Write a scenario of calibration agents of known size, which need no PyMDP."""

    def write(size: str = "1 MiB", model: dict[str, Any] | None = None, **fields: Any) -> Path:
        chosen = {"kind": "buffer", "size": size, **(model or {})}
        return scenario(**{"backend": "fake", "passes": [], "model": chosen, **fields})

    return write
