import contextlib
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from memprof.errors import ScenarioError
from memprof.scenario import Scenario, pymdp_agent_keywords
from memprof.scenario_file import load_scenario
from tests.conftest import SCENARIOS

BASE = {"name": "case", "model": {"kind": "grid_world", "size": 3}}

FAKE = {"backend": "fake", "model": {"kind": "buffer"}}


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
    assert loaded.scenario.budget.per_agent == 4000
    assert loaded.spec(("share",)).model == {"kind": "grid_world", "size": 29, "inductive": False}
    assert loaded.where("budget.per_agent").endswith("grid-29.yaml:13")


MISTAKES = [
    ({"agents": -1}, "agents", "greater than or equal to 1, found -1"),
    ({"agents": "x"}, "agents", "expected a valid integer, found 'x'"),
    ({"agents": True}, "agents", "expected a valid integer, found True"),
    ({"steps": 0}, "steps", "found 0"),
    ({"agnts": 3}, "agnts", "did you mean 'agents'?"),
    ({"name": "<b>"}, "name", "expected letters, digits"),
    ({"name": "../x"}, "name", "expected letters, digits"),
    ({"model": 3}, "model", "found 3"),
    ({"model": {"size": 3}}, "model.kind", "is missing"),
    ({"model": {"kind": "grid_wold"}}, "model.kind", "did you mean 'grid_world'?"),
    ({"model": {"kind": "grid_world", "sice": 3}}, "model.sice", "did you mean 'size'?"),
    ({"model": {"kind": "maze", "walls": 0.6}}, "model.walls", "or equal to 0.5, found 0.6"),
    ({"model": {"kind": "maze", "private": False}}, "model.private", "each agent's own"),
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
        "each agent's own",
    ),
    ({"model": {"kind": "npz", "path": "no.npz"}}, "model.path", "no such file"),
    ({"model": {"kind": "npz", "path": "case.yaml"}}, "model.path", "expected an .npz file"),
    ({"model": {"kind": "factory", "callable": "f"}}, "model.callable", "package.module:function"),
    ({"passes": ["shar"]}, "passes", "did you mean 'share'?"),
    ({"passes": ["share", "share"]}, "passes", "is there twice"),
    ({"passes": ["fake-share"]}, "passes", "is no numpy pass"),
    ({"passes": ["auto", "share"]}, "passes", "auto chooses the passes itself"),
    ({"passes": ["share", "auto"]}, "passes", "auto chooses the passes itself"),
    ({"passes": ["auto", "auto"]}, "passes", "auto chooses the passes itself"),
    ({"passes": "share"}, "passes", "expected a valid list, found 'share'"),
    (
        {**FAKE, "passes": ["fake-idle"]},
        "passes",
        "'fake-idle' needs 'fake-share' before it in the list",
    ),
    ({**FAKE, "passes": ["fake-idle", "fake-share"]}, "passes", "before it in the list"),
    ({"max_slowdown": 0.99}, "max_slowdown", "greater than or equal to 1, found 0.99"),
    ({"max_slowdown": float("inf")}, "max_slowdown", "a finite number"),
    ({"max_slowdown": "twice"}, "max_slowdown", "a valid number, found 'twice'"),
    ({"instruments": ["trace"]}, "instruments", "did you mean 'tracemalloc'?"),
    ({"learning": ["Q"]}, "learning.0", "expected 'A', 'B' or 'D', found 'Q'"),
    ({"agent": {"polcy_len": 1}}, "agent.polcy_len", "did you mean 'policy_len'?"),
    ({"agent": {"policy_len": "three"}}, "agent.policy_len", "1 or more, found 'three'"),
    ({"agent": {"policy_len": 0}}, "agent.policy_len", "1 or more, found 0"),
    ({"agent": {"action_selection": "foo"}}, "agent.action_selection", "'stochastic', found 'foo'"),
    ({"agent": {"gamma": "hot"}}, "agent.gamma", "a number above 0, found 'hot'"),
    ({"agents": 10**12}, "agents", "less than or equal to 10000000"),
    ({"agent": {"A": 1}}, "agent.A", "belongs to the model"),
    ({"backend": "fake", "passes": []}, "model.kind", "go together"),
    ({"budget": {"per_agent": "10 quux"}}, "budget.per_agent", "expected a size such as"),
    ({"budget": {}}, "budget.per_agent", "is missing"),
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
        ("name: a\nname: b\n", "is there twice, first in line 1"),
        ("name: !!python/object:os.system {}\nmodel: 1", "not valid YAML"),
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


def test_the_agents_keywords_are_pymdps_own():
    import inspect

    from pymdp.legacy.agent import Agent

    real = set(inspect.signature(Agent.__init__).parameters)
    assert pymdp_agent_keywords() < real
    assert {"policy_len", "inference_algo", "save_belief_hist"} < pymdp_agent_keywords()


@pytest.mark.parametrize("path", sorted(SCENARIOS.glob("*.yaml")), ids=lambda p: p.stem)
def test_every_shipped_scenario_is_valid_and_says_what_it_shows(path: Path):
    scenario = load_scenario(path).scenario
    assert scenario.name == path.stem
    assert len(scenario.description) > 40


TEXT = st.text("ab0./:{}!&*é\n", max_size=8)


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None
)
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
