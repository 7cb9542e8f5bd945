import contextlib
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from memprof.catalogue.instruments import INSTRUMENTS
from memprof.errors import ScenarioError
from memprof.scenario import load_scenario
from memprof.scenario.schema import Scenario
from memprof.upstream.keywords import JAX as JAX_AGENT
from memprof.upstream.keywords import NUMPY, agent_keywords
from tests.conftest import SCENARIOS

BASE = {"name": "case", "model": {"kind": "grid_world", "size": 3}}

FAKE = {"backend": "fake", "model": {"kind": "buffer"}}

JAX = {"backend": "jax"}


def jax(**agent):
    return {**JAX, "agent": agent}


def bounded(steps, **agent):
    return {
        "passes": ["history"],
        "history_steps": steps,
        "agent": {"inference_algo": "MMP", **agent},
    }


def load(tmp_path, overrides=None, **fields):
    path = tmp_path / "case.yaml"
    path.write_text(yaml.safe_dump({**BASE, **fields}, sort_keys=False))
    return load_scenario(path, overrides)


def test_name_and_model_are_enough(tmp_path):
    scenario = load(tmp_path).scenario
    assert (scenario.backend, scenario.agents, scenario.steps, scenario.seed) == (
        "numpy",
        20,
        20,
        0,
    )
    assert scenario.passes == ["share"]
    assert scenario.instruments == ["tracemalloc", "memory_profiler", "pympler"]
    assert (scenario.repeats, scenario.budget, scenario.model.private) == (3, None, True)


def test_none_is_an_empty_list_as_on_the_command_line(tmp_path):
    scenario = load(tmp_path, instruments="none", passes="none").scenario
    assert (scenario.instruments, scenario.passes) == ([], [])


def test_jax_agents_run_by_one_compiled_step_if_nothing_is_said(tmp_path):
    loaded = load(tmp_path, **JAX)
    assert loaded.scenario.loop == loaded.spec(()).loop == "jit"
    assert load(tmp_path).scenario.loop is None
    assert load(tmp_path, {"loop": "eager"}, **JAX).scenario.loop == "eager"
    assert load(tmp_path, **JAX, chunk=3, passes=["template"]).spec(()).options == {"chunk": 3}
    assert load(tmp_path, **JAX, chunk=3, passes="none").spec(()).options == {"chunk": 3}


def test_an_instrument_may_be_for_one_backend_only(tmp_path, monkeypatch):
    info = replace(INSTRUMENTS["pympler"], name="device", backends=("jax",))
    monkeypatch.setitem(INSTRUMENTS.ours, "device", info)
    assert load(tmp_path, **JAX).scenario.instruments[0] == "device"
    assert "device" not in load(tmp_path).scenario.instruments
    with pytest.raises(ScenarioError, match=r"instruments: 'device' is for backend jax; this"):
        load(tmp_path, instruments=["device"])


@pytest.mark.parametrize(
    "fields",
    [
        {**jax(inference_algo="mmp", inference_horizon=3), "passes": ["jit"]},
        {**jax(inference_algo="ovf"), "learning": ["A", "B"], "passes": "none"},
        {**jax(inference_algo="ovf"), "passes": ["template"]},
    ],
)
def test_a_rollout_knows_what_needs_a_window_of_the_past(tmp_path, fields):
    assert load(tmp_path, **fields, loop="rollout").scenario.loop == "rollout"


@pytest.mark.parametrize(
    "fields",
    [
        bounded(4, inference_horizon=3),
        {"passes": ["history"], "history_steps": 1},
        {"passes": "auto", "history_steps": 1},
        {"passes": "none", "history_steps": 1},
        {**bounded(1), "model": {"kind": "factory", "callable": "agents:make"}},
    ],
)
def test_the_past_may_be_as_short_as_agents_look_back(tmp_path, fields):
    assert load(tmp_path, **fields).spec(()).options == {"history_steps": fields["history_steps"]}


