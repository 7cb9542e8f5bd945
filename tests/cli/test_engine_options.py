"""`--engine ray`: what it does not go with, and what it needs."""

from __future__ import annotations

import os

import pytest

# Says that Ray is not there, whatever is.
WITHOUT_RAY = """
import importlib.util

found = importlib.util.find_spec
importlib.util.find_spec = lambda name, *more: None if name == "ray" else found(name, *more)
"""


@pytest.mark.parametrize("command", ["density", "profile"])
@pytest.mark.parametrize(
    ("option", "value"), [("--shards", 2), ("--address", "auto"), ("--world", "actor")]
)
def test_options_of_shards_need_the_engine(memprof, fake, command, option, value):
    run = memprof(command, fake(), option, value)
    assert run.code == 2
    assert f"{option}: is for --engine ray; add it, or remove {option}" in run.err
    assert not (run.folder / "reports").exists()


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        (["--verify"], "--verify"),
        (["--threads", "2"], "--threads"),
        (["--suite"], "--suite"),
        (["--memory-limit", "1GiB"], "--memory-limit"),
        (["--grow", "sheep"], "--grow"),
    ],
)
def test_what_is_about_one_process_does_not_go_with_it(memprof, fake, arguments, option):
    run = memprof("density", fake(), "--engine", "ray", *arguments)
    assert run.code == 2
    assert f"{option}: is about one process, which --engine ray is not" in run.err


def test_a_prediction_does_not_go_with_it(memprof, fake):
    run = memprof("density", fake(), "--engine", "ray", "--predict")
    assert (run.code, "--engine: --predict runs no population" in run.err) == (2, True)


def test_a_profile_has_no_memory_limit_with_it(memprof, fake):
    run = memprof("profile", fake(), "--engine", "ray", "--memory-limit", "1GiB")
    assert (run.code, "--memory-limit: is about one process" in run.err) == (2, True)


def test_agents_that_live_many_steps_at_once_have_another_loop(memprof, scenario):
    path = scenario(backend="jax", loop="rollout")
    run = memprof("density", path, "--engine", "ray")
    assert run.code == 2
    assert "found loop rollout of backend jax; add --loop jit" in run.err


def test_only_agents_that_meet_have_a_world_somewhere(memprof, fake):
    run = memprof("density", fake(), "--engine", "ray", "--world", "actor")
    assert run.code == 2
    assert "--world: is for a world in which agents meet, and the scenario has none" in run.err


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--shards", 0, "--shards: expected 1 to"),
        ("--engine", "spark", "'spark' is not one of 'ray'"),
        ("--world", "moon", "'moon' is not one of 'driver', 'actor'"),
        ("--agents", 10**8 + 1, "--agents: expected 1 to 100,000,000"),
    ],
)
def test_a_wrong_value_says_what_is_expected(memprof, fake, option, value, said):
    run = memprof("density", fake(), "--engine", "ray", option, value)
    assert run.code == 2
    assert said in run.err


def test_where_ray_is_missing_it_is_said_what_to_install(memprof, fake, tmp_path, monkeypatch):
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "sitecustomize.py").write_text(WITHOUT_RAY)
    path = os.pathsep.join([str(hidden), os.environ["PYTHONPATH"]])
    run = memprof("density", fake(), "--engine", "ray", PYTHONPATH=path)
    assert run.code == 2
    assert "engine: Ray is not installed here; pip install 'memprof-pymdp[ray]'" in run.err
    assert not (run.folder / "reports").exists()
