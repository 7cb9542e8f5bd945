"""The agents of PyMDP's own notebooks under memprof: `make notebooks PYMDP=path/to/pymdp`.

Every cell of a notebook runs, but for rollouts, which take long, and with something that does
nothing in place of packages that are not installed; the arguments of each JAX agent that it builds
are what a factory returns. Agents live a few steps, plain and under `share` and `template`: the
same actions, and beliefs within the stated bound.
"""

from __future__ import annotations

import argparse
import contextlib
import inspect
import io
import json
import os
import pickle
import re
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

AGENTS, STEPS, SECONDS = 4, 4, 900
MOST_AGENTS, MOST_MISSING = 8, 20
LEGACY = "legacy"
MADE: list[Any] = []


def make() -> Any:
    """The factory."""
    return MADE[0]


class _Enough(Exception):
    """Raised in place of a rollout."""


def agents_of(notebook: Path) -> tuple[list[Any], list[str]]:
    """The arguments of each agent that a notebook builds, with its world if it has one; and why
    cells of it failed."""
    import matplotlib as mpl

    mpl.use("Agg")
    import pymdp.agent
    import pymdp.envs
    import pymdp.envs.rollout

    found: list[Any] = []
    namespace: dict[str, Any] = {"__name__": "notebook"}
    build = pymdp.agent.Agent.__init__
    signature = inspect.signature(build)

    def noted(self: Any, *values: Any, **keywords: Any) -> None:
        given = dict(signature.bind(self, *values, **keywords).arguments)
        del given["self"]
        given = {n: list(v) if isinstance(v, list) else v for n, v in given.items()}
        found.append((given, namespace.get("env")))
        build(self, *values, **keywords)

    def enough(*_: Any, **__: Any) -> Any:
        raise _Enough

    pymdp.agent.Agent.__init__ = noted
    module = sys.modules["pymdp.envs.rollout"]
    rollouts = module.rollout, pymdp.envs.rollout
    module.rollout = pymdp.envs.rollout = enough
    failures: list[str] = []
    sys.path.insert(0, str(notebook.parent))
    os.chdir(notebook.parent)
    for number, cell in enumerate(json.loads(notebook.read_text())["cells"]):
        if cell["cell_type"] != "code":
            continue
        # What is for the notebook's shell stands for nothing.
        shell = re.compile(r"^(\s*)[%!].*$", re.MULTILINE)
        source = shell.sub(r"\1pass", "".join(cell["source"]))
        for _ in range(MOST_MISSING):
            try:
                with contextlib.redirect_stdout(io.StringIO()):
                    exec(compile(source, f"cell {number}", "exec"), namespace)
            except _Enough:
                pass
            except ModuleNotFoundError as error:  # what makes pictures, most often
                sys.modules[error.name or ""] = MagicMock()
                failures.append(f"cell {number}: {error}")
                continue
            except Exception as error:
                failures.append(f"cell {number}: {type(error).__name__}: {error}")
            break
    pymdp.agent.Agent.__init__ = build
    module.rollout, pymdp.envs.rollout = rollouts
    return found, failures


def lived(arguments: dict[str, Any], env: Any, passes: tuple[str, ...]) -> Any:
    """What agents of these arguments believe and do in a world of PyMDP's, or in that of their own
    model."""
    from memprof.instruments import DirectCalls
    from memprof.populations.jax_agents import JaxPopulation
    from memprof.values.population import PopulationSpec

    MADE[:] = [arguments if env is None else (arguments, env)]
    size = int(arguments.get("batch_size", 1))
    windows = arguments.get("inference_algo") in ("mmp", "vmp")
    offline = arguments.get("learning_mode") == "offline"
    spec = PopulationSpec(
        backend="jax",
        model={"kind": "factory", "callable": f"{__name__}:make", "params": {}},
        private=True,
        differs=False,
        agent={},
        learning=(),
        passes=passes,
        options={},
        loop="rollout" if windows or offline else "jit",
        agents=size if size > 1 else AGENTS,
        steps=STEPS,
        seed=0,
        folder=".",
    )
    population = JaxPopulation(spec, DirectCalls())
    agents = population.grow(spec.agents)
    found: list[list[Any]] = [[] for _ in agents]
    for first in range(0, STEPS, population.stride):
        for agent, _, behaviour in population.live(agents, range(first, first + population.stride)):
            found[agent].append(behaviour)
    return found