def test_a_working_set_is_a_size(tmp_path):
    passes = ["mmap", "working_set"]
    loaded = load(tmp_path, passes=passes, working_set="64 MiB")
    assert loaded.spec(()).options == {"working_set": 2**26}
    assert load(tmp_path, passes=passes).spec(()).options == {}


@pytest.mark.parametrize("written", ["auto", ["auto"]])
def test_auto_may_stand_for_the_passes(tmp_path, written):
    scenario = load(tmp_path, passes=written, max_slowdown=2).scenario
    assert scenario.auto
    assert (scenario.passes, scenario.max_slowdown) == (["auto"], 2.0)
    assert not load(tmp_path).scenario.auto


def test_a_pass_may_follow_what_it_requires(tmp_path):
    names = ["fake-share", "fake-idle"]
    assert load(tmp_path, **FAKE, passes=names).scenario.passes == names


def test_the_shape_that_the_readme_shows_is_read_whole(tmp_path):
    loaded = load_scenario(SCENARIOS / "grid-29.yaml")
    assert loaded.scenario.limit_bytes == 4000
    assert loaded.spec(("share",)).model == {"kind": "grid_world", "size": 29, "inductive": False}
    assert loaded.where("budget.per_agent").endswith("grid-29.yaml:11")


MISTAKES = [
    ({"agents": -1}, "agents", "at least 1, found -1"),
    ({"agents": "x"}, "agents", "expected a whole number, found 'x'"),
    ({"agents": True}, "agents", "expected a whole number, found true"),
    ({"agents": None}, "agents", "found nothing; give it a value, or remove the field"),
    ({"agents": "20"}, "agents", "expected a whole number, found '20'; remove the quotes"),
    ({"description": 5}, "description", "expected text, found 5; quote it"),
    (
        {"budget": {"peragent": "4 KB"}},
        "budget.peragent",
        "unknown field; did you mean 'per_agent'",
    ),
    ({"budget": {}}, "budget.per_agent", "is missing; add it"),
    ({"tolerances": "5%"}, "tolerances", "expected fields such as `name: value`, found '5%'"),
    ({"model": {}}, "model.kind", "is missing; known: "),
    (
        {"model": {"kind": "random_pomdp", "num_obs": "a", "num_states": 2, "num_controls": 2}},
        "model.num_obs",
        "expected a whole number or a list such as [a], found 'a'",
    ),
    ({"steps": 0}, "steps", "found 0"),
    ({"agnts": 3}, "agnts", "did you mean 'agents'?"),
    ({"name": "<b>"}, "name", "expected letters, digits"),
    ({"name": "../x"}, "name", "expected letters, digits"),
    ({"model": 3}, "model", "found 3"),
    ({"model": {"size": 3}}, "model.kind", "is missing"),
    ({"model": {"kind": "grid_wold"}}, "model.kind", "did you mean 'grid_world'?"),
    ({"model": {"kind": "grid_world", "sice": 3}}, "model.sice", "did you mean 'size'?"),
    ({"model": {"kind": "maze", "walls": 0.6}}, "model.walls", "at most 0.5, found 0.6"),
    ({"model": {"kind": "maze", "private": False}}, "model.private", "differs between agents"),
    (
        {
            "model": {
                "kind": "random_pomdp",
                "num_obs": 2,
                "num_states": 2,
                "num_controls": 2,
                "per_agent": True,
                "private": False,
            }
        },
        "model.private",
        "differs between agents",
    ),
    ({"model": {"kind": "npz", "path": "no.npz"}}, "model.path", "no such file"),
    ({"model": {"kind": "npz", "path": "case.yaml"}}, "model.path", "expected an .npz file"),
    ({"model": {"kind": "factory", "callable": "f"}}, "model.callable", "package.module:function"),
    ({"passes": ["shar"]}, "passes", "did you mean 'share'?"),
    ({"passes": ["share", "share"]}, "passes", "duplicate pass 'share'"),
    ({"passes": ["fake-share"]}, "passes", "is for backend fake; this scenario's is numpy"),
    ({"passes": ["auto", "share"]}, "passes", "auto chooses the passes itself"),
    ({"passes": ["share", "auto"]}, "passes", "auto chooses the passes itself"),
    ({"passes": ["auto", "auto"]}, "passes", "auto chooses the passes itself"),
    ({"passes": "share"}, "passes", "expected a list such as [share], found 'share'"),
    (
        {**FAKE, "passes": ["fake-idle"]},
        "passes",
        "'fake-idle' needs 'fake-share' before it in the list",
    ),
    ({**FAKE, "passes": ["fake-idle", "fake-share"]}, "passes", "before it in the list"),
    ({"max_slowdown": 0.99}, "max_slowdown", "at least 1, found 0.99"),
    ({"max_slowdown": float("inf")}, "max_slowdown", "a finite number"),
    ({"max_slowdown": "twice"}, "max_slowdown", "a number, found 'twice'"),
    ({"instruments": ["trace"]}, "instruments", "did you mean 'tracemalloc'?"),
    ({"instruments": ["none"]}, "instruments", "unknown instrument 'none'"),
    ({"instruments": "all"}, "instruments", "expected a list such as [all], found 'all'"),
    ({"learning": ["Q"]}, "learning.0", "expected 'A', 'B' or 'D', found 'Q'"),
    ({"agent": {"polcy_len": 1}}, "agent.polcy_len", "did you mean 'policy_len'?"),
    ({"agent": {"policy_len": "three"}}, "agent.policy_len", "1 or more, found 'three'"),
    ({"agent": {"policy_len": 0}}, "agent.policy_len", "1 or more, found 0"),
    ({"agent": {"action_selection": "foo"}}, "agent.action_selection", "'stochastic', found 'foo'"),
    ({"agent": {"gamma": "hot"}}, "agent.gamma", "a number above 0, found 'hot'"),
    ({"agents": 10**12}, "agents", "at most 10,000,000"),
    ({"agent": {"A": 1}}, "agent.A", "belongs to the model"),
    ({"backend": "fake", "passes": []}, "model.kind", "is a generative model; found backend: fake"),
    ({"budget": {"per_agent": "10 quux"}}, "budget.per_agent", "expected a size such as"),
    ({"budget": {}}, "budget.per_agent", "is missing"),
    ({"loop": "jit"}, "loop", "only the jax backend has it; found backend: numpy"),
    ({**FAKE, "passes": [], "chunk": 3}, "chunk", "found backend: fake. Leave it out, or set"),
    ({**JAX, "keep": ["qs"]}, "keep", "only the numpy backend has it; found backend: jax"),
    ({**JAX, "loop": "fast"}, "loop", "expected 'jit', 'eager' or 'rollout', found 'fast'"),
    ({**JAX, "loop": None}, "loop", "found None; leave it out for jit"),
    ({**JAX, "chunk": 0}, "chunk", "at least 1, found 0"),
    ({**JAX, "chunk": 3}, "chunk", "takes effect under the pass template only; add it to passes"),
    ({"passes": ["share"], "keep": ["qs"]}, "keep", "under the passes template and mmap only"),
    ({"history_steps": 0}, "history_steps", "at least 1, found 0"),
    ({"history_steps": 8}, "history_steps", "under the pass history only; add it to passes"),
    ({**JAX, "history_steps": 8}, "history_steps", "only the numpy backend has it"),
    ({"working_set": "much"}, "working_set", "expected a size such as 64 KB"),
    ({"working_set": 0}, "working_set", "more than 0, found 0"),
    ({"working_set": "1 MiB"}, "working_set", "under the pass working_set only; add it to passes"),
    ({"passes": "auto", "working_set": 1}, "working_set", "under the pass working_set only"),
    ({**JAX, "working_set": "1 MiB"}, "working_set", "only the numpy backend has it"),
    ({"passes": ["working_set"]}, "passes", "'working_set' needs 'template' or 'mmap' before it"),
    ({"passes": ["working_set", "mmap"]}, "passes", "needs 'template' or 'mmap' before it"),
    (bounded(3, inference_horizon=3), "history_steps", "expected 4 or more, since PyMDP's MMP"),
    (bounded(3, inference_horizon=1), "history_steps", "inference_horizon of 2 or more"),
    (bounded(3), "history_steps", "since PyMDP's MMP takes its first actions for its last"),
    ({**JAX, "passes": ["pool"]}, "passes", "'pool' is for backend numpy; this scenario's is jax"),
    ({"passes": ["jit"]}, "passes", "'jit' is for backend jax; this scenario's is numpy"),
    ({**JAX, "passes": ["shar"]}, "passes", "unknown pass 'shar'; did you mean 'share'?"),
    (
        {**JAX, "model": {"kind": "buffer"}},
        "model.kind",
        "is for backend fake; found backend: jax",
    ),
    (
        jax(polcy_len=1),
        "agent.polcy_len",
        "not a keyword of PyMDP's JAX agent; did you mean 'policy",
    ),
    (jax(si_horizon=1), "agent.si_horizon", "of PyMDP's NumPy agent; this scenario's backend is"),
    (jax(pD=1), "agent.pD", "is a keyword of PyMDP's NumPy agent"),
    ({"agent": {"num_iter": 1}}, "agent.num_iter", "of PyMDP's JAX agent; this scenario's backend"),
    ({"agent": {"batch_size": 1}}, "agent.batch_size", "is a keyword of PyMDP's JAX agent"),
    (jax(batch_size=3), "agent.batch_size", "is the scenario's field agents; set agents"),
    (jax(learn_B=True), "agent.learn_B", "use learning: [B]"),
    (jax(learn_E=True), "agent.learn_E", "no update of E; leave it out"),
    (jax(learning_mode="never"), "agent.learning_mode", "'online' or 'offline', found 'never'"),
    (jax(A_dependencies=[[0]]), "agent.A_dependencies", "belongs to the model"),
    (jax(I=1), "agent.I", "belongs to the model"),
    (jax(preprocess_fn="f"), "agent.preprocess_fn", "return it from a model: {kind: factory}"),
    (jax(inference_algo="MMP"), "agent.inference_algo", "'fpi' or 'vmp' or 'mmp' or 'ovf' or"),
    (jax(num_iter=0), "agent.num_iter", "a whole number, 1 or more, found 0"),
    (jax(inductive_depth=1.5), "agent.inductive_depth", "a whole number, 1 or more, found 1.5"),
    (jax(gamma=-1), "agent.gamma", "a number, 0 or more, found -1"),
    (jax(use_utility="yes"), "agent.use_utility", "true or false, found 'yes'"),
    (jax(inference_algo="mmp"), "agent.inference_algo", "found loop: jit. Set loop: rollout"),
    (
        {**jax(inference_algo="ovf"), "learning": ["A", "B"]},
        "learning",
        "learns A and B together from a window of the past",
    ),
    (
        {**jax(inference_algo="vmp"), "loop": "rollout"},
        "passes",
        "vmp reads PyMDP's window of the past, and share does not keep it. Use passes: [jit]",
    ),
    (
        {**jax(inference_algo="vmp"), "loop": "rollout", "passes": "auto"},
        "passes",
        "auto would try share, which does not keep it",
    ),
    (
        {
            **jax(inference_algo="exact"),
            "loop": "rollout",
            "learning": ["B"],
            "passes": ["template"],
        },
        "passes",
        "exact with learning reads PyMDP's window of the past, and template does not",
    ),
    (
        {**jax(inference_algo="mmp"), "loop": "rollout", "steps": 1, "passes": "none"},
        "steps",
        "PyMDP's mmp needs a window of two steps or more, found 1",
    ),
    (
        {**jax(inference_algo="mmp", inference_horizon=1), "loop": "rollout", "passes": "none"},
        "agent.inference_horizon",
        "PyMDP's mmp needs a window of two steps or more, found 1",
    ),
    ({**JAX, "loop": "rollout", "learning": ["D"]}, "learning", "rollout has no update of D"),
    (
        {"learning": ["B"], "agent": {"inference_algo": "MMP"}},
        "learning",
        "take VANILLA beliefs only",
    ),
    (
        {"agent": {"inference_algo": "MMP", "inference_horizon": 3, "save_belief_hist": True}},
        "agent.save_belief_hist",
        "use_BMA: false",
    ),
]


