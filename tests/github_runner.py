"""GitHub's runner, as far as memprof's workflow needs one: its `run:` steps as they are written, in
clones of a repository, and what the few actions do that it uses."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

_EXPRESSION = re.compile(r"\$\{\{(.*?)\}\}")
_NAME = re.compile(r"\b(github|inputs)\.(\w+)")
# What GitHub runs for `shell: bash`.
_BASH = ["bash", "--noprofile", "--norc", "-eo", "pipefail"]


@dataclass
class Job:
    """What became of a job: its steps' exit codes by name (None: skipped), and what it said."""

    result: str = "success"
    codes: dict[str, int | None] = field(default_factory=dict)
    output: str = ""
    summary: str = ""


class Runner:
    """Runs a workflow for the events of one repository.

    Args:
        workflow: the text of the workflow's file.
        origin: a bare repository, which jobs clone and push to.
        folder: an empty one, for workspaces and artifacts.
    """

    def __init__(self, workflow: str, origin: Path, folder: Path) -> None:
        self.workflow = yaml.safe_load(workflow)
        self.artifacts = folder / "artifacts"
        self._origin = origin
        self._folder = folder
        self._runs = 0
        assert self.workflow["defaults"]["run"]["shell"] == "bash"

    def run(self, event: str, branch: str, **inputs: Any) -> dict[str, Job]:
        """All jobs for the event, in their order; a job that is skipped is left out."""
        assert event in self.workflow[True], "the workflow does not listen; `on` is YAML's true"
        shutil.rmtree(self.artifacts, ignore_errors=True)
        context = {"github": {"event_name": event, "ref": f"refs/heads/{branch}"}, "inputs": inputs}
        done: dict[str, Job] = {}
        for name, job in self.workflow["jobs"].items():
            needed = job.get("needs")
            if needed and (needed not in done or done[needed].result != "success"):
                continue
            if evaluate(job.get("if", "success()"), context, failed=False):
                done[name] = self._job(job["steps"], branch, context)
        return done

    def _job(self, steps: list[dict[str, Any]], branch: str, context: Mapping[str, Any]) -> Job:
        self._runs += 1
        job, place = Job(), self._folder / f"job-{self._runs}"
        workspace = place / "workspace"
        place.mkdir(parents=True)
        for step in steps:
            name = step.get("name") or step["uses"]
            condition = step.get("if", "success()")
            if "always()" not in condition:
                condition = f"success() && ({condition})"
            if not evaluate(condition, context, failed=job.result == "failure"):
                job.codes[name] = None
            elif "uses" in step:
                self._use(step["uses"], step.get("with", {}), workspace, branch)
                job.codes[name] = 0
            else:
                command = _EXPRESSION.sub(
                    lambda found: str(evaluate(found[1], context, failed=False)), step["run"]
                )
                job.codes[name] = self._bash(command, workspace, job)
            if job.codes[name]:
                job.result = "failure"
        summary = place / "summary.md"
        job.summary = summary.read_text() if summary.exists() else ""
        return job

    def _bash(self, command: str, workspace: Path, job: Job) -> int:
        script = workspace.parent / "step.sh"
        script.write_text(command)
        variables = {
            "GITHUB_ACTIONS": "true",
            "GITHUB_WORKSPACE": str(workspace),
            "GITHUB_STEP_SUMMARY": str(workspace.parent / "summary.md"),
            "GITHUB_OUTPUT": str(workspace.parent / "output"),
            "GITHUB_ENV": str(workspace.parent / "env"),
        }
        done = subprocess.run(
            [*_BASH, str(script)],
            cwd=workspace,
            env=ci_environment(variables),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        job.output += done.stdout
        return done.returncode

    def _use(self, action: str, given: Mapping[str, Any], workspace: Path, branch: str) -> None:
        """What the action does to the workspace; fails on inputs that it does not have."""
        match action:
            case "actions/checkout@v6":
                assert set(given) <= {"persist-credentials"}
                git("clone", "--quiet", "--branch", branch, str(self._origin), str(workspace))
            case "actions/setup-python@v6":
                assert set(given) == {"python-version", "cache", "cache-dependency-path"}
                assert isinstance(given["python-version"], str), "3.10 is a number, and 3.1"
                assert (workspace / given["cache-dependency-path"]).is_file()
            case "actions/upload-artifact@v6":
                assert set(given) == {"name", "path"}
                self._upload(self.artifacts / given["name"], given["path"].split(), workspace)
            case "actions/download-artifact@v7":
                assert set(given) == {"name"}
                shutil.copytree(self.artifacts / given["name"], workspace, dirs_exist_ok=True)
            case _:
                raise AssertionError(f"nobody knows the action {action}")

    @staticmethod
    def _upload(artifact: Path, paths: list[str], workspace: Path) -> None:
        """Files keep their place below what all paths have in common, the workspace."""
        assert len(paths) > 1
        for path in paths:
            source = workspace / path
            if source.is_dir():
                shutil.copytree(source, artifact / path)
            elif source.exists():
                artifact.mkdir(parents=True, exist_ok=True)
                shutil.copy(source, artifact / path)


def evaluate(expression: str, context: Mapping[str, Any], *, failed: bool) -> Any:
    """An expression of GitHub's, of the few forms that the workflow has."""
    python = _NAME.sub(r"\1['\2']", expression.strip())
    python = python.replace("&&", " and ").replace("||", " or ")
    functions = {"always": lambda: True, "success": lambda: not failed, "false": False}
    return eval(python, {"__builtins__": {}}, {**context, **functions})  # our own file


def ci_environment(further: Mapping[str, str]) -> dict[str, str]:
    """Of a CI step: the Python of these tests comes first, and nothing is downloaded."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("GITHUB_")}
    return {
        **own,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PIP_NO_INDEX": "1",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_ROOT_USER_ACTION": "ignore",
        **further,
    }


def git(*arguments: str, cwd: Path | None = None) -> str:
    """Run git, with nobody's own settings."""
    done = subprocess.run(
        ["git", "-c", "user.name=T", "-c", "user.email=t@example.org", *arguments],
        cwd=cwd,
        env={**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