def fewer(arguments: dict[str, Any]) -> dict[str, Any]:
    """The same for a batch of a few, where a notebook has a large one."""
    size = int(arguments.get("batch_size", 1))
    if size <= MOST_AGENTS:
        return arguments

    def cut(value: Any) -> Any:
        if isinstance(value, list):
            return [cut(each) for each in value]
        rows = getattr(value, "shape", ())[:1] == (size,)
        return value[:AGENTS] if rows else value

    return {**{name: cut(value) for name, value in arguments.items()}, "batch_size": AGENTS}


def _form(value: Any) -> Any:
    """What agents of one kind have in common."""
    if isinstance(value, list):
        return list(map(_form, value))
    return getattr(value, "shape", None) or repr(value)[:80]


def look(notebook: Path) -> list[tuple[str, str]]:
    """Each agent of a notebook, and how it went."""
    from memprof.catalogue.passes import REORDERED
    from memprof.errors import ScenarioError
    from memprof.upstream import is_env
    from tests.property_jax import apart

    warnings.simplefilter("ignore")
    made, failures = agents_of(notebook)
    if not made:
        return [("-", f"out of reach: {failures[0] if failures else 'it builds no JAX agent'}")]
    rows = []
    kinds: dict[str, Any] = {}
    for arguments, env in made:
        form = {name: _form(value) for name, value in arguments.items()}
        world = env if is_env(env) and set(vars(env)) >= {"A", "B", "D"} else None
        kinds.setdefault(repr(form), (fewer(arguments), world))
    for number, (arguments, env) in enumerate(kinds.values()):
        name = f"agent {number + 1} of {len(kinds)}"
        try:
            plain = lived(dict(arguments), env, ())
        except ScenarioError as error:
            rows.append((name, f"refused: {error}"))
            continue
        said = []
        for passes in (("share",), ("template",)):
            try:
                difference = apart(plain, lived(dict(arguments), env, passes))
                said.append(f"{passes[0]} {difference or f'alike within {REORDERED:g}'}")
            except ScenarioError as error:
                said.append(f"{passes[0]} refused: {error.field}")
        rows.append((name, f"{len(plain)} agents: {', '.join(said)}"))
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pymdp", type=Path, help="a checkout of PyMDP")
    parser.add_argument("--only", default="", help="notebooks with this in their path")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    wanted = parser.parse_args()
    if wanted.one:
        found = look(wanted.pymdp.resolve())
        with os.fdopen(int(os.environ["FOUND"]), "wb") as file:
            pickle.dump(found, file)
        os._exit(0)  # after hundreds of programs JAX's own clean-up may end in a segmentation fault
    failed = 0
    for notebook in sorted((wanted.pymdp / "examples").rglob("*.ipynb")):
        if LEGACY in notebook.parts or wanted.only not in str(notebook):
            continue
        for name, outcome in _in_a_process(notebook):
            bad = "differ" in outcome or "refused: model" in outcome or "action" in outcome
            failed += bad
            print(f"{notebook.relative_to(wanted.pymdp)} | {name} | {outcome}", flush=True)
    return 1 if failed else 0


def _in_a_process(notebook: Path) -> list[tuple[str, str]]:
    with tempfile.TemporaryFile() as file:
        command = [sys.executable, "-m", "tests.notebooks", "--one", str(notebook)]
        path = os.pathsep.join(filter(None, [str(Path.cwd()), os.environ.get("PYTHONPATH")]))
        variables = {**os.environ, "FOUND": str(file.fileno()), "PYTHONPATH": path}
        variables.setdefault("JAX_PLATFORMS", "cpu")
        try:
            done = subprocess.run(
                command,
                env=variables,
                pass_fds=[file.fileno()],
                capture_output=True,
                text=True,
                timeout=SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return [("-", f"out of reach: not done in {SECONDS} s")]
        file.seek(0)
        if done.returncode:
            said = done.stderr.strip().splitlines() or [f"it ended with {done.returncode}"]
            return [("-", f"out of reach: {said[-1]}")]
        found: list[tuple[str, str]] = pickle.load(file)
        return found


if __name__ == "__main__":
    sys.exit(main())