@pytest.mark.parametrize(("fields", "field", "words"), MISTAKES, ids=lambda v: str(v)[:40])
def test_a_mistake_names_field_line_and_remedy(tmp_path, fields, field, words):
    with pytest.raises(ScenarioError) as caught:
        load(tmp_path, **fields)
    assert caught.value.field == field
    assert words in caught.value.problem
    assert str(caught.value).startswith(str(tmp_path / "case.yaml"))
    assert caught.value.exit_code == 2


def test_the_line_is_that_of_the_field(tmp_path):
    path = tmp_path / "case.yaml"
    path.write_text("name: case\nmodel:\n  kind: grid_world\n  size: no\n")
    with pytest.raises(ScenarioError, match=r"case\.yaml:4: model\.size"):
        load_scenario(path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [", "not valid YAML"),
        ("- 1", "expected fields"),
        ("", "expected fields"),
        ("name: a\nname: b\n", "duplicate field, first in line 1"),
        (
            "name: !!python/object:os.system {}\nmodel: 1",
            "expected text, numbers, lists and mappings",
        ),
    ],
)
def test_what_is_no_scenario_file_is_refused(tmp_path, text, words):
    path = tmp_path / "case.yaml"
    path.write_text(text)
    with pytest.raises(ScenarioError) as caught:
        load_scenario(path)
    assert words in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ScenarioError, match=r"no such scenario file: .*none\.yaml"):
        load_scenario(tmp_path / "none.yaml")


def test_options_replace_fields_and_are_blamed_for_mistakes(tmp_path):
    assert load(tmp_path, {"agents": 7}, agents=3).scenario.agents == 7
    with pytest.raises(ScenarioError, match=r"^--agents: expected"):
        load(tmp_path, {"agents": -7}, agents=3)
    with pytest.raises(ScenarioError, match=r"^--max-slowdown: expected"):
        load(tmp_path, {"max_slowdown": 0.5})


@pytest.mark.parametrize(
    ("agent", "module", "some"),
    [
        (NUMPY, "pymdp.legacy.agent", {"policy_len", "inference_algo", "save_belief_hist"}),
        (JAX_AGENT, "pymdp.agent", {"policy_len", "num_iter", "categorical_obs"}),
    ],
)
def test_the_agents_keywords_are_pymdps_own(agent, module, some):
    """Those that may be given, those that may not, and those whose values are checked."""
    import importlib
    import inspect

    real = {*inspect.signature(importlib.import_module(module).Agent.__init__).parameters} - {
        "self"
    }
    assert agent_keywords(agent) | {*agent.elsewhere} == real
    assert some <= agent_keywords(agent)
    assert {*agent.values} <= real


@pytest.mark.parametrize("path", sorted(SCENARIOS.rglob("*.yaml")), ids=lambda p: p.stem)
def test_every_shipped_scenario_is_valid_and_says_what_it_shows(path: Path):
    scenario = load_scenario(path).scenario
    assert scenario.name == path.stem
    assert len(scenario.description) > 40


TEXT = st.text("ab0./:{}!&*é\n", max_size=8)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(
        st.sampled_from([*Scenario.model_fields, "other"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(st.sampled_from(["kind", "size", "path", "x"]), inner, max_size=3)
            ),
            max_leaves=6,
        ),
    )
)
def test_whatever_the_file_holds_it_is_loaded_or_a_scenario_error(tmp_path, fields):
    path = tmp_path / "case.yaml"
    path.write_text(yaml.safe_dump(fields))
    with contextlib.suppress(ScenarioError):
        load_scenario(path)
